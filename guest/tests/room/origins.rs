//! Whose `Origin` may connect: what a request's `Host` has to do with it.

use syncline_guest::admission::{Request, Verdict, admit};
use syncline_guest::config::Config;

use super::host::Host;

/// What a socket without a token is closed with, from this origin at this
/// host.
fn refused(env: &[(&'static str, &str)], origin: &str, host: &str) -> String {
    let mut imports = Host::default();
    for (name, value) in env {
        imports.env.insert(name, (*value).to_owned());
    }
    let config = Config::read(&mut imports);
    let headers = [("origin", origin), ("host", host)];
    let request = Request {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        query: Some("storeId=s&transport=ws".to_owned()),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        upgrade: true,
    };
    match admit(&mut imports, &config, &request).verdict {
        Verdict::Close { reason, .. } => reason,
        Verdict::Enter(_) => "admitted".to_owned(),
        verdict => panic!("{origin} at {host}: {verdict:?}"),
    }
}

const SECRET: (&str, &str) = ("JWT_SECRET", "a secret of tests, of 32 bytes and more");

/// Pairs of what a client of the server itself sends.
const OWN: [(&str, &str); 4] = [
    ("https://sync.example.com", "sync.example.com"),
    ("https://sync.example.com:443", "sync.example.com"),
    ("http://sync.example.com:8787", "SYNC.example.com:8787"),
    ("http://10.0.2.2:8787", "10.0.2.2:8787"),
];

#[test]
fn i6_a_list_of_origins_concerns_others_than_the_server_itself() {
    let production = [
        ("ENVIRONMENT", "production"),
        SECRET,
        ("ALLOWED_ORIGINS", "https://app.example.com,null"),
    ];
    let development = [
        ("ENVIRONMENT", "development"),
        ("REQUIRE_AUTH", "true"),
        SECRET,
        ("ALLOWED_ORIGINS", "https://app.example.com,null"),
    ];
    let listed = [
        ("https://app.example.com", "sync.example.com"),
        ("HTTPS://App.Example.com", "sync.example.com"),
        ("https://app.example.com:443", "sync.example.com"),
        ("null", "sync.example.com"),
    ];
    let others = [
        ("https://other.example.com", "sync.example.com"),
        ("http://app.example.com", "sync.example.com"),
        ("https://app.example.com:8443", "sync.example.com"),
        ("https://sync.example.com.evil.com", "sync.example.com"),
        ("https://sync.example.com", "sync.example.com:8787"),
        ("https://sync.example.com", ""),
        ("http://localhost:5173", "sync.example.com"),
    ];
    for env in [&production[..], &development[..]] {
        for (origin, host) in OWN.into_iter().chain(listed) {
            let why = refused(env, origin, host);
            assert_eq!(why, "TOKEN_MISSING", "{origin} at {host}");
        }
        for (origin, host) in others {
            let why = refused(env, origin, host);
            assert_eq!(why, "FORBIDDEN", "{origin} at {host}");
        }
    }
}

#[test]
fn i6_without_tokens_a_name_is_nobodys_own() {
    let env = [("ENVIRONMENT", "development")];
    for (origin, host) in OWN {
        let by_address = host.starts_with("10.");
        let due = if by_address { "admitted" } else { "FORBIDDEN" };
        assert_eq!(refused(&env, origin, host), due, "{origin} at {host}");
    }
}
