//! Sync goes on while one user floods the services.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use syncline_tests::exchange::{Ask, Next};
use syncline_tests::rpc::{Client, events, new_store};
use syncline_tests::upstream::{Piece, Reply};

use crate::picture::{Form, content_type, png_of};
use crate::stage::{Stage, upstream};
use crate::{Scenario, scenarios};

/// Events that are synced meanwhile, one push each.
const EVENTS: u64 = 50;

/// How much of each kind is under way, for as long as that takes.
const UPLOADS: usize = 12;
const STREAMS: usize = 24;
const READERS: usize = 4;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Open: i9_sync_goes_on_while_one_user_floods_the_services]
}

fn i9_sync_goes_on_while_one_user_floods_the_services(stage: &Stage) {
    let is_over = AtomicBool::new(false);
    let (stored, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let busy: Vec<Piece> = Reply::begun(&["y".repeat(10_000).as_str(); 100]);
    let script = upstream().script([Reply::events([busy, Reply::ended("stop", 1)].concat())]);
    let question = serde_json::json!({
        "model": "any",
        "stream": true,
        "messages": [{"role": "user", "content": script.marker}],
    })
    .to_string();
    let image = Form::with_file(&png_of(1024 * 1024)).end();
    thread::scope(|scope| {
        for _ in 0..UPLOADS {
            scope.spawn(|| {
                let ask =
                    Ask::new("POST", "/api/upload-image").with("content-type", &content_type());
                while !is_over.load(Ordering::Relaxed) {
                    // Too many at once are told so, at once.
                    let (answer, _) = ask.begin_with(&stage.server.url, image.clone()).rest();
                    match answer.status {
                        200 => drop(stored.fetch_add(1, Ordering::Relaxed)),
                        503 => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
                        other => panic!("{other}: {answer:?}"),
                    }
                }
            });
        }
        for _ in 0..STREAMS {
            scope.spawn(|| {
                let ask = Ask::new("POST", "/v1/chat/completions")
                    .with("content-type", "application/json");
                while !is_over.load(Ordering::Relaxed) {
                    let mut exchange = ask.begin_with(&stage.server.url, question.clone());
                    match exchange.status() {
                        Some(200) => {}
                        other => panic!("{other:?}"),
                    }
                    while matches!(exchange.next_piece(), Next::Piece(_)) {}
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..READERS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = Ask::get("/index.html").send(&stage.server.url);
                    assert_eq!(answer.status, 200);
                }
            });
        }
        // Ends the flood however this ends.
        let over = Over(&is_over);
        let store = new_store("flood");
        let mut writer = Client::open(&stage.server, &store);
        let mut reader = Client::open(&stage.server, &store);
        let pull = reader.pull(true, None);
        for number in 1..=EVENTS {
            writer.push_ok(&events(number, number));
            assert_eq!(reader.numbers_until(&pull, number), [number]);
        }
        // And the flood was one.
        let enough = || stored.load(Ordering::Relaxed) > 0 && answered.load(Ordering::Relaxed) > 0;
        let mut number = EVENTS;
        while !enough() {
            number += 1;
            writer.push_ok(&events(number, number));
            assert!(number < 100 * EVENTS, "nothing of the flood is served");
        }
        drop(over);
    });
    assert_eq!(stage.get("/healthz").status, 200);
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
