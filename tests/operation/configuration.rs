//! What it starts with, and what it refuses to start with.

use std::fs;
use std::path::Path;

use serde_json::json;
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::Socket;

const SECRET: &str = "an-operators-secret-of-more-than-32-bytes";

/// Sees it refuse to serve; its words.
fn refuses(variables: &[(&'static str, &str)], dir: &Path, arguments: &[&str]) -> String {
    let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
    all.extend(arguments);
    let output = Syncline::with_variables(variables).run(dir, &all).unwrap();
    assert!(!output.status.success(), "{variables:?} {arguments:?}");
    let words = String::from_utf8(output.stderr).unwrap();
    for (name, value) in variables {
        let is_secret = name.contains("SECRET") || name.contains("TOKEN");
        assert!(
            !is_secret || value.is_empty() || !words.contains(value),
            "{words}"
        );
    }
    words
}

#[test]
fn production_refuses_weak_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let production = ("ENVIRONMENT", "production");
    for (secret, words) in [
        ("", "JWT_SECRET is not set"),
        ("dev-jwt-secret-change-me-in-production", "default"),
        ("short-secret", "32"),
    ] {
        let said = refuses(&[production, ("JWT_SECRET", secret)], dir.path(), &[]);
        assert!(
            said.contains("JWT_SECRET") && said.contains(words),
            "{said}"
        );
    }
    for name in ["SERVER_BYPASS_TOKEN", "ADMIN_SECRET"] {
        for value in ["dev-server-bypass-token-of-32-bytes-or-more", "short-token"] {
            let variables = [production, ("JWT_SECRET", SECRET), (name, value)];
            let said = refuses(&variables, dir.path(), &[]);
            assert!(said.contains(name), "{said}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("ENVIRONMENT", "staging"),
        ("REQUIRE_AUTH", "maybe"),
        ("GRACE_PERIOD_SECONDS", "a day"),
        ("GRACE_PERIOD_SECONDS", "-1"),
    ] {
        let said = refuses(&[(name, value)], dir.path(), &[]);
        assert!(said.contains(name), "{said}");
    }
    let said = refuses(&[("REQUIRE_AUTH", "true")], dir.path(), &[]);
    assert!(said.contains("JWT_SECRET"), "{said}");
    let said = refuses(&[], dir.path(), &["--storage", "floppy:a"]);
    assert!(said.contains("sqlite:DIR"), "{said}");
    let said = refuses(&[], dir.path(), &["--claims-versions", "missing.json"]);
    assert!(said.contains("missing.json"), "{said}");
    fs::write(dir.path().join("not.wasm"), "not wasm").unwrap();
    let said = refuses(&[], dir.path(), &["--component", "not.wasm"]);
    assert!(said.contains("not.wasm"), "{said}");
}

fn start(syncline: &Syncline, dir: &Path) -> Server {
    syncline.start_in(dir).unwrap()
}

fn requires_auth(server: &Server) -> bool {
    let mut socket = Socket::open(server, "/?storeId=a&transport=ws");
    socket.send(r#"{"_tag":"Ping"}"#);
    match socket.receive() {
        syncline_tests::socket::Received::Text(_) => false,
        syncline_tests::socket::Received::Closed(code, _) => {
            assert_eq!(code, 4401);
            true
        }
    }
}

#[test]
fn dev_vars_are_for_development_and_the_environment_wins() {
    let dir = tempfile::tempdir().unwrap();
    let dev_vars = dir.path().join(".dev.vars");
    fs::write(
        &dev_vars,
        format!("REQUIRE_AUTH=true\nJWT_SECRET={SECRET}\n"),
    )
    .unwrap();
    assert!(requires_auth(&start(
        &Syncline::with_variables(&[]),
        dir.path()
    )));
    let wins = Syncline::with_variables(&[("REQUIRE_AUTH", "false")]);
    assert!(!requires_auth(&start(&wins, dir.path())));
    // Production has no secret here: the file's does not count.
    let said = refuses(&[("ENVIRONMENT", "production")], dir.path(), &[]);
    assert!(said.contains("JWT_SECRET is not set"), "{said}");
    fs::write(&dev_vars, "ENVIRONMENT=production\n").unwrap();
    let said = refuses(&[], dir.path(), &[]);
    assert!(said.contains(".dev.vars"), "{said}");
}

#[test]
fn a_bad_line_of_dev_vars_is_named_with_its_number_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    for (text, number) in [
        ("this is no assignment, nor is secret-9\n", 1),
        (
            "# two\n\nREQUIRE_AUTH=true\nJWT_SECRET=secret-9 with a space\n",
            4,
        ),
        ("JWT_SECRET='secret-9\nREQUIRE_AUTH=true\n", 1),
        (
            "ENVIRONMENT='development'\nSECRET='one\ntwo'\nsecret-9\n",
            4,
        ),
    ] {
        fs::write(dir.path().join(".dev.vars"), text).unwrap();
        for command in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["token", "--user", "ada", "--workspace", "w"][..],
        ] {
            let output = Syncline::with_variables(&[])
                .run(dir.path(), command)
                .unwrap();
            assert!(!output.status.success(), "{text:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            let named = format!("line {number} of .dev.vars");
            assert!(said.contains(&named), "{text:?}: {said}");
            assert!(!said.contains("secret-9"), "{said}");
        }
    }
}

fn payload(token: &str, instance: &str) -> String {
    let json = json!({"authToken": token, "instanceId": instance}).to_string();
    percent_encoding::utf8_percent_encode(&json, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn a_minted_token_admits_to_its_workspace() {
    let dir = tempfile::tempdir().unwrap();
    let syncline = Syncline::with_variables(&[("JWT_SECRET", SECRET), ("REQUIRE_AUTH", "true")]);
    let mint = [
        "token",
        "--user",
        "ada",
        "--workspace",
        "w1:owner",
        "--workspace",
        "w2",
        "--ttl",
        "5m",
    ];
    let output = syncline.run(dir.path(), &mint).unwrap();
    assert!(output.status.success());
    let token = String::from_utf8(output.stdout).unwrap();
    let server = start(&syncline, dir.path());
    for (store, admitted) in [("w1", true), ("w2", true), ("w3", false)] {
        let payload = payload(token.trim(), store);
        let url = format!("/?storeId={store}&transport=ws&payload={payload}");
        let mut socket = Socket::open(&server, &url);
        socket.send(r#"{"_tag":"Ping"}"#);
        match socket.receive() {
            syncline_tests::socket::Received::Text(_) => assert!(admitted, "{store}"),
            closed => {
                assert!(!admitted, "{store}: {closed:?}");
                assert_eq!(
                    closed,
                    syncline_tests::socket::Received::Closed(4403, "FORBIDDEN".to_owned())
                );
            }
        }
    }
}

#[test]
fn a_token_cannot_be_minted_without_a_usable_secret() {
    let dir = tempfile::tempdir().unwrap();
    for variables in [&[][..], &[("JWT_SECRET", "short")][..]] {
        let arguments = ["token", "--user", "ada", "--workspace", "w"];
        let output = Syncline::with_variables(variables)
            .run(dir.path(), &arguments)
            .unwrap();
        assert!(!output.status.success());
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains("JWT_SECRET")
        );
    }
    let with_secret = Syncline::with_variables(&[("JWT_SECRET", SECRET)]);
    for bad in [
        ["--user", "", "--workspace", "w"],
        ["--user", "u", "--workspace", ":r"],
    ] {
        let arguments: Vec<_> = std::iter::once("token").chain(bad).collect();
        assert!(
            !with_secret
                .run(dir.path(), &arguments)
                .unwrap()
                .status
                .success()
        );
    }
    let long = [
        "token",
        "--user",
        "u",
        "--workspace",
        "w",
        "--ttl",
        "135years",
    ];
    assert_eq!(
        with_secret.run(dir.path(), &long).unwrap().status.code(),
        Some(2)
    );
}

#[test]
fn i6_revocations_take_effect_and_unreadable_ones_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("claims.json");
    fs::write(&file, "{}").unwrap();
    let mut syncline =
        Syncline::with_variables(&[("JWT_SECRET", SECRET), ("REQUIRE_AUTH", "true")]);
    syncline.arguments = vec!["--claims-versions".to_owned(), "claims.json".to_owned()];
    let server = start(&syncline, dir.path());
    let mint = [
        "token",
        "--user",
        "ada",
        "--workspace",
        "w",
        "--claims-version",
        "3",
    ];
    let token = String::from_utf8(syncline.run(dir.path(), &mint).unwrap().stdout).unwrap();
    let answer = || {
        let url = format!(
            "/?storeId=w&transport=ws&payload={}",
            payload(token.trim(), "w")
        );
        let mut socket = Socket::open(&server, &url);
        socket.send(r#"{"_tag":"Ping"}"#);
        match socket.receive() {
            syncline_tests::socket::Received::Text(_) => "admitted".to_owned(),
            syncline_tests::socket::Received::Closed(code, reason) => format!("{code} {reason}"),
        }
    };
    assert_eq!(answer(), "admitted");
    for (content, expected) in [
        (
            r#"{"workspace-claims-version:ada": 4}"#,
            "4401 TOKEN_VERSION_STALE",
        ),
        (r#"{"workspace-claims-version:ada": "3"}"#, "admitted"),
        (r#"{"ada": 4}"#, "4401 TOKEN_VERSION_STALE"),
        (r#"{"somebody-else": 4}"#, "admitted"),
        ("not json", "1013 AUTH_SERVICE_ERROR"),
        (r#"{"ada": "four"}"#, "1013 AUTH_SERVICE_ERROR"),
        ("{}", "admitted"),
    ] {
        fs::write(&file, content).unwrap();
        assert_eq!(answer(), expected, "{content}");
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(answer(), "1013 AUTH_SERVICE_ERROR");
}

#[test]
fn i6_a_refused_client_leaves_nothing_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut syncline =
        Syncline::with_variables(&[("JWT_SECRET", SECRET), ("REQUIRE_AUTH", "true")]);
    syncline.storage = "sqlite:data".to_owned();
    let server = start(&syncline, dir.path());
    assert!(requires_auth(&server));
    for number in 0..4 {
        let file = dir.path().join(format!("data/shard-{number}.db"));
        let stores: i64 = rusqlite::Connection::open(file)
            .unwrap()
            .query_row(
                "SELECT (SELECT count(*) FROM context_7) + (SELECT count(*) FROM syncline_logs)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(stores, 0);
    }
}

#[test]
fn the_start_up_line_says_where_what_and_how() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Syncline::with_variables(&[]).command(dir.path()).unwrap();
    command.args(["serve", "--listen", "127.0.0.1:0", "--storage", "memory"]);
    command.stderr(std::process::Stdio::null());
    let mut process = syncline_tests::process::Process::start(command).unwrap();
    let line = process
        .wait_for(std::time::Duration::from_secs(60), |line| {
            Some(line.to_owned())
        })
        .unwrap();
    for part in [
        "http://127.0.0.1:",
        "development",
        "memory",
        "no authentication",
    ] {
        assert!(line.contains(part), "{line}");
    }
}
