//! One set of tests for every storage.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::memory::Memory;
use super::secret::Secret;
use super::sqlite::Sqlite;
use super::sqlite::logs::create_own;
use super::*;

fn secret() -> Secret {
    Secret::from_hex(&"5e".repeat(32)).unwrap()
}

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

/// Runs a test on every storage.
fn each(test: impl Fn(&mut dyn Storage)) {
    test(&mut Memory::new(secret()));
    let dir = tempfile::tempdir().unwrap();
    test(&mut Sqlite::open_file(&dir.path().join("shard.db"), &secret()).unwrap());
}

#[test]
fn what_is_appended_is_read_back_byte_for_byte() {
    each(|storage| {
        storage.open("s", "b").unwrap();
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
fn i8_opening_again_keeps_the_backend_id() {
    each(|storage| {
        let first = storage.open("s", "_").unwrap().backend_id;
        assert!(
            !storage.end_turn(true),
            "a store that nobody pushed to leaves nothing"
        );
        assert_eq!(storage.open("s", "_").unwrap().backend_id, first);
        assert!(storage.read("s", 0, 10, u32::MAX).unwrap().is_empty());
        storage.append("s", 0, &batch(1..=2), "t").unwrap();
        storage.end_turn(true);
        let info = storage.open("s", "_").unwrap();
        assert_eq!((info.backend_id, info.head), (first, 2));
        assert!(
            !storage.end_turn(true),
            "opening an open log writes nothing"
        );
    });
}

#[test]
fn i4_an_append_on_another_head_is_a_conflict() {
    each(|storage| {
        storage.open("s", "b").unwrap();
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
    let mut storage = Sqlite::open_file(&dir.path().join("shard.db"), &secret()).unwrap();
    storage.open("s", "b").unwrap();
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
        storage.open("kept", "b").unwrap();
        storage.append("kept", 0, &batch(1..=2), "t").unwrap();
        assert!(storage.end_turn(true));
        let info = storage.open("undone", "_").unwrap();
        storage.append("undone", 0, &batch(1..=1), "t").unwrap();
        storage.append("kept", 2, &batch(3..=3), "t").unwrap();
        assert!(storage.end_turn(false));
        storage.commit().unwrap();
        assert_eq!(numbers(storage, "kept"), [1, 2]);
        let undone = storage.open("undone", "_").unwrap();
        assert_eq!((undone.head, undone.backend_id), (0, info.backend_id));
    });
}

#[test]
fn i9_whichever_turns_of_a_commit_are_undone_the_others_stay() {
    for kept in 0..8 {
        let is_kept = |turn: u32| kept & (1 << turn) != 0;
        each(|storage| {
            for turn in 0..3 {
                let store = format!("store-{turn}");
                storage.open(&store, "b").unwrap();
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
                storage.open(&store, "b").unwrap();
                assert_eq!(numbers(storage, &store), expected, "kept: {kept:03b}");
            }
        });
    }
}

#[test]
fn i2_a_write_that_fails_takes_nothing_of_its_turn_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = Sqlite::open_file(&dir.path().join("shard.db"), &secret()).unwrap();
    for store in ["a", "b", "c"] {
        storage.open(store, "id").unwrap();
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
        storage.open("s", "b").unwrap();
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
        let first = storage.open("s", "_").unwrap().backend_id;
        storage.append("s", 0, &batch(1..=2), "t").unwrap();
        storage.end_turn(true);
        storage.reset("s", "second").unwrap();
        storage.end_turn(false);
        assert_eq!(storage.open("s", "_").unwrap().backend_id, first);
        storage.reset("s", "second").unwrap();
        storage.end_turn(true);
        storage.commit().unwrap();
        let info = storage.open("s", "_").unwrap();
        assert_eq!((info.backend_id.as_str(), info.head), ("second", 0));
        storage.append("s", 0, &batch(1..=1), "t").unwrap();
        // One that nobody has pushed to is not what it was either.
        storage.reset("unused", "third").unwrap();
        storage.end_turn(true);
        storage.commit().unwrap();
        assert_eq!(storage.open("unused", "_").unwrap().backend_id, "third");
    });
}

#[test]
fn i4_an_empty_log_begins_at_any_number_and_again_after_a_reset() {
    each(|storage| {
        for (first, id) in [(100, "one"), (7, "two"), (1, "three"), (1 << 52, "four")] {
            let mut jump = event(first, None);
            jump.parent_seq_num = 0;
            storage.append("s", 0, &[jump], "t").unwrap();
            let next = event(first + 1, None);
            storage.append("s", first, &[next], "t").unwrap();
            assert_eq!(numbers(storage, "s"), [first, first + 1]);
            let after = |after, storage: &mut dyn Storage| {
                let read = storage.read("s", after, 10, u32::MAX).unwrap();
                read.len()
            };
            assert_eq!(after(first - 1, storage), 2);
            assert_eq!(after(first, storage), 1);
            assert_eq!(after(first + 1, storage), 0);
            assert_eq!(storage.open("s", "_").unwrap().head, first + 1);
            storage.reset("s", id).unwrap();
            storage.end_turn(true);
            storage.commit().unwrap();
        }
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
        let mut ids = Vec::new();
        for (store, n) in stores.iter().zip(1..) {
            ids.push(storage.open(store, store).unwrap().backend_id);
            storage.append(store, 0, &batch(1..=n), "t").unwrap();
            storage.end_turn(true);
        }
        storage.commit().unwrap();
        for ((store, id), n) in stores.iter().zip(&ids).zip(1..) {
            let info = storage.open(store, "_").unwrap();
            assert_eq!((&info.backend_id, info.head), (id, n));
            assert_eq!(ids.iter().filter(|other| *other == id).count(), 1);
        }
    });
}

#[test]
fn d8_a_log_with_a_table_of_its_own_is_served_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shard.db");
    let mut storage = Sqlite::open_file(&file, &secret()).unwrap();
    let connection = rusqlite::Connection::open(&file).unwrap();
    create_own(&connection, "my-store", "backend").unwrap();
    let info = storage.open("my-store", "_").unwrap();
    assert_eq!((info.backend_id.as_str(), info.head), ("backend", 0));
    storage.append("my-store", 0, &batch(1..=2), "t").unwrap();
    storage.end_turn(true);
    storage.commit().unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    let context: (String, i64, String) = other
        .query_row("SELECT * FROM context_7", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(context, ("my-store".to_owned(), 2, "backend".to_owned()));
    let args: String = other
        .query_row(
            "SELECT args FROM eventlog_7_my_store WHERE seqNum = 2",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(args, "{\"a\" : 1}");
    assert_eq!(numbers(&mut storage, "my-store"), [1, 2]);
    storage.reset("my-store", "next").unwrap();
    storage.end_turn(true);
    storage.commit().unwrap();
    let info = storage.open("my-store", "_").unwrap();
    assert_eq!((info.backend_id.as_str(), info.head), ("next", 0));
}
