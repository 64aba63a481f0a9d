//! What clients that are let in may take of an isolate's memory (I7): bodies
//! that do not arrive, answers that are not read, sockets that say nothing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use syncline_tests::http;
use syncline_tests::rpc::{event_with, events, new_store, option, request};
use syncline_tests::socket::Received;

use crate::Scenario;
use crate::peer::Peer;
use crate::rooms::Rooms;
use crate::token;

pub fn scenarios() -> Vec<Scenario> {
    crate::scenarios![
        i7_bodies_that_do_not_arrive_are_bounded_in_sum_and_keep_no_push_out,
        i7_answers_that_nobody_reads_are_bounded_in_sum_and_keep_no_reader_out,
        i7_silent_sockets_are_bounded_in_sum_and_keep_no_push_out,
    ]
}

pub fn d1_scenarios() -> Vec<Scenario> {
    crate::scenarios![i7_frames_that_wait_for_d1_count_what_they_take_in_memory]
}

/// How long something may take that has to come.
const PATIENCE: Duration = Duration::from_secs(150);

/// Where a store's requests go over HTTP, as part of a URL.
fn url_of(store: &str) -> String {
    let url = token::url(store, "http", Some(&token::good(store)));
    utf8_percent_encode(&url, NON_ALPHANUMERIC).to_string()
}

fn i7_bodies_that_do_not_arrive_are_bounded_in_sum_and_keep_no_push_out(rooms: &Rooms) {
    let store = new_store("bodies");
    let probe = format!("/__probe/stalled?url={}", url_of(&store));
    let refused = http::request_within(PATIENCE, &rooms.server, "GET", &probe, &[], "");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("\"OVERLOADED\""), "{refused:?}");
    // Small ones are free, also this client's.
    let batch = json!(events(1, 3));
    let payload = json!({"storeId": store, "batch": batch, "backendId": {"_tag": "None"}});
    let pushed = rooms.post(&store, &request("7", "SyncHttpRpc.Push", payload));
    assert_eq!(pushed.json()[0]["exit"]["_tag"], "Success", "{pushed:?}");
}

/// What an event's arguments take, whose page is its own.
const LARGE_BYTES: usize = 850_000;

/// A log of so many events that are large.
fn large_log(rooms: &Rooms, name: &str, length: u64) -> (String, Peer) {
    let store = new_store(name);
    let mut pusher = Peer::v4(rooms, &store);
    for first in (1..=length).step_by(10) {
        let batch: Vec<_> = (first..=length.min(first + 9))
            .map(|n| event_with(n, json!("x".repeat(LARGE_BYTES))))
            .collect();
        let id = first.to_string();
        let push = syncline_tests::rpc::push(&id, &store, &batch);
        pusher.socket.send(push);
        while pusher.take()["requestId"] != id.as_str() {}
    }
    (store, pusher)
}

fn i7_answers_that_nobody_reads_are_bounded_in_sum_and_keep_no_reader_out(rooms: &Rooms) {
    let (store, mut pusher) = large_log(rooms, "unread-answers", 3);
    let payload = json!({"storeId": store, "cursor": option(None)});
    let pull = request("7", "SyncHttpRpc.Pull", payload).to_string();
    // A page of each waits: 51 MB, of which 32 MiB may.
    let probe = format!("/__probe/unread?answers=60&url={}", url_of(&store));
    let answer = http::request_within(PATIENCE, &rooms.server, "POST", &probe, &[], &pull).json();
    assert!(answer["read"].as_u64() > Some(2_550_000), "{answer}");
    let whole = answer["whole"].as_u64().expect("a number");
    assert!(
        (30..45).contains(&whole),
        "{whole} unread answers were kept"
    );
    pusher.push_ok(4, 4);
}

/// Events that a 0.3 client is not sent all of before it says something.
const LARGE: u64 = 40;

fn i7_silent_sockets_are_bounded_in_sum_and_keep_no_push_out(rooms: &Rooms) {
    let (store, mut pusher) = large_log(rooms, "silent", LARGE);
    // 32 MiB each, before they would have to say something.
    let mut silent = [(); 3].map(|()| Peer::v3(rooms, &store));
    silent.iter_mut().for_each(Peer::pull);
    let mut live = Peer::v4(rooms, &store);
    live.pull();
    live.until(LARGE);
    let mut head = LARGE;
    let deadline = Instant::now() + PATIENCE;
    let mut is_closed = || {
        silent.iter_mut().any(|peer| {
            loop {
                match peer.socket.receive_within(Duration::from_millis(1)) {
                    Some(Received::Text(_)) => {}
                    Some(Received::Closed(code, reason)) => {
                        assert_eq!((code, &*reason), (1013, "TOO_SLOW"));
                        break true;
                    }
                    None => break false,
                }
            }
        })
    };
    while !is_closed() {
        assert!(Instant::now() < deadline, "no silent socket was closed");
        sleep(Duration::from_secs(1));
        head += 1;
        pusher.push_ok(head, head);
        live.until(head);
    }
    pusher.push_ok(head + 1, head + 1);
    live.has_all_to(head + 1);
}

fn i7_frames_that_wait_for_d1_count_what_they_take_in_memory(rooms: &Rooms) {
    let store = new_store("wide");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    rooms.arm_kind(&store, "hold-insert");
    pusher.send_push(1, 2);
    // 13 million characters, in two bytes each for the sake of one.
    let wide = format!("\u{416}{}", " ".repeat(13_000_000));
    let mut waiting = [(); 2].map(|()| Peer::v4(rooms, &store));
    for peer in &mut waiting {
        peer.socket.send(&wide);
    }
    let deadline = Instant::now() + PATIENCE;
    let closed = loop {
        assert!(Instant::now() < deadline, "both wait");
        let answers = waiting
            .each_mut()
            .map(|peer| peer.socket.receive_within(Duration::from_millis(100)));
        if let Some(answer) = answers.into_iter().flatten().next() {
            break answer;
        }
    };
    assert_eq!(closed, Received::Closed(1013, "OVERLOADED".to_owned()));
    rooms.arm_kind(&store, "hold-insert");
    pusher.until(2);
}
