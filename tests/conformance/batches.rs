//! Batches: split into Chunks on their way out, stored whole.

use serde_json::json;
use syncline_tests::rpc::{Client, event_with, events, failure_code, new_store, numbers};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        V4 Open:
            a_push_is_shown_in_chunks_of_100_events,
            a_push_is_shown_in_chunks_of_900_000_bytes,
            an_empty_batch_always_succeeds,
            a_push_of_30_mb_lands;
        Both Open:
            a_push_of_too_many_events_is_refused,
    ]
}

fn a_push_is_shown_in_chunks_of_100_events(server: &Server) {
    let store = new_store("split");
    let mut subscriber = Client::open(server, &store);
    let live = subscriber.pull(true, None);
    subscriber.chunk(&live);
    let mut pusher = Client::open(server, &store);
    let mut last = 0;
    for (size, chunks) in [(101, 2), (250, 3), (1_000, 10)] {
        pusher.push_ok(&events(last + 1, last + size));
        for _ in 0..chunks {
            let chunk = subscriber.chunk(&live);
            assert!(numbers(&chunk).len() <= 100);
            assert_eq!(chunk["values"][0]["pageInfo"], json!({"_tag": "NoMore"}));
            let expected: Vec<u64> = (last + 1..).take(numbers(&chunk).len()).collect();
            assert_eq!(numbers(&chunk), expected);
            last += numbers(&chunk).len() as u64;
        }
    }
    assert_eq!(last, 1_351);
}

fn a_push_is_shown_in_chunks_of_900_000_bytes(server: &Server) {
    let store = new_store("split-bytes");
    let mut subscriber = Client::open(server, &store);
    let live = subscriber.pull(true, None);
    subscriber.chunk(&live);
    let mut pusher = Client::open(server, &store);
    let text = "x".repeat(60_000);
    let batch: Vec<_> = (1..=40).map(|n| event_with(n, json!(text))).collect();
    pusher.push_ok(&batch);
    let mut seen = Vec::new();
    while seen.len() < 40 {
        let chunk = subscriber.chunk(&live);
        assert!(chunk.to_string().len() <= 900_000);
        seen.extend(numbers(&chunk));
    }
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
}

fn an_empty_batch_always_succeeds(server: &Server) {
    let store = new_store("empty");
    let mut client = Client::open(server, &store);
    client.push_ok(&[]);
    client.push_ok(&events(1, 2));
    client.push_ok(&[]);
}

fn a_push_of_30_mb_lands(server: &Server) {
    let store = new_store("30-mb");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    let text = "x".repeat(500_000);
    let batch: Vec<_> = (1..=60).map(|n| event_with(n, json!(text))).collect();
    client.push_ok(&batch);
    assert_eq!(
        client.numbers_until(&live, 60),
        (1..=60).collect::<Vec<_>>()
    );
    // And the room is none the worse for it.
    client.push_ok(&events(61, 61));
    assert_eq!(client.numbers_until(&live, 61), [61]);
}

fn a_push_of_too_many_events_is_refused(server: &Server) {
    let store = new_store("too-many");
    let mut client = Client::open(server, &store);
    let exit = client.push(&events(1, 10_001));
    assert_eq!(failure_code(&exit), "BATCH_TOO_LARGE");
    client.push_ok(&events(1, 10_000));
}
