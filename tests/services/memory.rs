//! Memory, while as much is under way as anybody will send. Of an isolate it
//! cannot be told: workerd's inspector stops the Worker under this load, and
//! the process has the stand-ins of R2 and of the other bindings, too. There it
//! is what is at work at once that bounds it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use syncline_tests::exchange::{Ask, Next};
use syncline_tests::rpc::{Client, events, new_store};
use syncline_tests::upstream::{Piece, Reply};

use crate::picture::{Form, content_type, png_of};
use crate::stage::{Host, Profile, Stage, upstream};
use crate::{Scenario, scenarios};

/// Images that are uploaded at once, each of the largest size.
const UPLOADS: usize = 50;
const IMAGE_BYTES: usize = 5 * 1024 * 1024;

/// Streams that are open all the while.
const STREAMS: usize = 50;

/// What the wasmtime host may take more than before, in megabytes: 128 MiB for
/// images, and what is copied of them and of the streams. All images together
/// would be 250.
const GROWTH_MEGABYTES_MAX: u64 = 200;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Open: i7_memory_is_bounded_while_images_and_streams_are_under_way]
}

fn i7_memory_is_bounded_while_images_and_streams_are_under_way(stage: &Stage) {
    // A server of its own: others' scenarios take memory too.
    let dir = tempfile::tempdir().expect("a directory");
    // The streams rest until the uploads are over.
    let variables = Profile::Open.variables_but(&upstream().url(), "LLM_IDLE_TIMEOUT_MS", "300000");
    let server = stage.host.start(&variables, dir.path()).expect("a server");
    let mut pieces = Reply::begun(&["y".repeat(10_000).as_str(); 10]);
    pieces.push(Piece::Hold);
    pieces.extend(Reply::ended("stop", 1));
    let script = upstream().script([Reply::events(pieces)]);
    let question = serde_json::json!({
        "model": "any",
        "stream": true,
        "messages": [{"role": "user", "content": script.marker}],
    })
    .to_string();
    let ask = Ask::new("POST", "/v1/chat/completions").with("content-type", "application/json");
    let image = Form::with_file(&png_of(IMAGE_BYTES)).end();
    let is_over = AtomicBool::new(false);
    let (stored, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));

    // What it is without them, all of its code loaded.
    let store = new_store("memory");
    let mut writer = Client::open(&server, &store);
    let mut reader = Client::open(&server, &store);
    let pull = reader.pull(true, None);
    let upload = || {
        let ask = Ask::new("POST", "/api/upload-image").with("content-type", &content_type());
        let (answer, is_whole) = ask.begin_with(&server.url, image.clone()).rest();
        assert!(is_whole, "{answer:?}");
        answer
    };
    assert_eq!(upload().status, 200);
    let process = server.process.as_ref().expect("a process");
    let megabytes = || process.megabytes().expect("ps");
    let before = megabytes();
    let mut megabytes_most = before;

    thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS)
            .map(|_| {
                let mut exchange = ask.begin_with(&server.url, question.clone());
                scope.spawn(move || {
                    assert_eq!(exchange.status(), Some(200));
                    let mut bytes = 0;
                    loop {
                        match exchange.next_piece() {
                            Next::Piece(piece) => bytes += piece.len(),
                            Next::End => return bytes,
                            Next::Broken => panic!("a stream broke off after {bytes} bytes"),
                        }
                    }
                })
            })
            .collect();
        script.wait_until_held(STREAMS);
        let uploads: Vec<_> = (0..UPLOADS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let answer = upload();
                        match answer.status {
                            200 => {
                                stored.fetch_add(1, Ordering::Relaxed);
                                return;
                            }
                            503 => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
                            other => panic!("{other}: {answer:?}"),
                        }
                        refused.fetch_add(1, Ordering::Relaxed);
                        // As it is told to.
                        thread::sleep(Duration::from_secs(1));
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                })
            })
            .collect();
        let _over = Over(&is_over);
        let mut number = 0;
        while uploads.iter().any(|it| !it.is_finished()) {
            // Sync goes on.
            number += 1;
            writer.push_ok(&events(number, number));
            assert_eq!(reader.numbers_until(&pull, number), [number]);
            megabytes_most = megabytes_most.max(megabytes());
        }
        assert!(number > 0);
        for _ in 0..STREAMS {
            script.release();
        }
        for stream in streams {
            assert!(stream.join().expect("a stream") > 100_000);
        }
    });
    assert_eq!(stored.load(Ordering::Relaxed), UPLOADS);
    let refused = refused.load(Ordering::Relaxed);
    eprintln!(
        "{:?}: {before} to {megabytes_most} MB, {refused} refused",
        stage.host
    );
    match stage.host {
        Host::Workerd => assert!(refused > 0, "all {UPLOADS} were held at once"),
        Host::Wasmtime => {
            let growth = megabytes_most - before;
            assert!(
                growth < GROWTH_MEGABYTES_MAX,
                "{growth} MB more than {before}"
            );
        }
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
