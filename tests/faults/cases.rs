//! What has to hold while a disk fails, and afterwards.

use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::rpc::{Client, event_with, events, failure_code, numbers, option, request};
use syncline_tests::socket::Received;

use crate::faulty::{Faulty, fails, live, log, read};
use crate::soak;

/// Every case, by name.
pub const ALL: [(&str, fn()); 9] = [
    (
        "i1_i2_i3_i8_nothing_that_a_client_was_told_is_lost_however_the_disk_fails",
        soak::nothing_that_a_client_was_told_is_lost_however_the_disk_fails,
    ),
    (
        "i1_a_full_disk_refuses_pushes_until_there_is_space",
        a_full_disk_refuses_pushes_until_there_is_space,
    ),
    (
        "i2_a_disk_that_fills_within_a_batch_takes_none_of_it",
        a_disk_that_fills_within_a_batch_takes_none_of_it,
    ),
    (
        "i1_a_write_error_refuses_pushes_until_it_is_gone",
        a_write_error_refuses_pushes_until_it_is_gone,
    ),
    (
        "i1_i2_a_sync_error_acknowledges_nothing_and_loses_nothing",
        a_sync_error_acknowledges_nothing_and_loses_nothing,
    ),
    (
        "i1_i2_a_sync_error_before_the_end_leaves_whole_pushes",
        a_sync_error_before_the_end_leaves_whole_pushes,
    ),
    (
        "i1_a_checkpoint_that_fails_loses_nothing",
        a_checkpoint_that_fails_loses_nothing,
    ),
    (
        "i9_a_read_error_is_told_and_passes",
        a_read_error_is_told_and_passes,
    ),
    (
        "i1_a_store_that_finds_no_space_is_made_later",
        a_store_that_finds_no_space_is_made_later,
    ),
];

const NOTHING: [u64; 0] = [];

/// Events of 40 kB.
fn large(first: u64, last: u64) -> Vec<Value> {
    (first..=last)
        .map(|seq_num| event_with(seq_num, json!({"n": seq_num, "text": "x".repeat(40_000)})))
        .collect()
}

/// How often a text stands in a log.
fn count(log: &str, words: &str) -> usize {
    log.matches(words).count()
}

fn a_full_disk_refuses_pushes_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut faulty = Faulty::start(dir.path());
    let server = &faulty.server;
    let (mut pusher, _, _) = live(server, "s", 0);
    pusher.push_ok(&events(1, 5));
    let (_, backend_id) = read(server, "s");

    faulty.set("full 0");
    let server = &faulty.server;
    fails(&mut pusher, "s", &events(6, 6), "STORAGE_FULL");

    // What is there is served, pushes are answered, sockets stay open.
    let (mut pusher, _, _) = live(server, "s", 5);
    let (mut reader, pull, first) = live(server, "s", 3);
    assert_eq!(first, [4, 5]);
    for _ in 0..300 {
        let exit = pusher.push(&events(6, 8));
        assert_eq!(failure_code(&exit), "STORAGE_FULL");
    }
    reader.assert_silent();
    // Once it has been looked.
    let not_ready = loop {
        let answer = http::get(server, "/readyz");
        if answer.status == 503 {
            break answer.body;
        }
    };
    assert!(not_ready.contains("the disk is full"), "{not_ready}");
    assert_eq!(http::get(server, "/healthz").status, 200);
    let payload = json!({"storeId": "s", "batch": events(6, 6), "backendId": option(None)});
    let body = request("1", "SyncHttpRpc.Push", payload).to_string();
    let answer = http::request(server, "POST", "/?storeId=s&transport=http", &[], &body);
    assert_eq!(answer.status, 200);
    assert_eq!(failure_code(&answer.json()[0]["exit"]), "STORAGE_FULL");
    let said = log(dir.path());
    assert_eq!(
        count(&said, "trouble: cannot write: the disk is full"),
        1,
        "{said}"
    );
    assert_eq!(count(&said, "watch: not ready: "), 1, "{said}");
    for words in ["data/shard-", ".db", "Free some space", "are refused until"] {
        assert!(said.contains(words), "not a word of `{words}`: {said}");
    }
    let lines = said.lines().count();
    assert!(lines < 200, "{lines} lines for 300 pushes");

    faulty.set("none");
    // Also if nobody pushes.
    while http::get(&faulty.server, "/readyz").status != 200 {}
    pusher.push_ok(&events(6, 8));
    assert_eq!(reader.numbers_until(&pull, 8), [6, 7, 8]);
    let said = log(dir.path());
    assert_eq!(count(&said, "pushes are taken"), 1, "{said}");

    faulty.kill();
    let faulty = Faulty::start(dir.path());
    let (log, id) = read(&faulty.server, "s");
    assert_eq!((log.len(), id), (8, backend_id), "I1, I8");
}

fn a_disk_that_fills_within_a_batch_takes_none_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut faulty = Faulty::start(dir.path());
    let (mut pusher, _, _) = live(&faulty.server, "s", 0);
    pusher.push_ok(&large(1, 3));
    // SQLite writes what its cache cannot hold before the commit.
    faulty.set("full 3000000");
    fails(&mut pusher, "s", &large(4, 203), "STORAGE_FULL");
    let (mut pusher, _, first) = live(&faulty.server, "s", 3);
    assert_eq!(first, NOTHING, "I2");
    assert_eq!(failure_code(&pusher.push(&large(4, 203))), "STORAGE_FULL");
    assert!(log(dir.path()).contains("the disk is full"));

    faulty.set("none");
    pusher.push_ok(&large(4, 203));
    faulty.kill();
    let faulty = Faulty::start(dir.path());
    let (log, _) = read(&faulty.server, "s");
    assert_eq!(log.len(), 203, "I1");
}

fn a_write_error_refuses_pushes_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut faulty = Faulty::start(dir.path());
    let (mut pusher, _, _) = live(&faulty.server, "s", 0);
    pusher.push_ok(&events(1, 5));
    faulty.set("write");
    fails(&mut pusher, "s", &events(6, 6), "STORAGE_UNAVAILABLE");
    let (mut pusher, pull, first) = live(&faulty.server, "s", 4);
    assert_eq!(first, [5]);
    let exit = pusher.push(&events(6, 6));
    assert_eq!(failure_code(&exit), "STORAGE_UNAVAILABLE");
    let said = log(dir.path());
    assert_eq!(
        count(&said, "trouble: cannot write: the disk reports an error"),
        1
    );
    faulty.set("none");
    pusher.push_ok(&events(6, 6));
    assert_eq!(pusher.numbers_until(&pull, 6), [6]);
    faulty.kill();
    let faulty = Faulty::start(dir.path());
    assert_eq!(read(&faulty.server, "s").0.len(), 6, "I1");
}

fn a_sync_error_acknowledges_nothing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut faulty = Faulty::start(dir.path());
    Client::open(&faulty.server, "s").push_ok(&events(1, 5));
    // Again and again, so that what follows overwrites what was lost.
    for head in [5, 10, 15] {
        let (mut pusher, _, first) = live(&faulty.server, "s", head);
        assert_eq!(first, NOTHING);
        faulty.set("sync");
        fails(
            &mut pusher,
            "s",
            &events(head + 1, head + 3),
            "STORAGE_UNAVAILABLE",
        );
        let (mut pusher, pull, first) = live(&faulty.server, "s", head);
        assert_eq!(first, NOTHING, "I1: it was never acknowledged");
        faulty.set("none");
        // Another push than the one that failed.
        let other: Vec<Value> = (head + 1..=head + 5)
            .map(|seq_num| event_with(seq_num, json!({"other": seq_num})))
            .collect();
        pusher.push_ok(&other);
        assert_eq!(pusher.numbers_until(&pull, head + 5).len(), 5);
    }
    let before = read(&faulty.server, "s");
    faulty.kill();
    let faulty = Faulty::start(dir.path());
    assert_eq!(read(&faulty.server, "s"), before, "I1, I8");
    assert_eq!(before.0.len(), 20);
    let said = log(dir.path());
    assert!(said.contains("the disk reports an error"), "{said}");
}

fn a_sync_error_before_the_end_leaves_whole_pushes() {
    for fault in ["sync -wal", "sync-kept -wal"] {
        let dir = tempfile::tempdir().unwrap();
        let mut faulty = Faulty::start(dir.path());
        Client::open(&faulty.server, "s").push_ok(&events(1, 5));
        let before = read(&faulty.server, "s");
        faulty.set(fault);
        let (mut pusher, _, _) = live(&faulty.server, "s", 5);
        fails(&mut pusher, "s", &large(6, 105), "STORAGE_UNAVAILABLE");
        faulty.kill();
        let faulty = Faulty::start(dir.path());
        let (log, id) = read(&faulty.server, "s");
        assert_eq!((&log[..5], &id), (&*before.0, &before.1), "I1, I8");
        assert!([5, 105].contains(&log.len()), "I2: {} events", log.len());
        let head = log.len() as u64;
        Client::open(&faulty.server, "s").push_ok(&events(head + 1, head + 1));
    }
}

fn a_checkpoint_that_fails_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut faulty = Faulty::start(dir.path());
    let mut head = 0;
    for fault in ["sync .db", "write .db", "full 0 .db", "none"] {
        // The log beside the file takes the pushes; SQLite moves them into the
        // file every 4 MB.
        faulty.set(fault);
        let mut pusher = Client::open(&faulty.server, "s");
        for _ in 0..4 {
            pusher.push_ok(&large(head + 1, head + 50));
            head += 50;
        }
        let (_, _, first) = live(&faulty.server, "s", head - 1);
        assert_eq!(first, [head], "{fault}");
    }
    let said = log(dir.path());
    let cannot = "cannot move the write-ahead log into the file: the disk";
    // An error of the disk, and a full one.
    assert_eq!(count(&said, cannot), 2, "{said}");
    assert!(said.contains("the -wal beside it grows"), "{said}");
    assert_eq!(count(&said, "log was moved into the file"), 1, "{said}");

    let before = read(&faulty.server, "s");
    faulty.kill();
    let faulty = Faulty::start(dir.path());
    let after = read(&faulty.server, "s");
    assert_eq!((after.0.len() as u64, &after.1), (head, &before.1));
    assert!(after.0 == before.0, "I1: the log is another");
}

fn a_read_error_is_told_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::start(dir.path());
    Client::open(&faulty.server, "s").push_ok(&large(1, 20));
    let before = read(&faulty.server, "s");
    faulty.kill();
    // Now nothing is in SQLite's memory.
    let mut faulty = Faulty::start(dir.path());
    faulty.set("read");
    let server = &faulty.server;
    let exit = Client::open(server, "s").push(&events(21, 21));
    assert_eq!(failure_code(&exit), "STORAGE_UNAVAILABLE");
    let mut client = Client::open(server, "s");
    client.pull(true, None);
    assert_eq!(
        client.socket.receive(),
        Received::Closed(1011, "STORAGE_UNAVAILABLE".to_owned())
    );
    let said = log(dir.path());
    for words in ["data/shard-", "the disk reports an error", "system's log"] {
        assert!(said.contains(words), "not a word of `{words}`: {said}");
    }
    faulty.set("none");
    assert_eq!(read(&faulty.server, "s"), before);
    let (mut client, pull, _) = live(&faulty.server, "s", 20);
    client.push_ok(&events(21, 21));
    assert_eq!(numbers(&client.chunk(&pull)), [21]);
}

fn a_store_that_finds_no_space_is_made_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut faulty = Faulty::start(dir.path());
    faulty.set("full 0");
    // A store's first push has to create the store.
    let exit_or_close = |faulty: &Faulty| {
        let mut client = Client::open(&faulty.server, "s");
        fails(&mut client, "s", &events(1, 2), "STORAGE_FULL");
    };
    exit_or_close(&faulty);
    exit_or_close(&faulty);
    faulty.set("none");
    Client::open(&faulty.server, "s").push_ok(&events(1, 2));
    let before = read(&faulty.server, "s");
    faulty.kill();
    let faulty = Faulty::start(dir.path());
    assert_eq!(read(&faulty.server, "s"), before);
}
