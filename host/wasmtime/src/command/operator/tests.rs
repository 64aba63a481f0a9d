//! An operator's commands on files as they were before logs shared tables, and
//! one that is cut short; the rest is in `tests/operation/directory.rs`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::contract::Event;
use crate::storage::event_log::Storage;
use crate::storage::sqlite::Sqlite;
use crate::storage::tests::make_old;

/// A store that is in the first file.
const STORE: &str = "store-1";

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(layout::shard_of(STORE), 0);
    make_old(&dir, &[STORE, "another"]);
    let event = Event {
        seq_num: 1,
        parent_seq_num: 0,
        name: "name".to_owned(),
        args: None,
        client_id: "client".to_owned(),
        session_id: "session".to_owned(),
    };
    let mut shard = first(&dir);
    for store in [STORE, "new"] {
        shard
            .append(store, 0, std::slice::from_ref(&event), "time")
            .unwrap();
        shard.end_turn(true);
    }
    shard.commit().unwrap();
    dir
}

fn first(dir: &tempfile::TempDir) -> Sqlite {
    directory::open(dir.path()).unwrap().remove(0)
}

fn ids(dir: &tempfile::TempDir) -> Vec<String> {
    let mut shard = first(dir);
    let stores = [STORE, "another", "new", "never-pushed-to"];
    let ids = stores.map(|store| shard.open(store).unwrap().backend_id);
    ids.to_vec()
}

#[test]
fn i8_restored_gives_every_kind_of_store_a_new_id() {
    let dir = directory();
    let before = ids(&dir);
    assert_eq!(before.first().unwrap(), "old-store-1");
    assert_eq!(restored(dir.path()).unwrap(), 3);
    let after = ids(&dir);
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before, after);
    }
    assert_eq!(first(&dir).open(STORE).unwrap().head, 1);
    restored(dir.path()).unwrap();
    assert!(ids(&dir).iter().all(|id| !after.contains(id)));
}

#[test]
fn i8_a_directory_that_was_half_restored_is_refused_until_it_is_whole() {
    // Of a directory that was served by this version, and of one that was not.
    for is_old in [false, true] {
        for files in 1..layout::SHARDS {
            let dir = tempfile::tempdir().unwrap();
            make_old(&dir, &[STORE]);
            if !is_old {
                first(&dir);
            }
            let shards: Vec<_> = (0..layout::SHARDS)
                .map(|shard| ShardFile::open(layout::file(dir.path(), shard)).unwrap())
                .collect();
            // As far as `restored` came.
            for shard in &shards {
                let secret = random().unwrap();
                record::begin_start(&shard.connection, &secret, 2).unwrap();
            }
            let secret = random().unwrap();
            for shard in shards.iter().take(files) {
                give_ids(&shard.connection, &secret, 2).unwrap();
            }
            drop(shards);
            assert!(matches!(
                directory::open(dir.path()),
                Err(OpenError::Mixed(..))
            ));
            restored(dir.path()).unwrap();
            first(&dir);
        }
    }
}

#[test]
fn i8_a_store_with_a_table_of_its_own_is_exported_and_deleted() {
    let dir = directory();
    let before = ids(&dir);
    let copy = dir.path().join("copy.db");
    assert_eq!(export(dir.path(), STORE, &copy).unwrap(), 1);
    let copy = Connection::open(copy).unwrap();
    let context: (String, i64, String) = copy
        .query_row("SELECT * FROM context_7", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(context, (STORE.to_owned(), 1, "old-store-1".to_owned()));
    let events: i64 = copy
        .query_row("SELECT count(*) FROM eventlog_7_store_1", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(events, 1);

    delete(dir.path(), STORE).unwrap();
    let mut shard = first(&dir);
    let info = shard.open(STORE).unwrap();
    assert_eq!(info.head, 0);
    assert_ne!(Some(&info.backend_id), before.first());
    drop(shard);
    let after = ids(&dir);
    assert_eq!(after.get(1..), before.get(1..), "others keep theirs");
    // Nothing but its id is left.
    delete(dir.path(), STORE).unwrap();
    let file = Connection::open(layout::file(dir.path(), 0)).unwrap();
    assert!(!file.table_exists(None, "eventlog_7_0").unwrap());
}

#[test]
fn an_export_works_on_files_that_this_version_has_not_served() {
    let dir = tempfile::tempdir().unwrap();
    make_old(&dir, &[STORE]);
    let copy = dir.path().join("copy.db");
    assert_eq!(export(dir.path(), STORE, &copy).unwrap(), 0);
    let again = export(dir.path(), STORE, &copy);
    assert!(matches!(again, Err(OperatorError::NoExport { .. })));
}
