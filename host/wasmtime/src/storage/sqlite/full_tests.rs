//! A full file, which SQLite has of its own: it may have no more pages than
//! so many. What it means for turns that share a commit; the rest is in
//! `tests/faults`.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::*;

struct Full {
    storage: Sqlite,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Full {
    /// Stores `a` and `b`, and room for one small push.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shard-0.db");
        let mut storage = directory::open(dir.path()).unwrap().remove(0);
        for store in ["a", "b"] {
            storage.reset(store, "id").unwrap();
            storage.end_turn(true);
        }
        storage.commit().unwrap();
        let mut full = Self {
            storage,
            file,
            _dir: dir,
        };
        full.allow(1);
        full
    }

    fn allow(&mut self, pages: i64) {
        let count = |pragma: &str| -> i64 {
            let connection = &self.storage.connection;
            connection.query_row(pragma, [], |row| row.get(0)).unwrap()
        };
        let now = count("PRAGMA page_count");
        count(&format!("PRAGMA max_page_count = {}", now + pages));
    }

    fn push(&mut self, store: &str, args_bytes: usize) -> Result<()> {
        let event = Event {
            seq_num: 1,
            parent_seq_num: 0,
            name: "name".to_owned(),
            args: Some("x".repeat(args_bytes)),
            client_id: "client".to_owned(),
            session_id: "session".to_owned(),
        };
        let result = self.storage.append(store, 0, &[event], "time");
        self.storage.end_turn(true);
        result
    }

    fn push_that_finds_no_room(&mut self) {
        let result = self.push("b", 100_000);
        assert!(matches!(result, Err(StorageError::Full(_))), "{result:?}");
    }

    /// What somebody else finds in the file: the durable head.
    fn durable_head(&self, store: &str) -> i64 {
        Connection::open(&self.file)
            .unwrap()
            .query_row(
                r#"SELECT count("id") FROM "syncline_logs"
                   LEFT JOIN "syncline_events" ON "id" >> 32 = "number" WHERE "storeId" = ?1"#,
                [store],
                |row| row.get(0),
            )
            .unwrap()
    }
}

#[test]
fn i1_a_turn_whose_transaction_another_has_lost_is_not_committed() {
    let mut full = Full::new();
    full.push("a", 10).unwrap();
    full.push_that_finds_no_room();
    assert!(full.storage.commit().is_err(), "SQLite keeps nothing of it");
    assert_eq!(full.storage.open("a").unwrap().head, 0);
    assert_eq!(full.durable_head("a"), 0);
}

#[test]
fn while_the_file_is_full_each_push_is_committed_or_refused_on_its_own() {
    let mut full = Full::new();
    full.push_that_finds_no_room();
    let _ = full.storage.commit();
    // Of one commit, what fits and what does not.
    full.push_that_finds_no_room();
    full.push_that_finds_no_room();
    full.push("a", 10).unwrap();
    assert_eq!(
        full.durable_head("a"),
        1,
        "before the commit that it shares"
    );
    full.push_that_finds_no_room();
    // Now the file is in trouble again, and nobody has lost anything.
    let _ = full.storage.commit();
    assert_eq!(full.durable_head("a"), 1);
    assert_eq!(full.durable_head("b"), 0);
    full.allow(1_000);
    full.push("b", 100_000).unwrap();
    full.storage.commit().unwrap();
    assert_eq!(full.durable_head("b"), 1);
}
