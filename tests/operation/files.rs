//! Files that cannot be served from: the server says which, why and what to
//! do, or serves what is left.

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use syncline_tests::process::Process;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, batch, events};
use syncline_tests::server::{Syncline, binary};
use syncline_tests::socket::Received;
use tempfile::TempDir;

use crate::needles::{largest_file, needles};

/// `nobody`, nearly everywhere; what counts is that nothing here is its.
const NOBODY: u32 = 65_534;

/// How long a server may take to refuse: it is there so that one that serves
/// instead is a failure.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(60);

fn syncline() -> Syncline {
    Syncline::new("sqlite:data", Profile::Open)
}

/// A directory that a server has served from, with a store of small events
/// in it; the file that holds it.
fn served() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let server = syncline().start_in(dir.path()).unwrap();
    let mut client = Client::open(&server, "s");
    for push in 0..10 {
        let first = push * 100 + 1;
        client.push_ok(&needles(first..=first + 99));
    }
    server.stop();
    let file = largest_file(dir.path());
    (dir, file)
}

/// Sees a server refuse to start, as a user who owns nothing where that
/// matters; its words.
fn refuses(dir: &Path, as_nobody: bool) -> String {
    let mut command = syncline().command(dir).unwrap();
    if as_nobody && fs::metadata(dir).unwrap().uid() == 0 {
        // The administrator may write whatever the rights say. The binary may
        // be where nobody else can go.
        let copy = dir.join("syncline");
        // By another process: what is open for writing here, servers that
        // other tests start just then have open too, and it cannot be run.
        let copied = Command::new("cp")
            .arg(binary().unwrap())
            .arg(&copy)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        command = Command::new(copy);
        command.current_dir(dir).uid(NOBODY);
        command.env("ENVIRONMENT", "development");
    }
    let mut said = tempfile::tempfile().unwrap();
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(["--storage", "sqlite:data"])
        .stderr(said.try_clone().unwrap());
    let status = Process::start(command).unwrap().wait(REFUSAL_TIMEOUT);
    let mut words = String::new();
    said.rewind().unwrap();
    said.read_to_string(&mut words).unwrap();
    assert!(!status.unwrap().success(), "{words}");
    words
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_may_not_be_written_is_refused_by_name() {
    let (dir, _) = served();
    let data = dir.path().join("data");
    set_mode(&data, 0o555);
    set_mode(&data.join("syncline.lock"), 0o444);
    let words = refuses(dir.path(), true);
    set_mode(&data, 0o755);
    for part in ["data/syncline.lock", "Permission denied", "--storage"] {
        assert!(words.contains(part), "{words}");
    }

    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o555);
    let words = refuses(dir.path(), true);
    set_mode(dir.path(), 0o755);
    assert!(words.contains("cannot write data"), "{words}");
}

#[test]
fn a_file_that_may_not_be_written_is_refused_by_name() {
    let (dir, file) = served();
    let data = dir.path().join("data");
    set_mode(&data, 0o777);
    set_mode(&data.join("syncline.lock"), 0o666);
    for number in 0..4 {
        set_mode(&data.join(format!("shard-{number}.db")), 0o666);
    }
    set_mode(&file, 0o444);
    let words = refuses(dir.path(), true);
    let name = file.file_name().unwrap().to_str().unwrap();
    for part in [name, "may only be read", "Let the server's user write"] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn a_file_with_a_damaged_beginning_is_refused_by_name_and_left_alone() {
    let (dir, file) = served();
    let mut damaged = fs::read(&file).unwrap();
    damaged[..64].fill(b'?');
    fs::write(&file, &damaged).unwrap();
    let words = refuses(dir.path(), false);
    let name = file.file_name().unwrap().to_str().unwrap();
    for part in [name, "its beginning is damaged", "backup"] {
        assert!(words.contains(part), "{words}");
    }
    assert!(fs::read(&file).unwrap() == damaged, "it was written to");
}

#[test]
fn i9_a_damaged_page_harms_its_store_alone() {
    let (dir, path) = served();
    // Another store in the same file.
    let server = syncline().start_in(dir.path()).unwrap();
    let candidates: Vec<String> = (0..16).map(|number| format!("other-{number}")).collect();
    for store in &candidates {
        Client::open(&server, store).push_ok(&events(1, 3));
    }
    server.stop();
    let others: Vec<String> = {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let mut select = connection
            .prepare(r#"SELECT "storeId" FROM "syncline_logs" WHERE "storeId" <> 's'"#)
            .unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert!(!others.is_empty(), "no other store in {}", path.display());

    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    let needle = b"needle-500-";
    let at = content
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    file.seek(SeekFrom::Start((at / 4096 * 4096) as u64))
        .unwrap();
    file.write_all(&[0xee; 4096]).unwrap();
    drop(file);

    let mut syncline = syncline();
    let log = dir.path().join("log");
    syncline.log = Some(log.clone());
    let server = syncline.start_in(dir.path()).unwrap();
    let mut client = Client::open(&server, "s");
    client.pull(true, None);
    let mut shown = 0;
    let closed = loop {
        match client.socket.receive() {
            Received::Text(text) => {
                let chunk = serde_json::from_str(&text).unwrap();
                for item in batch(&chunk) {
                    shown += 1;
                    assert_eq!(item["eventEncoded"]["seqNum"], shown, "I3");
                }
                client.ack("1");
            }
            closed @ Received::Closed(..) => break closed,
        }
    };
    let expected = Received::Closed(1011, "STORAGE_UNAVAILABLE".to_owned());
    assert_eq!(closed, expected, "after {shown} events");
    assert!(shown < 500, "event 500 cannot be read, but {shown} were");
    // Nobody could ever read what continues it.
    let mut writer = Client::open(&server, "s");
    let refused = writer.push_refused(&events(1001, 1001)).to_string();
    assert!(refused.contains("STORAGE_UNAVAILABLE"), "{refused}");
    for store in &others {
        let mut client = Client::open(&server, store);
        let pull = client.pull(true, None);
        assert_eq!(client.numbers_until(&pull, 3), [1, 2, 3]);
        client.push_ok(&events(4, 5));
        assert_eq!(client.numbers_until(&pull, 5), [4, 5]);
    }
    let said = fs::read_to_string(log).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    for part in [name, "the file is damaged", "backup", ".recover"] {
        assert!(said.contains(part), "{said}");
    }
}
