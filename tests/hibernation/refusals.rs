//! Who runs a Worker sees in its log whom it turned away, and why. What the
//! lines look like is also shown of the local host (`tests/operation`).

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::profile::JWT_SECRET;
use syncline_tests::rpc::{events, push};
use syncline_tests::socket::Socket;

use crate::configuration::{Binding, Worker};
use crate::token;

pub fn scenarios() -> Vec<(&'static str, fn())> {
    vec![
        (
            "who_is_turned_away_is_in_the_log",
            who_is_turned_away_is_in_the_log,
        ),
        (
            "i7_many_refusals_are_few_lines_that_count_them_all",
            i7_many_refusals_are_few_lines_that_count_them_all,
        ),
    ]
}

/// How long a line may take that has to come.
const PATIENCE: Duration = Duration::from_secs(90);

/// What no line may hold.
const TOKEN: &str = "secret-token";

/// A Worker that wants tokens, and no more than a few requests a second.
fn start() -> Worker {
    let variables = [
        ("ENVIRONMENT", "production"),
        ("JWT_SECRET", JWT_SECRET),
        ("CONNECTION_REQUESTS_PER_SECOND", "5"),
    ];
    Worker::start(&variables, &[Binding::Kv])
}

/// The next line of this event, and code, and store if one is given. All
/// before it are JSON that has its event; none may hold a token, or begin as a
/// client would like it to.
fn line(worker: &mut Worker, event: &str, code: &Value, store: Option<&str>) -> Value {
    let line = worker.process.wait_for(PATIENCE, |line| {
        let line = parsed(line)?;
        let is_it = line["event"] == event && line["code"] == *code;
        (is_it && store.is_none_or(|store| line["store"] == store)).then_some(line)
    });
    line.unwrap()
}

/// A line of the Worker's own: wrangler has others.
fn parsed(line: &str) -> Option<Value> {
    assert!(
        !line.contains(TOKEN) && !line.contains("payload="),
        "{line}"
    );
    assert!(!line.starts_with("forged"), "{line}");
    assert!(
        !line.contains(['\u{85}', '\u{2028}', '\u{202e}']),
        "{line:?}"
    );
    if !line.starts_with('{') {
        assert!(
            !line.contains("refused") && !line.contains("closed"),
            "{line}"
        );
        return None;
    }
    let line: Value = serde_json::from_str(line).unwrap();
    for field in ["event", "level", "message"] {
        assert!(line[field].is_string(), "{field} is not in {line}");
    }
    Some(line)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn who_is_turned_away_is_in_the_log() {
    let mut worker = start();
    let headers = [("origin", "https://shop.example")];
    let refused = token::url("shop", "ws", Some(TOKEN));
    let mut socket = Socket::try_open(&worker.server, &refused, &headers).unwrap();
    assert_eq!(socket.receive_close().0, 4401);
    let told = line(
        &mut worker,
        "refused",
        &json!("TOKEN_INVALID"),
        Some("shop"),
    );
    assert_eq!(told["level"], "info");
    assert_eq!(told["answer"], 4401);
    assert_eq!(told["origin"], "https://shop.example");
    assert!(
        told["why"].as_str().unwrap().starts_with("The token"),
        "{told}"
    );
    for field in ["address", "request_id"] {
        assert!(told[field].is_string(), "{field} is not in {told}");
    }

    // What a client can quote; where Cloudflare has an id, it is that.
    let url = token::url("books", "http", Some(TOKEN));
    let answer = http::request(&worker.server, "POST", &url, &[], "{}");
    assert_eq!(answer.status, 401);
    let told = line(
        &mut worker,
        "refused",
        &json!("TOKEN_INVALID"),
        Some("books"),
    );
    assert_eq!(told["answer"], 401);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!((told["request_id"].as_str().unwrap(), id.len()), (id, 16));
    let url = token::url("maps", "http", Some(TOKEN));
    let ray = [("cf-ray", "8f2a5c1d9e0b7a63-LHR")];
    let answer = http::request(&worker.server, "POST", &url, &ray, "{}");
    assert_eq!(answer.header("x-request-id"), Some(ray[0].1));
    let told = line(
        &mut worker,
        "refused",
        &json!("TOKEN_INVALID"),
        Some("maps"),
    );
    assert_eq!(told["request_id"], ray[0].1);
    let served = http::get(&worker.server, "/healthz");
    assert_eq!((served.status, served.header("x-request-id")), (200, None));

    let long = format!("/{}", "x".repeat(17_000));
    let answer = http::get(&worker.server, &long);
    assert_eq!(answer.status, 414);
    let told = line(&mut worker, "refused", &json!("URL_TOO_LONG"), None);
    assert_eq!(told["answer"], 414);
    assert_eq!(told["request_id"].as_str(), answer.header("x-request-id"));

    // A store that would like to be a line of its own; its client floods.
    let evil = "a\r\nforged\u{85}forged\u{2028}forged\u{202e}";
    let good = token::good(evil);
    let url = token::url(&encoded(evil), "ws", Some(&good));
    // The payload names the store as it is.
    let payload = serde_json::json!({"authToken": good, "instanceId": evil}).to_string();
    let (before, _) = url.split_once("&payload=").unwrap();
    let url = format!("{before}&payload={}", encoded(&encoded(&payload)));
    let mut socket = Socket::try_open(&worker.server, &url, &headers).unwrap();
    for id in 0..1_000 {
        if !socket.try_send(push(&id.to_string(), evil, &[]).to_string()) {
            break;
        }
    }
    let told = line(&mut worker, "closed", &json!(1013), Some(evil));
    assert_eq!(told["why"], "TOO_MANY_REQUESTS");
    assert_eq!(told["origin"], "https://shop.example");
    assert!(told["lived_ms"].is_u64() && told["address"].is_string());
    assert!(told["frames_in"].as_u64() > Some(5), "{told}");

    // An ordinary life.
    let url = token::url("shop", "ws", Some(&token::good("shop")));
    let mut socket = Socket::open(&worker.server, &url);
    socket.send(push("1", "shop", &events(1, 1)));
    socket.receive_json();
    socket.close(1000);
    let told = line(&mut worker, "ended", &json!(1000), Some("shop"));
    assert_eq!(
        (&told["level"], &told["by"]),
        (&json!("debug"), &json!("client"))
    );
    assert_eq!(
        (&told["frames_in"], &told["frames_out"]),
        (&json!(1), &json!(1))
    );
    assert!(told["bytes_in"].as_u64() > Some(100) && told["bytes_out"].as_u64() > Some(10));
    assert!(told["lived_ms"].is_u64() && told["request_id"].is_string());
    assert!(told["since"].is_null(), "it is all that there was: {told}");
}

fn i7_many_refusals_are_few_lines_that_count_them_all() {
    const MANY: u64 = 300;
    let mut worker = start();
    for number in 0..MANY / 2 {
        for store in ["shop".to_owned(), format!("store-{number}")] {
            let url = token::url(&store, "ws", Some(TOKEN));
            assert_eq!(Socket::open(&worker.server, &url).receive_close().0, 4401);
        }
    }
    let is_over = AtomicBool::new(false);
    let (counted, lines) = (Cell::new(0), RefCell::new(Vec::new()));
    thread::scope(|scope| {
        // A sum is written by what comes after its time.
        let server = &worker.server;
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(http::get(server, "/healthz").status, 200);
                thread::sleep(Duration::from_millis(200));
            }
        });
        let all = worker.process.wait_for(PATIENCE, |line| {
            let line = parsed(line)?;
            if line["event"] == "refused" && line["code"] == "TOKEN_INVALID" {
                counted.set(counted.get() + line["times"].as_u64().unwrap_or(1));
                lines.borrow_mut().push(line);
            }
            (counted.get() >= MANY).then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
        all.unwrap();
    });
    assert_eq!(counted.get(), MANY);
    let lines = lines.into_inner();
    assert!(lines.len() < 100, "{} lines: {lines:#?}", lines.len());
}
