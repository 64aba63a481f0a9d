//! One set of tests for every storage.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::event_log::*;
use super::layout;
use super::memory::Memory;
use super::sqlite::{Sqlite, directory};
use crate::contract::{Event, StorageError};

fn event(seq_num: u64, args: Option<&str>) -> Event {
    Event {
        seq_num,
        parent_seq_num: seq_num - 1,
        name: "v1.Named".to_owned(),
        args: args.map(str::to_owned),
        client_id: "client".to_owned(),
        session_id: "session".to_owned(),
    }
}

fn batch(numbers: std::ops::RangeInclusive<u64>) -> Vec<Event> {
    numbers.map(|n| event(n, Some("{\"a\" : 1}"))).collect()
}

fn numbers(storage: &mut dyn Storage, store: &str) -> Vec<u64> {
    let events = storage.read(store, 0, 1_000, u32::MAX).unwrap();
    events.iter().map(|stored| stored.event.seq_num).collect()
}

/// A shard of a directory.
fn sqlite(dir: &tempfile::TempDir) -> Sqlite {
    directory::open(dir.path()).unwrap().remove(0)
}

/// Runs a test on every storage.
fn each(test: impl Fn(&mut dyn Storage)) {
    test(&mut Memory::new().unwrap());
    let dir = tempfile::tempdir().unwrap();
    test(&mut sqlite(&dir));
    let dir = tempfile::tempdir().unwrap();
    make_old(&dir, &STORES);
    test(&mut sqlite(&dir));
}

/// Every store of these tests.
const STORES: [&str; 14] = [
    "s",
    "kept",
    "undone",
    "store-0",
    "store-1",
    "store-2",
    "a-b",
    "a_b",
    "A_B",
    "a.b",
    "é",
    "ü",
    "a_b__2",
    "x\"; DROP TABLE y; --",
];

/// Files as they were before logs shared tables, the first with these stores.
pub(crate) fn make_old(dir: &tempfile::TempDir, stores: &[&str]) {
    for shard in 0..layout::SHARDS {
        let stores = if shard == 0 { stores } else { &[] };
        make_old_file(&layout::file(dir.path(), shard), stores);
    }
}

fn make_old_file(file: &std::path::Path, stores: &[&str]) {
    let file = rusqlite::Connection::open(file).unwrap();
    file.execute_batch(
        r#"PRAGMA journal_mode = wal;
        CREATE TABLE "context_7" (
            "storeId" text primary key,
            "currentHead" integer not null,
            "backendId" text not null
        ) STRICT;
        CREATE TABLE "syncline_stores" (
            "storeId" text primary key,
            "tableName" text not null unique collate nocase
        ) STRICT;"#,
    )
    .unwrap();
    for (number, store) in stores.iter().enumerate() {
        file.execute_batch(&format!(
            r#"CREATE TABLE "eventlog_7_{number}" (
                "seqNum" integer primary key,
                "parentSeqNum" integer not null,
                "name" text not null,
                "args" text,
                "createdAt" text not null,
                "clientId" text not null,
                "sessionId" text not null
            ) STRICT;"#
        ))
        .unwrap();
        file.execute(
            r#"INSERT INTO "syncline_stores" VALUES (?1, ?2)"#,
            [store, &&*format!("eventlog_7_{number}")],
        )
        .unwrap();
        file.execute(
            r#"INSERT INTO "context_7" VALUES (?1, 0, ?2)"#,
            [store, &&*format!("old-{store}")],
        )
        .unwrap();
    }
}

/// What one column of one row says.
fn value<T: rusqlite::types::FromSql>(dir: &tempfile::TempDir, select: &str) -> T {
    let file = rusqlite::Connection::open(dir.path().join("shard-0.db")).unwrap();
    file.query_row(select, [], |row| row.get(0)).unwrap()
}

#[test]
fn what_is_appended_is_read_back_byte_for_byte() {
    each(|storage| {
        storage.open("s").unwrap();
        let args = [
            None,
            Some("null"),
            Some("{\"z\":1,\n \"a\":\"\\u00e9\\ud800\"}"),
        ];
        let events: Vec<_> = args
            .iter()
            .zip(1..)
            .map(|(args, n)| event(n, *args))
            .collect();
        storage.append("s", 0, &events, "time").unwrap();
        storage.end_turn(true);
        storage.commit().unwrap();
        let read = storage.read("s", 0, 10, u32::MAX).unwrap();
        assert_eq!(read.len(), 3);
        for (stored, event) in read.iter().zip(&events) {
            assert_eq!(format!("{:?}", stored.event), format!("{event:?}"));
            assert_eq!(stored.created_at, "time");
        }
    });
}

#[test]
fn i8_a_log_keeps_the_backend_id_that_it_had_before_its_first_event() {
    each(|storage| {
        let backend_id = storage.open("s").unwrap().backend_id;
        assert_eq!(storage.open("s").unwrap().backend_id, backend_id);
        assert_ne!(storage.open("kept").unwrap().backend_id, backend_id);
        assert!(!storage.end_turn(true), "opening a log writes nothing");
        storage.append("s", 0, &batch(1..=2), "t").unwrap();
        // A push that is undone leaves the id as it was.
        storage.end_turn(false);
        assert_eq!(storage.open("s").unwrap().backend_id, backend_id);
        storage.append("s", 0, &batch(1..=2), "t").unwrap();
        storage.end_turn(true);
        storage.commit().unwrap();
        let info = storage.open("s").unwrap();
        assert_eq!((info.backend_id, info.head), (backend_id, 2));
    });
}

#[test]
fn i8_a_derived_id_is_the_same_after_a_restart_and_like_upstreams() {
    let dir = tempfile::tempdir().unwrap();
    let told = sqlite(&dir).open("s").unwrap().backend_id;
    assert_eq!(told.len(), 21);
    assert!(
        told.bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(&letter)),
        "{told}"
    );
    assert_eq!(sqlite(&dir).open("s").unwrap().backend_id, told);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(sqlite(&other).open("s").unwrap().backend_id, told);
}

#[test]
fn a_store_that_is_only_looked_at_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = sqlite(&dir);
    let before: String = value(&dir, "SELECT group_concat(name) FROM sqlite_schema");
    for n in 0..100 {
        let store = format!("looked-at-{n}");
        storage.open(&store).unwrap();
        assert_eq!(numbers(&mut storage, &store), [0_u64; 0]);
        let behind = storage.append(&store, 3, &batch(4..=4), "t");
        assert!(matches!(behind, Err(StorageError::Conflict(0))));
        storage.append(&store, 0, &[], "t").unwrap();
        storage.end_turn(true);
        storage.commit().unwrap();
    }
    let rows =
        r#"SELECT (SELECT count(*) FROM "syncline_logs") + (SELECT count(*) FROM "context_7")"#;
    assert_eq!(value::<i64>(&dir, rows), 0);
    let after: String = value(&dir, "SELECT group_concat(name) FROM sqlite_schema");
    assert_eq!(after, before);
}

#[test]
fn an_empty_log_may_begin_with_any_number_also_after_a_reset() {
    each(|storage| {
        let from = |first| {
            let mut events: Vec<_> = (first..first + 3).map(|n| event(n, None)).collect();
            events[0].parent_seq_num = 0;
            events
        };
        for first in [100, 20_000, 1, (1 << 53) - 3] {
            storage.append("s", 0, &from(first), "t").unwrap();
            storage.end_turn(true);
            storage.commit().unwrap();
            assert_eq!(numbers(storage, "s"), [first, first + 1, first + 2]);
            let after = storage.read("s", first, 10, u32::MAX).unwrap();
            assert_eq!(after.len(), 2);
            assert_eq!(storage.open("s").unwrap().head, first + 2);
            storage.reset("s", "id").unwrap();
            assert_eq!(storage.open("s").unwrap().head, 0);
        }
    });
}

#[test]
fn i5_a_log_cannot_reach_into_anothers_events() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = sqlite(&dir);
    for store in ["a", "b", "c"] {
        storage.append(store, 0, &[event(10, None)], "t").unwrap();
        storage.end_turn(true);
    }
    // Before its beginning, or more than it can have: where others' are.
    let far = 10 + (1 << 32);
    for n in [1, 9, far - 1, far, far + 1, 1 << 53] {
        let result = storage.append("b", 10, &[event(n, None)], "t");
        match result {
            Err(StorageError::Full(_)) => assert!(n >= far - 1),
            Err(StorageError::Unavailable(_)) => assert!(n < 10),
            other => panic!("{n}: {other:?}"),
        }
    }
    storage.end_turn(true);
    storage
        .append("b", 10, &[event(far - 2, None)], "t")
        .unwrap();
    storage.end_turn(true);
    storage.commit().unwrap();
    assert_eq!(numbers(&mut storage, "a"), [10]);
    assert_eq!(numbers(&mut storage, "b"), [10, far - 2]);
    assert_eq!(numbers(&mut storage, "c"), [10]);
    assert_eq!(storage.open("b").unwrap().head, far - 2);
    storage.reset("b", "id").unwrap();
    storage.end_turn(true);
    assert_eq!(numbers(&mut storage, "a"), [10]);
    assert_eq!(numbers(&mut storage, "c"), [10]);
}

#[test]
fn a_file_with_all_the_stores_it_can_number_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = sqlite(&dir);
    let file = rusqlite::Connection::open(dir.path().join("shard-0.db")).unwrap();
    file.execute(
        r#"INSERT INTO "syncline_logs" VALUES (?1, 'before-last', 0, 'id')"#,
        [i64::from(i32::MAX) - 1],
    )
    .unwrap();
    storage.append("last", 0, &batch(1..=3), "t").unwrap();
    storage.end_turn(true);
    let result = storage.append("too-many", 0, &batch(1..=1), "t");
    assert!(matches!(result, Err(StorageError::Full(_))), "{result:?}");
    storage.append("last", 3, &batch(4..=4), "t").unwrap();
    storage.end_turn(true);
    storage.commit().unwrap();
    assert_eq!(numbers(&mut storage, "last"), [1, 2, 3, 4]);
    assert_eq!(storage.open("too-many").unwrap().head, 0);
}

#[test]
fn old_logs_stay_in_their_tables_and_new_ones_are_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    make_old(&dir, &["old"]);
    let mut storage = sqlite(&dir);
    assert_eq!(storage.open("old").unwrap().backend_id, "old-old");
    for store in ["old", "new"] {
        storage.append(store, 0, &batch(1..=3), "t").unwrap();
        storage.end_turn(true);
    }
    storage.commit().unwrap();
    assert_eq!(
        value::<i64>(&dir, r#"SELECT max("seqNum") FROM "eventlog_7_0""#),
        3
    );
    let context = r#"SELECT "currentHead" FROM "context_7" WHERE "storeId" = 'old'"#;
    assert_eq!(value::<i64>(&dir, context), 3);
    assert_eq!(
        value::<String>(
            &dir,
            r#"SELECT group_concat("storeId") FROM "syncline_logs""#
        ),
        "new"
    );
    drop(storage);
    let mut storage = sqlite(&dir);
    for store in ["old", "new"] {
        assert_eq!(numbers(&mut storage, store), [1, 2, 3]);
    }
}

#[test]
fn i4_an_append_on_another_head_is_a_conflict() {
    each(|storage| {
        storage.open("s").unwrap();
        storage.append("s", 0, &batch(1..=2), "t").unwrap();
        let error = storage.append("s", 1, &batch(2..=2), "t").unwrap_err();
        assert!(matches!(error, StorageError::Conflict(2)));
        storage.append("s", 1, &[], "t").unwrap();
        assert_eq!(numbers(storage, "s"), [1, 2]);
    });
}

#[test]
fn i2_a_batch_that_fails_in_the_middle_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = sqlite(&dir);
    storage.open("s").unwrap();
    storage.end_turn(true);
    // The second insert violates the primary key.
    let doubled = [event(1, None), event(1, None)];
    assert!(storage.append("s", 0, &doubled, "t").is_err());
    storage.end_turn(true);
    storage.commit().unwrap();
    assert_eq!(numbers(&mut storage, "s"), [0_u64; 0]);
    storage.append("s", 0, &batch(1..=1), "t").unwrap();
}

#[test]
fn i9_a_turn_that_is_not_kept_never_happened_and_others_stay() {
    each(|storage| {
        storage.open("kept").unwrap();
        storage.append("kept", 0, &batch(1..=2), "t").unwrap();
        assert!(storage.end_turn(true));
        let backend_id = storage.open("undone").unwrap().backend_id;
        storage.append("undone", 0, &batch(1..=1), "t").unwrap();
        storage.append("kept", 2, &batch(3..=3), "t").unwrap();
        assert!(storage.end_turn(false));
        storage.commit().unwrap();
        assert_eq!(numbers(storage, "kept"), [1, 2]);
        let info = storage.open("undone").unwrap();
        assert_eq!((info.backend_id, info.head), (backend_id, 0));
    });
}

#[test]
fn i9_whichever_turns_of_a_commit_are_undone_the_others_stay() {
    for kept in 0..8 {
        let is_kept = |turn: u32| kept & (1 << turn) != 0;
        each(|storage| {
            for turn in 0..3 {
                let store = format!("store-{turn}");
                storage.open(&store).unwrap();
                storage.append(&store, 0, &batch(1..=2), "t").unwrap();
                let behind = storage.append(&store, 0, &batch(1..=1), "t");
                assert!(matches!(behind, Err(StorageError::Conflict(2))));
                storage.append(&store, 2, &batch(3..=3), "t").unwrap();
                assert!(storage.end_turn(is_kept(turn)));
            }
            storage.commit().unwrap();
            for turn in 0..3 {
                let store = format!("store-{turn}");
                let expected: &[u64] = if is_kept(turn) { &[1, 2, 3] } else { &[] };
                storage.open(&store).unwrap();
                assert_eq!(numbers(storage, &store), expected, "kept: {kept:03b}");
            }
        });
    }
}

#[test]
fn i2_a_write_that_fails_takes_nothing_of_its_turn_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = sqlite(&dir);
    for store in ["a", "b", "c"] {
        storage.open(store).unwrap();
        storage.end_turn(true);
    }
    storage.commit().unwrap();
    let doubled = [event(1, None), event(1, None)];
    // As the first write of a commit, as a later one of its turn, and as the
    // first of a later turn.
    assert!(storage.append("a", 0, &doubled, "t").is_err());
    storage.append("a", 0, &batch(1..=2), "t").unwrap();
    assert!(storage.append("b", 0, &doubled, "t").is_err());
    storage.end_turn(true);
    assert!(storage.append("b", 0, &doubled, "t").is_err());
    storage.append("b", 0, &batch(1..=1), "t").unwrap();
    storage.end_turn(true);
    assert!(storage.append("c", 0, &doubled, "t").is_err());
    storage.end_turn(true);
    storage.commit().unwrap();
    assert_eq!(numbers(&mut storage, "a"), [1, 2]);
    assert_eq!(numbers(&mut storage, "b"), [1]);
    assert_eq!(numbers(&mut storage, "c"), [0_u64; 0]);
}

#[test]
fn a_read_is_bounded_in_number_and_bytes_but_never_empty() {
    each(|storage| {
        storage.open("s").unwrap();
        let large = format!("\"{}\"", "x".repeat(1_000));
        let events: Vec<_> = (1..=5).map(|n| event(n, Some(&large))).collect();
        storage.append("s", 0, &events, "t").unwrap();
        let mut count =
            |after, events, bytes| storage.read("s", after, events, bytes).unwrap().len();
        assert_eq!(count(0, 3, u32::MAX), 3);
        assert_eq!(count(0, 10, 2_100), 2);
        assert_eq!(count(0, 10, 1), 1);
        assert_eq!(count(4, 10, u32::MAX), 1);
        assert_eq!(count(5, 10, u32::MAX), 0);
        assert_eq!(count(u64::MAX, 10, u32::MAX), 0);
    });
}

#[test]
fn i8_a_reset_empties_the_log_and_changes_its_id() {
    each(|storage| {
        let first = storage.open("s").unwrap().backend_id;
        storage.append("s", 0, &batch(1..=2), "t").unwrap();
        storage.end_turn(true);
        storage.reset("s", "second").unwrap();
        storage.end_turn(false);
        assert_eq!(storage.open("s").unwrap().backend_id, first);
        storage.reset("s", "second").unwrap();
        storage.end_turn(true);
        storage.commit().unwrap();
        let info = storage.open("s").unwrap();
        assert_eq!((info.backend_id.as_str(), info.head), ("second", 0));
        storage.append("s", 0, &batch(1..=1), "t").unwrap();
        // Of a store that was never pushed to, too.
        storage.reset("kept", "third").unwrap();
        storage.end_turn(true);
        storage.commit().unwrap();
        storage.append("kept", 0, &batch(1..=1), "t").unwrap();
        assert_eq!(storage.open("kept").unwrap().backend_id, "third");
    });
}

#[test]
fn i5_stores_with_colliding_table_names_stay_apart() {
    each(|storage| {
        let stores = [
            "a-b",
            "a_b",
            "A_B",
            "a.b",
            "é",
            "ü",
            "a_b__2",
            "x\"; DROP TABLE y; --",
        ];
        for (store, n) in stores.iter().zip(1..) {
            storage.append(store, 0, &batch(1..=n), "t").unwrap();
            storage.end_turn(true);
        }
        storage.commit().unwrap();
        for (store, n) in stores.iter().zip(1..) {
            assert_eq!(storage.open(store).unwrap().head, n);
        }
    });
}
