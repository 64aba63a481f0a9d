//! Who runs a Worker sees in its log whom it turned away, and why. What the
//! lines look like is also shown of the local host (`tests/operation`).

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use syncline_tests::http;
use syncline_tests::profile::JWT_SECRET;
use syncline_tests::rpc::push;
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

/// The next line that holds all of these; none before it may hold a token, or
/// begin as a client would like it to.
fn line(worker: &mut Worker, with: &[&str]) -> String {
    let line = worker.process.wait_for(PATIENCE, |line| {
        assert!(
            !line.contains(TOKEN) && !line.contains("payload="),
            "{line}"
        );
        assert!(!line.starts_with("forged"), "{line}");
        assert!(
            !line.contains(['\u{85}', '\u{2028}', '\u{202e}']),
            "{line:?}"
        );
        let is_it = with.iter().all(|it| line.contains(it));
        is_it.then(|| line.to_owned())
    });
    line.unwrap()
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
    let told = line(&mut worker, &["refused code=\"TOKEN_INVALID\""]);
    for field in [
        "answer=4401",
        r#"store="shop""#,
        r#"why="The token"#,
        r#"origin="https://shop.example""#,
        "address=\"",
    ] {
        assert!(told.contains(field), "{field} is not in {told}");
    }

    let url = token::url("books", "http", Some(TOKEN));
    let answer = http::request(&worker.server, "POST", &url, &[], "{}");
    assert_eq!(answer.status, 401);
    let told = line(
        &mut worker,
        &["refused", "TOKEN_INVALID", r#"store="books""#],
    );
    assert!(told.contains("answer=401"), "{told}");
    let long = format!("/{}", "x".repeat(17_000));
    assert_eq!(http::get(&worker.server, &long).status, 414);
    line(&mut worker, &["refused", "URL_TOO_LONG", "answer=414"]);

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
    let told = line(&mut worker, &["closed code=1013", "TOO_MANY_REQUESTS"]);
    for field in [
        r#"store="a\r\nforged"#,
        "lived_ms=",
        r#"origin="https://shop.example""#,
        "address=\"",
    ] {
        assert!(told.contains(field), "{field} is not in {told}");
    }

    // An ordinary life.
    let url = token::url("shop", "ws", Some(&token::good("shop")));
    let mut socket = Socket::open(&worker.server, &url);
    socket.close(1000);
    let told = line(&mut worker, &["ended code=1000", r#"store="shop""#]);
    assert!(told.contains("by=\"client\" lived_ms="), "{told}");
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
            if line.contains("refused") && line.contains("TOKEN_INVALID") {
                let times = line.split_once("times=").map_or(1, |(_, rest)| {
                    rest.split(' ').next().unwrap().parse().unwrap()
                });
                counted.set(counted.get() + times);
                lines.borrow_mut().push(line.to_owned());
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
