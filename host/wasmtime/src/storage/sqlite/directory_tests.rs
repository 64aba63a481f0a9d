//! Files that do not belong together, and those that only look as if.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

use super::directory;
use super::open_error::OpenError;
use super::*;
use crate::storage::layout::{self, SHARDS};

/// A directory that was served, with a store in its first file.
fn served() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    push(dir.path(), 0);
    dir
}

/// Serves the directory, pushes the event after `head` and stops.
fn push(dir: &Path, head: u64) {
    let mut shards = directory::open(dir).unwrap();
    let event = Event {
        seq_num: head + 1,
        parent_seq_num: head,
        name: "name".to_owned(),
        args: None,
        client_id: "client".to_owned(),
        session_id: "session".to_owned(),
    };
    let shard = shards.first_mut().unwrap();
    shard.append("s", head, &[event], "time").unwrap();
    shard.end_turn(true);
    shard.commit().unwrap();
}

fn copy(from: &Path, to: &Path, shard: usize) {
    fs::copy(layout::file(from, shard), layout::file(to, shard)).unwrap();
}

fn refused(dir: &Path) -> OpenError {
    match directory::open(dir) {
        Ok(_) => panic!("it is served"),
        Err(error) => error,
    }
}

#[test]
fn a_file_that_is_missing_or_empty_beside_others_is_refused_and_not_made() {
    for shard in 0..SHARDS {
        for leave_empty in [false, true] {
            let dir = served();
            let file = layout::file(dir.path(), shard);
            fs::remove_file(&file).unwrap();
            if leave_empty {
                fs::write(&file, "").unwrap();
            }
            let error = refused(dir.path());
            assert!(
                matches!(&error, OpenError::Missing(it) if *it == file),
                "{error}"
            );
            assert!(error.to_string().contains("syncline restored"), "{error}");
            assert_eq!(file.exists(), leave_empty);
            assert_eq!(fs::metadata(&file).map_or(0, |it| it.len()), 0);
        }
    }
}

#[test]
fn files_of_different_directories_are_refused() {
    let (dir, other) = (served(), served());
    copy(other.path(), dir.path(), 2);
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Mixed(..)), "{error}");
    assert!(error.to_string().contains("shard-2.db"), "{error}");
}

#[test]
fn a_file_that_is_older_than_the_others_is_refused() {
    for shard in 0..SHARDS {
        let dir = served();
        let backup = tempfile::tempdir().unwrap();
        copy(dir.path(), backup.path(), shard);
        push(dir.path(), 1);
        copy(backup.path(), dir.path(), shard);
        let error = refused(dir.path());
        let file = layout::file(dir.path(), shard);
        assert!(
            matches!(&error, OpenError::Older(it) if *it == file),
            "{error}"
        );
    }
}

#[test]
fn a_directory_that_is_copied_whole_is_served_with_the_same_ids() {
    let dir = served();
    let moved = tempfile::tempdir().unwrap();
    for shard in 0..SHARDS {
        copy(dir.path(), moved.path(), shard);
    }
    let ids = |dir: &Path| {
        let mut shards = directory::open(dir).unwrap();
        let shard = shards.first_mut().unwrap();
        ["s", "never-pushed-to"].map(|store| shard.open(store).unwrap().backend_id)
    };
    assert_eq!(ids(dir.path()), ids(moved.path()), "I8");
    push(moved.path(), 1);
}

#[test]
fn a_start_that_was_cut_short_anywhere_is_no_fault() {
    for had_been_served in [false, true] {
        for cut in 1..2 * SHARDS {
            let dir = if had_been_served {
                served()
            } else {
                tempfile::tempdir().unwrap()
            };
            let files = (0..SHARDS).map(|shard| layout::file(dir.path(), shard));
            let shards: Vec<_> = files
                .map(|file| directory::ShardFile::open(file).unwrap())
                .collect();
            let known = shards.iter().find_map(|shard| shard.record.clone());
            let start = known.as_ref().map_or(1, |record| record.starts + 1);
            let secret = known.and_then(|record| record.secret);
            let secret = secret.unwrap_or_else(|| Secret::random().unwrap());
            for step in 0..cut {
                let connection = &shards.get(step % SHARDS).unwrap().connection;
                if step < SHARDS {
                    record::begin_start(connection, &secret, start).unwrap();
                } else {
                    record::end_start(connection, start, "file").unwrap();
                }
            }
            drop(shards);
            directory::open(dir.path()).unwrap();
        }
    }
    // Before all of the files were made.
    let dir = tempfile::tempdir().unwrap();
    directory::ShardFile::open(layout::file(dir.path(), 0)).unwrap();
    directory::open(dir.path()).unwrap();
}

#[test]
fn a_file_of_a_later_layout_is_refused_and_left_alone() {
    let dir = served();
    let file = layout::file(dir.path(), 1);
    let connection = Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let before = fs::read(&file).unwrap();
    let error = refused(dir.path());
    assert!(
        matches!(error, OpenError::Newer { layout: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("shard-1.db"), "{error}");
    assert!(fs::read(&file).unwrap() == before);
}
