//! What a store more costs in a file that has many: counted in work, since no
//! test passes or fails by the clock. A million stores are 250,000 a file.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const STORES: u64 = 250_000;

/// Steps of SQLite's virtual machine, and bytes of the write-ahead log.
#[derive(Debug, Clone, Copy)]
struct Work {
    steps: u64,
    wal_bytes: u64,
}

struct Scene {
    storage: Sqlite,
    steps: Arc<AtomicU64>,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(stores: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = directory::open(dir.path()).unwrap().remove(0);
        let connection = &storage.connection;
        connection
            .execute_batch(&format!(
                r#"PRAGMA synchronous = off;
                BEGIN;
                WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {stores})
                INSERT INTO "syncline_logs" ("number", "storeId", "offset", "backendId")
                SELECT n, printf('seeded-%08d', n), 0, printf('%021d', n) FROM n WHERE {stores} > 0;
                INSERT INTO "syncline_events"
                SELECT "number" << 32 | 1, 1, 0, 'v1.Named', '{{}}', 't', 'client', 'session'
                FROM "syncline_logs";
                COMMIT;
                PRAGMA wal_checkpoint(TRUNCATE);
                PRAGMA synchronous = full;"#
            ))
            .unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        connection
            .progress_handler(
                1,
                Some(move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    false
                }),
            )
            .unwrap();
        Self {
            storage,
            steps,
            dir,
        }
    }

    fn work(&mut self, work: impl FnOnce(&mut Sqlite)) -> Work {
        let wal = self.dir.path().join("shard-0.db-wal");
        let bytes = || std::fs::metadata(&wal).unwrap().len();
        let (steps, length) = (self.steps.load(Ordering::Relaxed), bytes());
        work(&mut self.storage);
        Work {
            steps: self.steps.load(Ordering::Relaxed) - steps,
            wal_bytes: bytes() - length,
        }
    }

    /// Opens a store that is new, as a pull does.
    fn look(&mut self, store: &str) -> Work {
        self.work(|storage| {
            assert_eq!(storage.open(store).unwrap().head, 0);
            assert!(storage.read(store, 0, 64, u32::MAX).unwrap().is_empty());
            storage.end_turn(true);
            storage.commit().unwrap();
        })
    }

    /// Pushes one event to a store that is new.
    fn begin(&mut self, store: &str) -> Work {
        let event = Event {
            seq_num: 1,
            parent_seq_num: 0,
            name: "v1.Named".to_owned(),
            args: Some("{}".to_owned()),
            client_id: "client".to_owned(),
            session_id: "session".to_owned(),
        };
        self.work(|storage| {
            storage.append(store, 0, &[event], "time").unwrap();
            storage.end_turn(true);
            storage.commit().unwrap();
        })
    }
}

#[test]
fn a_store_more_costs_the_same_among_a_million() {
    let mut few = Scene::new(1);
    let mut many = Scene::new(STORES);
    for round in 0..3 {
        let looked = few.look(&format!("new-{round}"));
        assert_eq!(looked.wal_bytes, 0);
        let looked_among_many = many.look(&format!("new-{round}"));
        assert_eq!(looked_among_many.steps, looked.steps);
        assert_eq!(looked_among_many.wal_bytes, 0);

        let began = few.begin(&format!("new-{round}"));
        let began_among_many = many.begin(&format!("new-{round}"));
        assert_eq!(began_among_many.steps, began.steps);
        // A page of each tree, and now and then one that was split, with what
        // is above it.
        let pages = began_among_many.wal_bytes / 4096;
        assert!(pages <= 12, "{pages} pages, {began_among_many:?}");
    }
    // One more event of a store in the middle is one place in one tree, too.
    let push = |scene: &mut Scene, store: &str| {
        scene.work(|storage| {
            let head = storage.open(store).unwrap().head;
            let event = Event {
                seq_num: head + 1,
                parent_seq_num: head,
                name: "v1.Named".to_owned(),
                args: None,
                client_id: "client".to_owned(),
                session_id: "session".to_owned(),
            };
            storage.append(store, head, &[event], "time").unwrap();
            storage.end_turn(true);
            storage.commit().unwrap();
        })
    };
    let pushed = push(&mut few, "seeded-00000001");
    let pushed_among_many = push(&mut many, &format!("seeded-{:08}", STORES / 2));
    assert_eq!(pushed_among_many.steps, pushed.steps);
    assert!(
        pushed_among_many.wal_bytes / 4096 <= 6,
        "{pushed_among_many:?}"
    );
}

#[test]
fn a_start_costs_the_same_among_a_million() {
    let steps = |stores: u64| {
        let Scene { storage, dir, .. } = Scene::new(stores);
        drop(storage);
        // What a start asks of a file that has stores.
        let shard = directory::ShardFile::open(dir.path().join("shard-0.db")).unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        shard.connection.progress_handler(1, Some(count)).unwrap();
        directory::ShardFile::prepare(&shard).unwrap();
        assert!(shard.holds_stores().unwrap());
        directory::note_start(&[shard], &Secret::random().unwrap(), 2).unwrap();
        steps.load(Ordering::Relaxed)
    };
    assert_eq!(steps(STORES), steps(1));
}
