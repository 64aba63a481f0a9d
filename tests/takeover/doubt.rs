//! What Syncline refuses rather than guess, and what it repairs.

use syncline_tests::rpc::{Client, cursor, events, failure_code};
use syncline_tests::server::Server;
use syncline_tests::workerd::Storage;

use crate::deployment::{Deployment, Program};
use crate::log::{Log, assert_head, push};

/// Sees that a store is not served.
fn assert_refused(server: &Server, store: &str, head: u64) {
    let mut client = Client::open(server, store);
    let exit = client.push(&events(head + 1, head + 1));
    assert_eq!(failure_code(&exit), "STORAGE_UNAVAILABLE");
    for after in [None, Some(cursor("unknown", 0))] {
        let (chunks, exit) = client.pull_all(after);
        assert_eq!(chunks, [] as [serde_json::Value; 0]);
        assert_eq!(failure_code(&exit), "STORAGE_UNAVAILABLE");
    }
}

#[test]
fn i1_a_log_in_object_sqlite_that_does_not_end_at_the_contexts_head_is_neither_served_nor_touched()
{
    a_doubtful_log_is_neither_served_nor_touched(Storage::ObjectSqlite);
}

#[test]
fn i1_a_log_in_d1_that_does_not_end_at_the_contexts_head_is_neither_served_nor_touched() {
    a_doubtful_log_is_neither_served_nor_touched(Storage::D1);
}

fn a_doubtful_log_is_neither_served_nor_touched(storage: Storage) {
    let deployment = Deployment::new();
    let (longer, shorter, sound) = ("longer", "shorter", "sound");
    let logs = deployment.run(Program::Original040(storage), |server| {
        [longer, shorter, sound].map(|store| push(server, store, &events(1, 5)))
    });
    // One log is longer than its context knows, one shorter.
    deployment.set_context_head(longer, 3);
    deployment.set_context_head(shorter, 7);
    let before = [longer, shorter].map(|store| deployment.tables(store));
    deployment.run(Program::Syncline(storage), |server| {
        assert_refused(server, longer, 3);
        assert_refused(server, shorter, 5);
        Log::pull(server, sound).assert_continues(&logs[2], &[]);
        deployment.wait_for_log(&[longer, "ends at 3", "ends at 5", "To resolve it", "delete"]);
        deployment.wait_for_log(&[shorter, "ends at 7", "ends at 5", "To resolve it", "new id"]);
    });
    deployment.assert_untouched(longer, &before[0]);
    deployment.assert_untouched(shorter, &before[1]);

    // As the log says: a push had failed; and what is lost is given up.
    let delete = "DELETE FROM eventlog_7_longer WHERE seqNum > 3";
    let file = match storage {
        Storage::ObjectSqlite => deployment.object(longer),
        Storage::D1 => deployment.d1(),
    };
    assert_eq!(file.execute(delete, []), Ok(2));
    drop(file);
    deployment.set_context_head(shorter, 5);
    let mend = "UPDATE context_7 SET backendId = 'a-new-id'";
    assert_eq!(deployment.object(shorter).execute(mend, []), Ok(1));
    deployment.run(Program::Syncline(storage), |server| {
        assert_head(server, longer, 3);
        let log = push(server, longer, &events(4, 6));
        assert_eq!(log.backend_id, logs[0].backend_id);
        assert_eq!(log.events(), events(1, 6));
        assert_head(server, shorter, 5);
        let log = push(server, shorter, &events(6, 6));
        assert_eq!(log.backend_id, "a-new-id");
        assert_eq!(log.events(), events(1, 6));
    });
}

#[test]
fn i1_a_storage_switched_by_mistake_refuses_every_log_in_the_other_and_touches_none() {
    let deployment = Deployment::new();
    let object_sqlite = Program::Syncline(Storage::ObjectSqlite);
    let d1 = Program::Syncline(Storage::D1);
    let of_original = deployment.run(Program::Original040(Storage::ObjectSqlite), |server| {
        push(server, "of-original", &events(1, 4))
    });
    let in_object = deployment.run(object_sqlite, |server| {
        push(server, "in-object", &events(1, 5))
    });
    let (in_d1, empty) = deployment.run(d1, |server| {
        assert_refused(server, "in-object", 5);
        assert_refused(server, "of-original", 4);
        for store in ["in-object", "of-original"] {
            deployment.wait_for_log(&[store, "To resolve it", "check STORAGE"]);
        }
        let empty = Log::pull(server, "empty");
        assert_eq!(empty.head(), 0);
        (push(server, "in-d1", &events(1, 6)), empty)
    });
    let before = deployment.tables("in-d1");
    let empty = deployment.run(object_sqlite, |server| {
        Log::pull(server, "in-object").assert_continues(&in_object, &[]);
        Log::pull(server, "of-original").assert_continues(&of_original, &[]);
        assert_refused(server, "in-d1", 6);
        deployment.wait_for_log(&["in-d1", "To resolve it", "check STORAGE"]);
        // A log without events may begin anew here.
        let log = push(server, "empty", &events(1, 2));
        log.assert_continues(&empty, &events(1, 2));
        log
    });
    deployment.assert_untouched("in-d1", &before);
    let stores = ["in-object", "empty"];
    let before = stores.map(|store| deployment.tables(store));
    deployment.run(d1, |server| {
        Log::pull(server, "in-d1").assert_continues(&in_d1, &[]);
        assert_refused(server, "in-object", 5);
        // But then its events are not here.
        assert_refused(server, "empty", 2);
        deployment.wait_for_log(&["empty", "ends at 2", "is not there", "check STORAGE"]);
    });
    for (store, before) in stores.into_iter().zip(&before) {
        deployment.assert_untouched(store, before);
    }
    deployment.run(object_sqlite, |server| {
        Log::pull(server, "empty").assert_continues(&empty, &[]);
    });
}

#[test]
fn i1_a_crash_between_d1s_commit_and_the_context_loses_nothing() {
    let deployment = Deployment::new();
    let syncline = Program::Syncline(Storage::D1);
    let stores = ["crashed", "crashed-at-once"];
    let logs = deployment.run(syncline, |server| {
        stores.map(|store| push(server, store, &events(1, 20)))
    });
    deployment.set_context_head(stores[0], 17);
    deployment.set_context_head(stores[1], 0);
    deployment.run(syncline, |server| {
        for (store, log) in stores.into_iter().zip(&logs) {
            Log::pull(server, store).assert_continues(log, &[]);
        }
    });
    // Waking was enough.
    for (store, log) in stores.into_iter().zip(&logs) {
        assert_eq!(deployment.context(store), (20, log.backend_id.clone()));
    }
    deployment.set_context_head(stores[0], 18);
    let log = deployment.run(syncline, |server| {
        assert_head(server, stores[0], 20);
        push(server, stores[0], &events(21, 22))
    });
    log.assert_continues(&logs[0], &events(21, 22));
    deployment.run(Program::Original040(Storage::D1), |server| {
        for (store, log) in stores.into_iter().zip([&log, &logs[1]]) {
            assert_head(server, store, log.head());
            let next = events(log.head() + 1, log.head() + 1);
            push(server, store, &next).assert_continues(log, &next);
        }
    });
}
