//! Who runs a server sees in its log whom it turned away, and why: a line for
//! each kind, no token in it, and no way to fill or to forge it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jwt_simple::prelude::{HS256Key, MACLike};
use jwt_simple::reexports::ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::profile::{JWT_SECRET, Profile};
use syncline_tests::rpc::{Client, event_with, events, option, push, request, ws_url};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::Socket;
use tempfile::TempDir;

use super::wire::{connect, post, rest};

/// How long a line may take that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What no line may hold.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.secret-token.signature";

/// A server whose log is read.
struct Logged {
    server: Server,
    log: PathBuf,
    _dir: TempDir,
}

impl Logged {
    fn start(profile: Profile, level: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut syncline = Syncline::new("memory", profile);
        syncline.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        syncline.variables.push(("RUST_LOG", level.to_owned()));
        syncline.log = Some(log.clone());
        Self {
            server: syncline.start_in(dir.path()).unwrap(),
            log,
            _dir: dir,
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The lines that hold all of these.
    fn lines(&self, with: &[&str]) -> Vec<String> {
        let text = plain(&self.text());
        let lines = text.lines();
        let found = lines.filter(|line| with.iter().all(|it| line.contains(it)));
        found.map(str::to_owned).collect()
    }

    /// The one line that holds all of these, when it is there.
    fn line(&self, with: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines(with);
            if let [line] = lines.as_slice() {
                return line.clone();
            }
            let text = self.text();
            assert!(lines.is_empty(), "more than one: {text}");
            assert!(Instant::now() < deadline, "{with:?} is not in:\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it; what it wrote to the last.
    fn stop(mut self) -> String {
        let process = self.server.process.as_mut().unwrap();
        process.signal("TERM");
        process.wait(PATIENCE).unwrap();
        plain(&self.text())
    }
}

/// A log without colours.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain + rest
}

/// How many were turned away, by these lines.
fn count(lines: &[&str]) -> u64 {
    let times = |line: &&str| {
        let (_, rest) = line.split_once("times=")?;
        rest.split(' ').next()?.parse().ok()
    };
    lines.iter().map(|line| times(line).unwrap_or(1)).sum()
}

/// Where a store is, with a payload.
fn url(store: &str, transport: &str, payload: &Value) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let payload = encode(&encode(&payload.to_string()));
    let store = encode(store);
    format!("/?storeId={store}&transport={transport}&payload={payload}")
}

/// A good token for a store, with so many bytes of claims about another.
fn token(store: &str, more: usize) -> String {
    let part = |value: &Value| Base64UrlSafeNoPadding::encode_to_string(value.to_string()).unwrap();
    let claims = json!({
        "userId": "u",
        "exp": 9_999_999_999_u64,
        "workspaces": [{"id": store}, {"id": "x".repeat(more)}],
        "workspaceClaimsVersion": 1,
    });
    let header = part(&json!({"alg": "HS256", "typ": "JWT"}));
    let signed = format!("{header}.{}", part(&claims));
    let tag = HS256Key::from_bytes(JWT_SECRET.as_bytes()).authentication_tag(signed.as_bytes());
    let tag = Base64UrlSafeNoPadding::encode_to_string(tag).unwrap();
    format!("{signed}.{tag}")
}

fn payload(token: &str, store: &str) -> Value {
    json!({"authToken": token, "instanceId": store})
}

#[test]
fn a_refused_web_socket_is_in_the_log() {
    let logged = Logged::start(Profile::Auth, "debug", &[]);
    let headers = [
        ("origin", "https://shop.example"),
        ("x-forwarded-for", "192.0.2.7"),
    ];
    let url = url("shop", "ws", &payload(TOKEN, "shop"));
    let mut socket = Socket::try_open(&logged.server, &url, &headers).unwrap();
    assert_eq!(socket.receive_close().0, 4401);
    let line = logged.line(&["INFO", "refused"]);
    for field in [
        r#"code="TOKEN_INVALID""#,
        "answer=4401",
        r#"store="shop""#,
        r#"why="The token's signature or format is not valid (HS256 is required).""#,
        r#"request="GET /""#,
        r#"origin="https://shop.example""#,
        "address=127.0.0.1:",
        r#"forwarded_for="192.0.2.7""#,
    ] {
        assert!(line.contains(field), "{field} is not in {line}");
    }
    let text = logged.stop();
    assert!(!text.contains("secret-token"), "{text}");
    assert!(!text.contains("payload="), "{text}");
}

#[test]
fn a_refused_request_is_in_the_log_whoever_refuses_it() {
    let logged = Logged::start(Profile::Auth, "debug", &["--frame-bytes-max", "10000"]);
    let server = &logged.server;
    let post = |url: &str, body: &str| http::request(server, "POST", url, &[], body).status;
    // The gateway: with a body that has an id, and without a body.
    let bad = url("shop", "http", &payload(TOKEN, "shop"));
    let push = push("1", "shop", &events(1, 1)).to_string();
    assert_eq!(post(&bad, &push), 401);
    let line = logged.line(&["refused", "TOKEN_INVALID", r#"store="shop""#]);
    assert!(line.contains("answer=401"), "{line}");
    assert_eq!(http::get(server, "/nothing").status, 404);
    logged.line(&["refused", "NOT_FOUND", "answer=404"]);
    assert_eq!(http::get(server, "/admin").status, 404);
    // The host: bodies, URLs, heads, handshakes.
    let good = url("shop", "http", &payload(&token("shop", 1), "shop"));
    assert_eq!(post(&good, &"x".repeat(10_001)), 413);
    logged.line(&["refused", "BODY_TOO_LARGE", "answer=413", r#"store="shop""#]);
    assert_eq!(
        http::get(server, &format!("/{}", "x".repeat(17_000))).status,
        414
    );
    logged.line(&["refused", "URL_TOO_LONG", "answer=414"]);
    let mut stream = connect(server);
    std::io::Write::write_all(&mut stream, b"NO HTTP AT ALL\r\n\r\n").unwrap();
    assert!(rest(&mut stream).starts_with(b"HTTP/1.1 400"));
    logged.line(&["refused", "BAD_REQUEST", "answer=400"]);
    let headers = [("upgrade", "websocket"), ("connection", "upgrade")];
    let good = url("shop", "ws", &payload(&token("shop", 1), "shop"));
    let answer = http::request(server, "GET", &good, &headers, "");
    assert_eq!(answer.status, 400);
    logged.line(&["refused", "BAD_HANDSHAKE", "answer=400"]);
    let text = logged.stop();
    assert!(!text.contains("secret-token"), "{text}");
    assert!(!text.contains(&token("shop", 1)), "{text}");
    assert!(!text.contains("payload="), "{text}");
}

#[test]
fn a_connection_that_is_given_up_is_in_the_log() {
    let timeouts = ["--handshake-timeout", "300ms", "--message-timeout", "300ms"];
    let logged = Logged::start(Profile::Open, "info", &timeouts);
    let mut filler = Client::open(&logged.server, "a");
    for n in 1..=6 {
        filler.push_ok(&[event_with(n, "x".repeat(1_900_000).into())]);
    }
    let payload = json!({"storeId": "a", "cursor": option(None)});
    let pull = request("7", "SyncHttpRpc.Pull", payload);
    let _untaken = post(&logged.server, "a", &pull);
    let mut half = connect(&logged.server);
    std::io::Write::write_all(&mut half, b"GET / HTTP/1.1\r\nHo").unwrap();
    let line = logged.line(&["refused", "ANSWER_TIMEOUT"]);
    assert!(line.contains("address=127.0.0.1:"), "{line}");
    logged.line(&["refused", "HEAD_TIMEOUT"]);
}

#[test]
fn a_client_that_floods_is_closed_and_in_the_log() {
    let logged = Logged::start(Profile::Paced, "info", &[]);
    let headers = [("origin", "http://localhost:5173")];
    let mut socket = Socket::try_open(&logged.server, &ws_url("flood"), &headers).unwrap();
    for id in 0..1_000 {
        let push = push(&id.to_string(), "flood", &[]);
        if !socket.try_send(push.to_string()) {
            break;
        }
    }
    let line = logged.line(&["INFO", "closed"]);
    for field in [
        "code=1013",
        r#"why="TOO_MANY_REQUESTS""#,
        r#"store="flood""#,
        "lived_ms=",
        r#"origin="http://localhost:5173""#,
        "address=127.0.0.1:",
    ] {
        assert!(line.contains(field), "{field} is not in {line}");
    }
}

#[test]
fn a_client_that_reads_nothing_is_closed_and_in_the_log() {
    let logged = Logged::start(Profile::Open, "info", &["--output-bytes-max", "16777216"]);
    let server = &logged.server;
    let mut filler = Client::open(server, "a");
    for n in 1..=6 {
        filler.push_ok(&[event_with(n, "x".repeat(1_900_000).into())]);
    }
    let mut sockets = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while logged.lines(&["closed", "TOO_SLOW"]).is_empty() {
        assert!(Instant::now() < deadline, "{}", logged.text());
        let mut socket = Socket::open(server, &ws_url("a"));
        for id in 0..8 {
            let payload = json!({"storeId": "a", "live": true, "cursor": option(None)});
            socket.send(request(&id.to_string(), "SyncWsRpc.Pull", payload));
        }
        sockets.push(socket);
    }
    let text = logged.stop();
    let line = text.lines().find(|line| line.contains("TOO_SLOW\""));
    let line = line.unwrap();
    assert!(
        line.contains("INFO") && line.contains("code=1013"),
        "{line}"
    );
    assert!(
        line.contains(r#"store="a""#) && line.contains("lived_ms="),
        "{line}"
    );
}

#[test]
fn i7_a_thousand_refusals_are_few_lines_that_count_them_all() {
    let logged = Logged::start(Profile::Auth, "info", &[]);
    for number in 0..500 {
        // Of one store, and of as many as there are.
        for store in ["shop".to_owned(), format!("store-{number}")] {
            let url = url(&store, "ws", &payload(TOKEN, &store));
            let mut socket = Socket::open(&logged.server, &url);
            assert_eq!(socket.receive_close().0, 4401);
        }
    }
    let text = logged.stop();
    let lines: Vec<_> = text.lines().filter(|it| it.contains("refused")).collect();
    assert_eq!(count(&lines), 1_000, "{text}");
    // However long it took: a kind has a line in ten seconds.
    assert!(lines.len() < 200, "{} lines:\n{text}", lines.len());
    assert!(text.len() < 100_000, "{} bytes", text.len());
}

#[test]
fn a_line_cannot_be_forged() {
    let logged = Logged::start(Profile::Auth, "debug", &[]);
    let evil = "a\r\nINFO forged\u{85}INFO forged\u{2028}INFO forged\u{1b}[2J\u{202e}";
    let origin = "https://a\u{85}INFO forged\u{2028}INFO forged";
    let headers = [("origin", origin), ("x-forwarded-for", origin)];
    // One that is refused, and one that is let in and closed by the server.
    let refused = url(evil, "ws", &payload(TOKEN, evil));
    let mut socket = Socket::try_open(&logged.server, &refused, &headers).unwrap();
    socket.receive_close();
    let admitted = url(evil, "ws", &payload(&token(evil, 1), evil));
    let mut socket = Socket::try_open(&logged.server, &admitted, &headers).unwrap();
    socket.send(push("1", "another", &[]));
    socket.receive_json();
    socket.close(1000);
    logged.line(&["ended"]);
    let _open = Socket::try_open(&logged.server, &admitted, &headers).unwrap();
    let text = logged.stop();
    for name in ["refused", "ended", "closed"] {
        assert!(text.lines().any(|it| it.contains(name)), "{name}: {text}");
    }
    for line in text.lines() {
        assert!(line.starts_with("20"), "a line of its own: {line:?}");
    }
    let is_raw = |c: char| (c.is_control() && c != '\n') || ['\u{2028}', '\u{202e}'].contains(&c);
    assert!(!text.contains(is_raw), "{text:?}");
}

#[test]
fn an_ordinary_life_is_one_line_at_debug() {
    for level in ["debug", "info"] {
        let logged = Logged::start(Profile::Open, level, &[]);
        let mut client = Client::open(&logged.server, "a");
        client.push_ok(&events(1, 1));
        client.socket.close(1000);
        client.socket.receive_close();
        drop(Client::open(&logged.server, "b"));
        if level == "debug" {
            for (store, by) in [("a", "client"), ("b", "network")] {
                let fields = [format!("store=\"{store}\""), format!("by=\"{by}\"")];
                let line = logged.line(&["DEBUG", "ended", &fields[0], &fields[1]]);
                assert!(line.contains("lived_ms="), "{line}");
            }
        }
        let text = logged.stop();
        assert!(
            !text.contains("refused") && !text.contains("closed\u{20}code"),
            "{text}"
        );
        assert_eq!(text.contains("ended"), level == "debug", "{text}");
    }
}

#[test]
fn a_server_that_stops_tells_of_its_sockets_in_one_line() {
    let logged = Logged::start(Profile::Open, "info", &[]);
    let sockets: Vec<_> = (0..30)
        .map(|store| Client::open(&logged.server, &store.to_string()))
        .map(|mut client| {
            client.push_ok(&events(1, 1));
            client
        })
        .collect();
    let text = logged.stop();
    let lines: Vec<_> = text.lines().filter(|it| it.contains("code=1012")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert_eq!(count(&lines), 30, "{text}");
    drop(sockets);
}

#[test]
fn claims_are_worth_a_line_when_they_are_large() {
    let logged = Logged::start(Profile::Auth, "info", &[]);
    for more in [1, 4_000] {
        let url = url("shop", "ws", &payload(&token("shop", more), "shop"));
        let mut socket = Socket::open(&logged.server, &url);
        socket.send(r#"{"_tag":"Ping"}"#);
        socket.receive_json();
    }
    let line = logged.line(&["workspace claims"]);
    assert!(line.contains("WARN"), "{line}");
}
