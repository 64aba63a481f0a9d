//! Who is not served: told so in the form of what was asked, and in the log.

use std::fs;
use std::time::{Duration, Instant};

use syncline_tests::server::Server;

use super::{COMPLETIONS, FORMS, Form};
use crate::callers::User;
use crate::stage::{Host, Profile, Stage, seen, upstream};
use crate::{Scenario, scenarios};

/// How long what has to come may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What no line may hold.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.secret-token.signature";

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Open:
        a_request_that_stays_away_is_given_up,
        who_finds_no_place_is_told_to_come_back,
        who_is_refused_is_in_the_log,
    ]
}

/// In a server of its own, of which nothing is left for others meanwhile.
fn who_finds_no_place_is_told_to_come_back(stage: &Stage) {
    let dir = tempfile::tempdir().expect("a directory");
    let variables = Profile::Open.variables(&upstream().url());
    let server = stage.host.start(&variables, dir.path()).expect("a server");
    let user = User::new("places", false);
    // They have begun, and their bodies do not come.
    let waiting: Vec<_> = (0..stage.host.relays_max())
        .map(|_| {
            let mut exchange = user.post_json(COMPLETIONS).begin(&server.url);
            assert!(exchange.write("{"));
            exchange
        })
        .collect();
    for form in FORMS {
        // Those before it may still be on their way, and then it is one of
        // them that waits: `{}` is no question.
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            let answer = seen(user.post_json(form.path()).send_with(&server.url, "{}"));
            if answer.status != 400 {
                break answer;
            }
            assert!(Instant::now() < deadline, "there is always a place");
        };
        form.refused(&answer, 503, "OVERLOADED");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    drop(waiting);
}

fn a_request_that_stays_away_is_given_up(stage: &Stage) {
    let user = stage.user("slow");
    let asked = FORMS.map(|form| {
        let mut exchange = stage.begin(&user.post_json(form.path()));
        assert!(exchange.write("{"));
        (form, exchange)
    });
    for (form, exchange) in asked {
        // Nothing more, for as long as the server likes.
        form.refused(&exchange.answer(), 408, "BODY_TIMEOUT");
    }
}

/// In a server of its own, where they are the first of their kinds.
fn who_is_refused_is_in_the_log(stage: &Stage) {
    let dir = tempfile::tempdir().expect("a directory");
    let variables = Profile::Open.variables(&upstream().url());
    let server: Server = stage.host.start(&variables, dir.path()).expect("a server");
    let user = User::new("log", false);
    for (method, path, status, code) in [
        ("POST", "/api/upload-image", 415, "INVALID_FILE"),
        ("POST", COMPLETIONS, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("GET", "/api/images/covers/none", 404, "NOT_FOUND"),
        ("PUT", Form::Api.path(), 405, "METHOD_NOT_ALLOWED"),
    ] {
        let ask = user.ask(method, &format!("{path}?payload={TOKEN}"));
        let ask = ask.with("content-type", "text/plain");
        let answer = seen(ask.send_with(&server.url, TOKEN));
        assert_eq!(answer.status, status, "{}", answer.text());
        // Fields as tracing writes them, or as JSON.
        let fields = match stage.host {
            Host::Wasmtime => [
                format!("code=\"{code}\""),
                format!("answer={status}"),
                format!("request=\"{method} {path}\""),
                "why=\"".to_owned(),
                "address=".to_owned(),
            ],
            Host::Workerd => [
                format!("\"code\":\"{code}\""),
                format!("\"answer\":{status}"),
                format!("\"request\":\"{method} {path}\""),
                "\"why\":\"".to_owned(),
                "\"address\":\"".to_owned(),
            ],
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read(dir.path().join("log")).expect("a log");
            let log = plain(&String::from_utf8_lossy(&log));
            assert!(!log.contains("secret-token"), "{log}");
            let is_it = |line: &str| fields.iter().all(|field| line.contains(field));
            if log.lines().any(is_it) {
                break;
            }
            assert!(Instant::now() < deadline, "{fields:?} is not in:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A log without colours.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}
