//! One D1 database, many stores: upstream's table names are not unique.

use serde_json::{Value, json};
use syncline_tests::rpc::{Client, event_with, failure_code};
use syncline_tests::server::Server;
use syncline_tests::workerd::Storage;

use crate::deployment::{Deployment, Program};
use crate::log::{Log, assert_head, push};

/// Events that say whose they are.
fn events_of(store: &str, first: u64, last: u64) -> Vec<Value> {
    let events = (first..=last).map(|n| event_with(n, json!({"of": store, "n": n})));
    events.collect()
}

fn assert_log(server: &Server, store: &str, length: u64) -> Log {
    let log = Log::pull(server, store);
    assert_eq!(log.events(), events_of(store, 1, length), "{store}");
    assert_head(server, store, length);
    log
}

#[test]
fn i5_stores_whose_names_are_alike_share_no_log_in_d1() {
    let deployment = Deployment::new();
    // All of them are `eventlog_7_abc` or `eventlog_7_a_b` to upstream.
    let of_original = deployment.run(Program::Original040(Storage::D1), |server| {
        push(server, "x:y", &events_of("x:y", 1, 2));
        // Opened, and never pushed to: it has no events of its own.
        assert_eq!(Client::open(server, "x_y").backend_id().len(), 21);
        push(server, "abc", &events_of("abc", 1, 3))
    });
    let alike = [("ABC", 2), ("a-b", 4), ("a_b", 5), ("Abc", 6), ("a.b", 7)];
    let (abc, logs) = deployment.run(Program::Syncline(Storage::D1), |server| {
        // Before the original's store has been seen here.
        for (store, length) in alike {
            assert_log(server, store, 0);
            push(server, store, &events_of(store, 1, length));
        }
        let abc = assert_log(server, "abc", 3);
        abc.assert_continues(&of_original, &[]);
        push(server, "abc", &events_of("abc", 4, 4));
        // Whose events these are, is known when the other has come.
        let exit = Client::open(server, "x_y").push(&events_of("x_y", 1, 1));
        assert_eq!(failure_code(&exit), "STORAGE_UNAVAILABLE");
        deployment.wait_for_log(&["x_y", "ends at 0", "ends at 2", "open that one first"]);
        assert_log(server, "x:y", 2);
        assert_log(server, "x_y", 0);
        push(server, "x_y", &events_of("x_y", 1, 1));
        assert_log(server, "x:y", 2);
        let logs = alike.map(|(store, length)| assert_log(server, store, length));
        (assert_log(server, "abc", 4), logs)
    });
    let mut ids: Vec<_> = logs
        .iter()
        .chain([&abc])
        .map(|log| &log.backend_id)
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "I8");
    // Their rooms find them again.
    deployment.run(Program::Syncline(Storage::D1), |server| {
        Log::pull(server, "abc").assert_continues(&abc, &[]);
        for ((store, _), log) in alike.iter().zip(&logs) {
            let next = events_of(store, log.head() + 1, log.head() + 1);
            push(server, store, &next).assert_continues(log, &next);
        }
    });
    // And the original finds its own.
    deployment.run(Program::Original040(Storage::D1), |server| {
        let next = events_of("abc", 5, 5);
        push(server, "abc", &next).assert_continues(&abc, &next);
    });
}
