//! Ordering: one head, one chain (I4), whoever pushes.

use std::thread;

use serde_json::{Value, json};
use syncline_tests::rpc::{
    Client, cursor, event, events, failure, failure_code, new_store, numbers, push_to,
};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![V4 Open:
        i4_a_push_beside_the_head_is_server_ahead,
        i4_after_server_ahead_the_live_pull_has_what_was_missed,
        i4_a_batch_that_is_no_chain_is_refused_whole,
        i4_sequence_numbers_end_at_2_to_the_53,
        i4_an_empty_log_may_begin_at_any_number,
        i4_a_log_that_has_begun_does_not_jump,
        i4_of_concurrent_pushes_one_lands,
        i8_the_backend_id_is_checked_first,
    ]
}

fn i4_a_push_beside_the_head_is_server_ahead(server: &Server) {
    let store = new_store("ahead");
    let mut client = Client::open(server, &store);
    client.push_ok(&events(1, 5));
    for (first, provided) in [(1, 0), (5, 4), (7, 6), (50, 49)] {
        assert_eq!(
            client.push_refused(&[event(first)]),
            json!({"minimumExpectedNum": 5, "providedNum": provided, "_tag": "ServerAheadError"})
        );
    }
    client.push_ok(&[event(6)]);
}

fn i4_after_server_ahead_the_live_pull_has_what_was_missed(server: &Server) {
    let store = new_store("missed");
    let mut late = Client::open(server, &store);
    let live = late.pull(true, None);
    late.chunk(&live);
    let mut first = Client::open(server, &store);
    first.push_ok(&events(1, 3));
    // Not read yet by the late one, which pushes on what it knows.
    let error = late.push_refused(&[event(1)]);
    assert_eq!(error["_tag"], "ServerAheadError");
    assert_eq!(late.numbers_until(&live, 3), [1, 2, 3]);
    late.push_ok(&[event(4)]);
}

fn i4_a_batch_that_is_no_chain_is_refused_whole(server: &Server) {
    let store = new_store("chain");
    let mut client = Client::open(server, &store);
    client.push_ok(&events(1, 2));
    let broken = [
        // A gap in the middle, and at the start.
        vec![event(3), event(5)],
        vec![linked(4, 2)],
        // The same number twice; backwards; a parent that is not the one before.
        vec![event(3), event(3)],
        vec![event(3), linked(2, 3)],
        vec![event(3), linked(4, 2)],
        vec![linked(2, 2)],
    ];
    for batch in broken {
        let exit = client.push(&batch);
        assert_eq!(failure_code(&exit), "INVALID_EVENTS", "{batch:?}");
    }
    let (chunks, _) = client.pull_all(None);
    assert_eq!(numbers(&chunks[0]), [1, 2]);
    client.push_ok(&events(3, 4));
}

fn i4_sequence_numbers_end_at_2_to_the_53(server: &Server) {
    let store = new_store("numbers");
    let mut client = Client::open(server, &store);
    let mut with = |seq_num: Value, parent: Value| {
        let mut event = event(1);
        event["seqNum"] = seq_num;
        event["parentSeqNum"] = parent;
        failure(&client.push(&[event]))
    };
    for (seq_num, parent) in [
        (json!(1.5), json!(0)),
        (json!(-1), json!(-2)),
        (json!(1e300), json!(0)),
        (json!("1"), json!(0)),
        (json!(0), json!(0)),
        (json!(u64::MAX), json!(0)),
    ] {
        let error = with(seq_num.clone(), parent);
        assert_eq!(error["_tag"], "UnknownError", "{seq_num}");
    }
    client.push_ok(&[event(1)]);
}

fn linked(seq_num: u64, parent: u64) -> Value {
    let mut event = event(seq_num);
    event["parentSeqNum"] = json!(parent);
    event
}

/// Upstream's own tests begin at 100 and at 20,000.
fn i4_an_empty_log_may_begin_at_any_number(server: &Server) {
    for first in [2, 100, 20_000] {
        let store = new_store("jump");
        let mut watcher = Client::open(server, &store);
        let live = watcher.pull(true, None);
        watcher.chunk(&live);
        let mut client = Client::open(server, &store);
        let mut batch = vec![linked(first, 0)];
        batch.extend(events(first + 1, first + 149));
        client.push_ok(&batch);
        let all: Vec<u64> = (first..first + 150).collect();
        assert_eq!(watcher.numbers_until(&live, first + 149), all);
        // What remains is a difference of sequence numbers.
        let (chunks, _) = client.pull_all(None);
        assert_eq!(chunks.iter().flat_map(numbers).collect::<Vec<_>>(), all);
        assert_eq!(
            chunks[0]["values"][0]["pageInfo"],
            json!({"_tag": "MoreKnown", "remaining": 50})
        );
        // From within the hole, from its end and from the head.
        let backend_id = client.backend_id();
        for (after, due) in [
            (first - 1, &all[..]),
            (first, &all[1..]),
            (first + 149, &[]),
        ] {
            let from = cursor(&backend_id, i64::try_from(after).unwrap());
            let (chunks, _) = client.pull_all(Some(from));
            let shown: Vec<u64> = chunks.iter().flat_map(numbers).collect();
            assert_eq!(shown, due, "after {after}");
        }
        client.push_ok(&[event(first + 150)]);
    }
}

fn i4_a_log_that_has_begun_does_not_jump(server: &Server) {
    let store = new_store("no-jump");
    let mut client = Client::open(server, &store);
    // Within the first batch neither, nor with another parent than 0.
    for batch in [
        vec![linked(100, 0), linked(102, 100)],
        vec![linked(100, 0), linked(50, 0)],
    ] {
        let exit = client.push(&batch);
        assert_eq!(failure_code(&exit), "INVALID_EVENTS", "{batch:?}");
    }
    assert_eq!(client.push_refused(&[event(100)])["minimumExpectedNum"], 0);
    client.push_ok(&[linked(100, 0)]);
    assert_eq!(
        client.push_refused(&[linked(300, 0)])["minimumExpectedNum"],
        100
    );
    let exit = client.push(&[linked(300, 100)]);
    assert_eq!(failure_code(&exit), "INVALID_EVENTS");
    client.push_ok(&[event(101)]);
}

fn i4_of_concurrent_pushes_one_lands(server: &Server) {
    const PUSHERS: usize = 6;
    const ROUNDS: u64 = 20;
    let store = new_store("race");
    let landed: Vec<usize> = thread::scope(|scope| {
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::open(server, &store);
                    let mut landed = 0;
                    let mut head = 0;
                    while head < ROUNDS {
                        let exit = client.push(&[event(head + 1)]);
                        if exit["_tag"] == "Success" {
                            landed += 1;
                            head += 1;
                        } else {
                            let error = failure(&exit);
                            assert_eq!(error["_tag"], "ServerAheadError");
                            let actual = error["minimumExpectedNum"].as_u64().unwrap();
                            assert!(actual > head, "the head goes forward: {error}");
                            head = actual;
                        }
                    }
                    landed
                })
            })
            .collect();
        pushers
            .into_iter()
            .map(|pusher| pusher.join().unwrap())
            .collect()
    });
    assert_eq!(landed.iter().sum::<usize>() as u64, ROUNDS, "{landed:?}");
    let (chunks, _) = Client::open(server, &store).pull_all(None);
    assert_eq!(numbers(&chunks[0]), (1..=ROUNDS).collect::<Vec<_>>());
}

fn i8_the_backend_id_is_checked_first(server: &Server) {
    let store = new_store("backend-id");
    let mut client = Client::open(server, &store);
    client.push_ok(&events(1, 2));
    let backend_id = client.backend_id();
    let mismatch = json!({
        "expected": backend_id, "received": "another", "_tag": "BackendIdMismatchError"
    });
    for batch in [events(3, 3), events(1, 1)] {
        client
            .socket
            .send(push_to("100", &store, &batch, Some("another")));
        assert_eq!(failure(&client.exit("100")), mismatch);
    }
    let (_, exit) = client.pull_all(Some(cursor("another", 1)));
    assert_eq!(failure(&exit), mismatch);
    let live = client.pull(true, Some(cursor("another", 1)));
    assert_eq!(failure(&client.exit(&live)), mismatch);
    client
        .socket
        .send(push_to("101", &store, &events(3, 3), Some(&backend_id)));
    assert_eq!(client.exit("101")["_tag"], "Success");
}
