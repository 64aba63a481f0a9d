//! Admission: requests with any URL, headers and token.
//!
//! An input is lines: `METHOD target`, with ` upgrade` behind it where a
//! WebSocket is asked for; `claims …` and `header …`, what the token holds;
//! other lines are headers. In the target `{token}` stands for the claims,
//! signed as they should be, and `{bypass}` for the bypass token: nobody
//! guesses a signature, so that behind it nothing would be tried.

use hmac_sha256::HMAC;
use jwt_simple::reexports::ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use syncline_guest::admission::{self, Admission, Decision, Request, Verdict, token};
use syncline_guest::config::Config;
use syncline_guest::limits::{PRINCIPAL_BYTES_MAX, STORE_ID_BYTES_MAX};
use syncline_guest::protocol::{Carrier, Speech};

use crate::host::Host;
use crate::texts::{check_holds_none, check_words, json, unsaid};
use crate::transcripts::{Step, Transcript, distinct};
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "admission",
    check,
    corpus,
    words: &[
        "{token}",
        "{bypass}",
        "%25",
        "%2522",
        "&storeId=a",
        "&transport=http",
        "&payload=%7B%7D",
        "origin: https://app.example.com",
        "origin: https://app.example.com.evil.com",
        "origin: null",
        "origin: http://localhost:5173",
        "host: app.example.com",
        r#"header {"alg":"none"}"#,
        r#"header {"alg":"HS512"}"#,
        r#","nbf":4000000000"#,
        r#","exp":1"#,
        r#","userId":"other""#,
    ],
    reaches: &[
        "entered with a token",
        "entered with the bypass",
        "entered without",
        "refused",
        "refused a socket",
        "refused a POST",
        "answered",
    ],
    runs: 15_000,
};

const JWT_SECRET: &str = "jwt-W8yq3VnH0sZc5RkT1uXo7EpLbD4gMfJa";
const BYPASS: &str = "bypass-Q2mKx9TzR6vYc0HwJ4nUe8SgA1oLdFpB";
const ORIGIN: &str = "app.example.com";
const GRACE_SECONDS: u64 = 60;
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The URLs of the transcripts: as they are, with a token, with the bypass.
fn corpus(transcripts: &[Transcript]) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for transcript in transcripts {
        for step in &transcript.steps {
            let (url, line) = match step {
                Step::Open(_, url) => (url, format!("GET {url} upgrade")),
                Step::Request(url, _) => (url, format!("POST {url}")),
                _ => continue,
            };
            inputs.push(format!("{line}\naccept: text/html").into_bytes());
            for (field, of) in [("authToken", "{token}"), ("serverBypass", "{bypass}")] {
                let (path, query) = url.split_once('?').unwrap_or((url, ""));
                let query: Vec<&str> = query
                    .split('&')
                    .filter(|part| !part.starts_with("payload="))
                    .collect();
                let store = &transcript.store_id;
                let payload = format!(r#"{{"{field}":"SECRET","instanceId":"{store}"}}"#);
                let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let payload = encode(&encode(&payload)).replace("SECRET", of);
                let there = format!("{path}?{}&payload={payload}", query.join("&"));
                let line = line.replace(url.as_str(), &there);
                inputs.push(
                    format!(
                        "{line}\norigin: https://{ORIGIN}\nhost: sync.example.com\nclaims {{\"userId\":\"u\",\"exp\":1700000100,\"workspaceClaimsVersion\":1,\"workspaces\":[{{\"id\":\"{store}\",\"role\":\"admin\"}}]}}"
                    )
                    .into_bytes(),
                );
            }
        }
    }
    distinct(inputs)
}

/// An input, read.
struct Parsed<'a> {
    method: &'a str,
    target: &'a str,
    upgrade: bool,
    header: &'a str,
    claims: Option<&'a str>,
    headers: Vec<(String, String)>,
}

impl<'a> Parsed<'a> {
    fn read(text: &'a str) -> Self {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let (first, upgrade) = match first.strip_suffix(" upgrade") {
            Some(first) => (first, true),
            None => (first, false),
        };
        let (method, target) = first.split_once(' ').unwrap_or(("GET", first));
        let mut parsed = Self {
            method,
            target,
            upgrade,
            header: HEADER,
            claims: None,
            headers: Vec::new(),
        };
        for line in lines {
            if let Some(claims) = line.strip_prefix("claims ") {
                parsed.claims = Some(claims);
            } else if let Some(header) = line.strip_prefix("header ") {
                parsed.header = header;
            } else if let Some((name, value)) = line.split_once(": ") {
                // No host hands on what HTTP does not allow.
                if !value.chars().any(char::is_control) {
                    let header = (name.to_ascii_lowercase(), value.to_owned());
                    parsed.headers.push(header);
                }
            }
        }
        parsed
    }

    fn token(&self, secret: &str) -> String {
        let part = |text: &str| Base64UrlSafeNoPadding::encode_to_string(text).unwrap();
        let signed = format!(
            "{}.{}",
            part(self.header),
            part(self.claims.unwrap_or_default())
        );
        let signature = HMAC::mac(signed.as_bytes(), secret.as_bytes());
        let signature = Base64UrlSafeNoPadding::encode_to_string(signature).unwrap();
        format!("{signed}.{signature}")
    }

    fn request(&self, token: &str) -> Request {
        let target = self
            .target
            .replace("{token}", token)
            .replace("{bypass}", BYPASS);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (target, None),
        };
        Request {
            method: self.method.to_ascii_uppercase(),
            path,
            query,
            headers: self.headers.clone(),
            upgrade: self.upgrade,
        }
    }

    /// Whether the target holds this, as a word or as it is: libFuzzer sees
    /// what is compared, and learns it.
    fn says(&self, word: &str, text: &str) -> bool {
        self.target.contains(word) || self.target.contains(text)
    }

    fn origin(&self) -> Option<&str> {
        self.header_of("origin")
    }

    fn header_of(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Asks three servers: in production for any origin and for one, and in
/// development.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> Reached {
    let text = String::from_utf8_lossy(input);
    let parsed = Parsed::read(&text);
    let token = parsed.token(JWT_SECRET);
    let secrets = unsaid(&text, &[JWT_SECRET, BYPASS, &token]);
    let mut reached = Vec::new();
    for (environment, origins) in [
        ("production", ""),
        ("production", "https://app.example.com"),
        ("development", ""),
    ] {
        let mut host = host(environment, origins);
        let config = Config::read(&mut host);
        assert!(config.is_ok());
        let decision = admission::admit(&mut host, &config, &parsed.request(&token));
        check_secrecy(&host, &decision, &secrets);
        check_refusal(&decision);
        let is_production = environment == "production";
        match &decision.verdict {
            Verdict::Enter(admission) => {
                check_admission(&parsed, admission);
                check_origin(&parsed, origins, is_production);
                reached.push(if is_production {
                    check_authenticated(&parsed, &mut host, &token, admission)
                } else {
                    "entered without"
                });
            }
            Verdict::Respond(response) if response.status < 400 => reached.push("answered"),
            Verdict::Respond(_) => reached.push("refused"),
            Verdict::Close { .. } => reached.push("refused a socket"),
            Verdict::Refuse { .. } => reached.push("refused a POST"),
            Verdict::Serve(_) => reached.push("served"),
        }
        if is_production && !parsed.says("{bypass}", BYPASS) && !parsed.target.contains(&token) {
            for forged in forgeries(&parsed, &token) {
                let decision = admission::admit(&mut host, &config, &parsed.request(&forged));
                check_secrecy(&host, &decision, &secrets);
                assert!(
                    !matches!(decision.verdict, Verdict::Enter(_)),
                    "entered with a forged token: {forged}"
                );
            }
        }
    }
    reached
}

fn host(environment: &str, origins: &str) -> Host {
    let mut host = Host::default();
    for (name, value) in [
        ("ENVIRONMENT", environment),
        ("ALLOWED_ORIGINS", origins),
        ("JWT_SECRET", JWT_SECRET),
        ("SERVER_BYPASS_TOKEN", BYPASS),
        ("GRACE_PERIOD_SECONDS", &GRACE_SECONDS.to_string()),
    ] {
        if !value.is_empty() {
            host.env.insert(name, value.to_owned());
        }
    }
    host
}

/// Tokens that look like this one: signed with another secret, with other
/// claims under the same signature, and with none.
fn forgeries(parsed: &Parsed<'_>, token: &str) -> [String; 3] {
    let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
    [
        parsed.token("another-secret-as-long-as-the-right-one"),
        format!("{signed}AA.{signature}"),
        format!("{signed}."),
    ]
}

/// Nothing that is answered or logged holds a secret or a token. The store
/// asked for is the client's own text.
fn check_secrecy(host: &Host, decision: &Decision, secrets: &[&str]) {
    let mut decision = decision.clone();
    if let Some(cause) = &mut decision.cause {
        cause.store_id = None;
    }
    if let Verdict::Enter(admission) = &mut decision.verdict {
        admission.store_id.clear();
    }
    check_holds_none(&format!("{decision:?}"), secrets);
    for line in &host.lines {
        check_holds_none(line, secrets);
    }
}

/// Who does not enter is told why.
fn check_refusal(decision: &Decision) {
    let told = |body: &str| {
        let body = json(body);
        assert!(body["code"].is_string() && body["message"].is_string());
    };
    let headers = match (&decision.verdict, &decision.cause) {
        (Verdict::Enter(admission), None) => &admission.response_headers,
        (Verdict::Respond(response), cause) => {
            assert_eq!(cause.is_some(), response.status >= 400, "{decision:?}");
            if let Some(cause) = cause {
                check_words(&cause.refused.message);
                assert_eq!(response.status, cause.refused.code.status());
                told(&response.body);
            }
            &response.headers
        }
        (Verdict::Close { code, reason }, Some(cause)) => {
            check_words(&cause.refused.message);
            assert!([4401, 4403, 1013].contains(code), "{code}");
            // RFC 6455, 5.5.
            assert!((1..=123).contains(&reason.len()), "{reason}");
            return;
        }
        (Verdict::Refuse { refused, headers }, Some(cause)) => {
            assert_eq!(refused, &cause.refused);
            check_words(&refused.message);
            let (status, code) = (refused.code.status(), refused.code.as_str());
            let refuse = |body: &[u8]| {
                let retry_after_ms = refused.code.retry_after_ms();
                let headers = headers.clone();
                admission::refuse(
                    status,
                    code,
                    &refused.message,
                    retry_after_ms,
                    headers,
                    body,
                )
            };
            told(&refuse(b"").body);
            let exits = json(&refuse(br#"{"id":"7"}"#).body);
            assert_eq!(exits[0]["requestId"], "7");
            headers
        }
        _ => panic!("a refusal without its cause: {decision:?}"),
    };
    for (name, value) in headers {
        let text = format!("{name}{value}");
        assert!(!text.chars().any(char::is_control), "{name}: {value}");
    }
}

fn check_admission(parsed: &Parsed<'_>, admission: &Admission) {
    let store_id = &admission.store_id;
    assert!((1..=STORE_ID_BYTES_MAX).contains(&store_id.len()));
    assert!(!store_id.contains(char::REPLACEMENT_CHARACTER));
    assert!(admission.principal.len() <= PRINCIPAL_BYTES_MAX);
    assert!(json(&admission.principal).is_object());
    let speech = admission.speech.expect("how it speaks");
    assert_eq!(Speech::parse(speech.as_str()), Some(speech));
    match speech.carrier {
        Carrier::Socket => assert!(parsed.upgrade),
        Carrier::Http => assert!(parsed.method.eq_ignore_ascii_case("POST")),
        Carrier::Object | Carrier::Callback => panic!("no such request"),
    }
}

/// Who entered has a token that is right: read again here, from the claims
/// that were signed.
fn check_authenticated(
    parsed: &Parsed<'_>,
    host: &mut Host,
    token: &str,
    admission: &Admission,
) -> &'static str {
    let principal = json(&admission.principal);
    if principal["kind"] == "server" {
        assert!(parsed.says("{bypass}", BYPASS), "{principal}");
        return "entered with the bypass";
    }
    assert!(parsed.says("{token}", token), "{principal}");
    let store_id = &admission.store_id;
    let now = 1_700_000_000;
    let checked = token::check(host, JWT_SECRET, GRACE_SECONDS, token, store_id, now);
    assert!(checked.is_ok(), "entered with a refused token: {checked:?}");
    assert_eq!(json(parsed.header)["alg"], "HS256");
    let claims = json(parsed.claims.expect("claims"));
    let seconds = |claim: &Value| claim.as_f64().unwrap_or(-1.0);
    // A fraction of a second is of no matter.
    assert!(
        seconds(&claims["exp"]) + 60.0 >= 1_700_000_000.0,
        "{claims}"
    );
    assert!(seconds(&claims["nbf"]) < 1_700_000_061.0, "{claims}");
    assert!(claims["workspaceClaimsVersion"].is_u64(), "{claims}");
    let user_id = claims["userId"].as_str().unwrap_or_default();
    assert!(!user_id.is_empty());
    assert_eq!(principal["userId"], user_id);
    let workspaces = claims["workspaces"].as_array().expect("workspaces");
    assert!(
        workspaces.iter().any(|it| it["id"] == store_id.as_str()),
        "{claims} do not cover {store_id}"
    );
    "entered with a token"
}

/// What entered with an Origin comes from a listed one, from the server's own
/// or, in development, from this machine or an address.
fn check_origin(parsed: &Parsed<'_>, origins: &str, is_production: bool) {
    let Some(origin) = parsed.origin() else {
        return;
    };
    if is_production && origins.is_empty() {
        return;
    }
    let origin = origin.to_ascii_lowercase();
    let (scheme, authority) = origin.split_once("://").expect("an origin");
    assert!(["http", "https", "ws", "wss"].contains(&scheme), "{origin}");
    let name = |authority: &str| match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name.to_owned(),
        _ => authority.to_owned(),
    };
    let origin_name = name(authority);
    let host = parsed.header_of("host").map(str::to_ascii_lowercase);
    let address = origin_name.trim_matches(['[', ']']);
    let is_address = address.parse::<std::net::IpAddr>().is_ok();
    let is_own = host.is_some_and(|host| name(&host) == origin_name || is_address);
    let is_let = if is_production {
        origin_name == ORIGIN || is_own
    } else {
        origin_name == "localhost" || origin_name.ends_with(".localhost") || is_address
    };
    assert!(is_let, "{origin}");
}
