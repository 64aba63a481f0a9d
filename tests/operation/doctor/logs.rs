//! Logs on the disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, events};
use syncline_tests::server::Syncline;
use tempfile::TempDir;

use super::{Outcome, doctor};
use crate::needles::{largest_file, needles};

fn syncline() -> Syncline {
    Syncline::new("sqlite:data", Profile::Open)
}

/// A directory that a server has served from, with a store of some pages; the
/// file that holds it.
fn served() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let server = syncline().start_in(dir.path()).unwrap();
    let mut client = Client::open(&server, "s");
    client.push_ok(&needles(1..=200));
    Client::open(&server, "other").push_ok(&events(1, 3));
    server.stop();
    let file = largest_file(dir.path());
    (dir, file)
}

fn look(dir: &Path) -> Outcome {
    doctor(
        &syncline(),
        dir,
        &["--listen", "127.0.0.1:0", "--storage", "sqlite:data"],
    )
}

/// Everything in the data directory.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir.join("data")).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn whole_logs_are_well_and_left_as_they_are() {
    let (dir, _) = served();
    let before = content(dir.path());
    let found = look(dir.path());
    found.well("storage");
    found.expect("ok", "storage", &["belong together", "served 1 times"]);
    found.expect("ok", "storage", &["200 events without a gap"]);
    assert!(content(dir.path()) == before, "something was written");
}

#[test]
fn a_damaged_page_is_seen() {
    let (dir, path) = served();
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    let needle = b"needle-100-";
    let at = content
        .windows(needle.len())
        .position(|it| it == needle)
        .unwrap();
    file.seek(SeekFrom::Start((at / 4096 * 4096) as u64))
        .unwrap();
    file.write_all(&[0xee; 4096]).unwrap();
    drop(file);
    let name = path.file_name().unwrap().to_str().unwrap();
    look(dir.path()).expect("fail", "storage", &[name, "damaged", "backup"]);
}

#[test]
fn i3_a_gap_in_a_log_is_seen_and_named() {
    for (change, words) in [
        (
            r#"DELETE FROM "syncline_events" WHERE "seqNum" = 50"#,
            "event 51 follows event 49",
        ),
        (
            r#"DELETE FROM "syncline_events" WHERE "seqNum" < 10"#,
            "begins with event 10",
        ),
        (
            r#"UPDATE "syncline_events" SET "parentSeqNum" = 7 WHERE "seqNum" = 50"#,
            "event 50 names event 7",
        ),
        (
            r#"DELETE FROM "syncline_logs" WHERE "storeId" = 's'"#,
            "events and no store",
        ),
    ] {
        let (dir, path) = served();
        let connection = Connection::open(&path).unwrap();
        assert!(connection.execute(change, []).unwrap() > 0, "{change}");
        drop(connection);
        look(dir.path()).expect("fail", "storage", &[words, "syncline restored"]);
    }
}

#[test]
fn files_that_do_not_belong_together_are_seen() {
    let (dir, path) = served();
    fs::remove_file(&path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    look(dir.path()).expect("fail", "storage", &[name, "missing"]);
    // A later version's.
    let (dir, path) = served();
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    look(dir.path()).expect("fail", "storage", &["a later Syncline", "99"]);
    // Another directory's.
    let ((dir, path), (other, _)) = (served(), served());
    let theirs = other.path().join("data").join(path.file_name().unwrap());
    fs::copy(theirs, &path).unwrap();
    look(dir.path()).expect("fail", "storage", &["different directories"]);
}

#[test]
fn a_file_of_a_time_to_come_shows_a_wrong_clock() {
    let (dir, path) = served();
    let ahead = SystemTime::now() + Duration::from_secs(86_400);
    File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(ahead)
        .unwrap();
    look(dir.path()).expect("warn", "clock", &["s from now", "timedatectl"]);
}

#[test]
fn a_server_that_runs_is_said_and_not_disturbed() {
    let (dir, _) = served();
    let server = syncline().start_in(dir.path()).unwrap();
    let address = server.url.trim_start_matches("http://");
    let found = doctor(
        &syncline(),
        dir.path(),
        &["--listen", address, "--storage", "sqlite:data"],
    );
    found.well("storage");
    found.expect("ok", "storage", &["a server runs on data"]);
    found.expect("ok", "machine", &["in use, as a server runs"]);
    assert!(!format!("{found:?}").contains("without a gap"), "{found:?}");
    Client::open(&server, "s").push_ok(&events(201, 201));
    // It was killed: what it had is in the -wal, and is read.
    let mut server = server;
    server.process.take().unwrap().kill().unwrap();
    look(dir.path()).expect("ok", "storage", &["201 events without a gap"]);
    let server = syncline().start_in(dir.path()).unwrap();
    Client::open(&server, "s").push_ok(&events(202, 202));
}
