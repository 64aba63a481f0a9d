//! Stores that nobody has pushed to, and very many.

use std::path::Path;

use serde_json::json;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, batch, cursor, events, push_to};
use syncline_tests::server::{Server, Syncline};

/// Rooms that sleep after every turn: what they do not keep they have lost.
fn start(dir: &Path) -> Server {
    let mut syncline = Syncline::new("sqlite:data", Profile::Open);
    syncline.arguments = vec!["--room-idle".to_owned(), "0s".to_owned()];
    syncline.start_in(dir).unwrap()
}

/// Tables and rows of stores in all files.
fn left(dir: &Path) -> (i64, i64) {
    let of = |number: usize, select: &str| -> i64 {
        let file = dir.join(format!("data/shard-{number}.db"));
        let connection = rusqlite::Connection::open(file).unwrap();
        connection.query_row(select, [], |row| row.get(0)).unwrap()
    };
    let sum = |select: &str| (0..4).map(|number| of(number, select)).sum();
    (
        sum("SELECT count(*) FROM sqlite_schema WHERE name GLOB 'eventlog_*'"),
        sum(
            "SELECT (SELECT count(*) FROM context_7) + (SELECT count(*) FROM syncline_logs)
             + (SELECT count(*) FROM syncline_stores)",
        ),
    )
}

#[test]
fn a_store_that_is_only_pulled_leaves_no_table_and_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    for number in 0..40 {
        let mut client = Client::open(&server, &format!("pulled-{number}"));
        let (chunks, exit) = client.pull_all(None);
        assert_eq!(exit["_tag"], "Success", "{exit}");
        assert!(chunks.iter().all(|chunk| batch(chunk).is_empty()));
    }
    server.stop();
    assert_eq!(left(dir.path()), (0, 0));
    // Nor does one more that is pushed to make a table.
    let server = start(dir.path());
    Client::open(&server, "pulled-0").push_ok(&events(1, 3));
    server.stop();
    assert_eq!(left(dir.path()), (0, 1));
}

#[test]
fn i8_a_first_push_may_name_the_backend_id_that_an_empty_pull_told_before_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let mut client = Client::open(&server, "s");
    let (chunks, _) = client.pull_all(None);
    let told = chunks[0]["values"][0]["backendId"].as_str().unwrap();
    // The room has slept meanwhile.
    assert_eq!(client.backend_id(), told);
    server.stop();

    let server = start(dir.path());
    let mut client = Client::open(&server, "s");
    let message = push_to("900", "s", &events(1, 2), Some(told));
    client.socket.send(message);
    let exit = client.exit("900");
    assert_eq!(exit, json!({"_tag": "Success", "value": {}}));
    server.stop();

    let server = start(dir.path());
    let mut client = Client::open(&server, "s");
    let (chunks, exit) = client.pull_all(Some(cursor(told, 1)));
    assert_eq!(exit["_tag"], "Success", "{exit}");
    assert_eq!(batch(&chunks[0]).len(), 1);
}

/// Stores in one file: all of them a million.
const STORES_PER_FILE: u64 = 250_000;

#[test]
fn a_server_starts_on_a_million_stores_and_takes_more() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path()).stop();
    for number in 0..4 {
        let file = dir.path().join(format!("data/shard-{number}.db"));
        let connection = rusqlite::Connection::open(file).unwrap();
        connection
            .execute_batch(&format!(
                r#"PRAGMA synchronous = off;
                BEGIN;
                WITH RECURSIVE n(n) AS
                (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {STORES_PER_FILE})
                INSERT INTO "syncline_logs" ("number", "storeId", "offset", "backendId")
                SELECT n, printf('seeded-{number}-%06d', n), 0, printf('%021d', n) FROM n;
                INSERT INTO "syncline_events"
                SELECT "number" << 32 | 1, 1, 0, 'v1.Named', '{{}}', 't', 'client', 'session'
                FROM "syncline_logs";
                COMMIT"#
            ))
            .unwrap();
    }
    let server = start(dir.path());
    for store in (0..20).map(|number| format!("new-{number}")) {
        let mut client = Client::open(&server, &store);
        client.push_ok(&events(1, 2));
        let (chunks, _) = client.pull_all(None);
        assert_eq!(batch(&chunks[0]).len(), 2);
    }
    // Some of those that are there are where their ids hash to.
    let found = (0..20).filter(|number| {
        let mut client = Client::open(&server, &format!("seeded-0-{:06}", number * 12_345 + 1));
        let (chunks, _) = client.pull_all(None);
        !batch(&chunks[0]).is_empty()
    });
    assert!(found.count() > 0);
    server.stop();
    assert_eq!(left(dir.path()), (0, 1_000_020));
}
