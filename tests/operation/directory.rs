//! What an operator does to a data directory: moving it, putting a backup
//! back, copying and deleting stores.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::json;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, batch, cursor, events, numbers};
use syncline_tests::server::{Server, Syncline};
use tempfile::TempDir;

const STORES: [&str; 6] = ["a", "b", "c", "d", "my-store", "é"];

struct Scene {
    syncline: Syncline,
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut syncline = Syncline::new("sqlite:data", Profile::Open);
        syncline.log = Some(dir.path().join("log"));
        Self { syncline, dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Server {
        self.syncline.start_in(self.dir.path()).unwrap()
    }

    /// What a server says at a start that it does not survive.
    fn refused(&self) -> String {
        let output = self.run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--storage",
            "sqlite:data",
        ]);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.syncline.command(self.dir.path()).unwrap();
        command.args(arguments).output().unwrap()
    }

    /// What a command says that does as it is told.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {words}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that does not.
    fn err(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

/// Copies the files of a directory, as `cp` does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn backend_ids(server: &Server) -> Vec<String> {
    let stores = STORES.iter().chain(&["never-pushed-to"]);
    stores
        .map(|store| Client::open(server, store).backend_id())
        .collect()
}

#[test]
fn i8_a_restored_backup_is_noticed_and_only_the_command_changes_ids() {
    let scene = Scene::new();
    let server = scene.start();
    for store in STORES {
        Client::open(&server, store).push_ok(&events(1, 5));
    }
    let ids = backend_ids(&server);
    server.stop();
    copy(&scene.path("data"), &scene.path("backup"));
    let server = scene.start();
    for store in STORES {
        Client::open(&server, store).push_ok(&events(6, 10));
    }
    server.stop();
    assert!(!scene.log().contains("restored"), "nothing was done yet");

    fs::remove_dir_all(scene.path("data")).unwrap();
    copy(&scene.path("backup"), &scene.path("data"));
    let server = scene.start();
    for part in [
        "copied, or put back from a backup",
        "`syncline restored data`",
    ] {
        assert!(scene.log().contains(part), "{}", scene.log());
    }
    assert_eq!(backend_ids(&server), ids, "a copy may be a move");
    let words = scene.err(&["restored", "data"]);
    assert!(words.contains("another syncline is running"), "{words}");
    server.stop();

    let words = scene.ok(&["restored", "data"]);
    assert!(
        words.starts_with("6 stores have a new backend id"),
        "{words}"
    );
    let said = scene.log().len();
    let server = scene.start();
    let new_ids = backend_ids(&server);
    for (old, new) in ids.iter().zip(&new_ids) {
        assert_ne!(old, new);
    }
    let (_, exit) = Client::open(&server, "a").pull_all(Some(cursor(&ids[0], 10)));
    assert!(exit.to_string().contains("BackendIdMismatch"), "{exit}");
    let (chunks, _) = Client::open(&server, "a").pull_all(None);
    assert_eq!(numbers(&chunks[0]), [1, 2, 3, 4, 5]);
    server.stop();
    assert!(!scene.log()[said..].contains("restored"), "{}", scene.log());
}

#[test]
fn a_plain_move_of_the_directory_is_not_even_mentioned() {
    let scene = Scene::new();
    let server = scene.start();
    Client::open(&server, "a").push_ok(&events(1, 5));
    let ids = backend_ids(&server);
    server.stop();
    fs::rename(scene.path("data"), scene.path("moved")).unwrap();
    let syncline = Syncline {
        storage: "sqlite:moved".to_owned(),
        ..scene.syncline.clone()
    };
    let server = syncline.start_in(scene.dir.path()).unwrap();
    assert_eq!(backend_ids(&server), ids);
    server.stop();
    assert!(!scene.log().contains("put back"), "{}", scene.log());
}

#[test]
fn one_older_file_among_newer_ones_is_refused_until_it_is_said_to_be_restored() {
    let scene = Scene::new();
    let server = scene.start();
    for store in STORES {
        Client::open(&server, store).push_ok(&events(1, 5));
    }
    server.stop();
    copy(&scene.path("data"), &scene.path("backup"));
    let server = scene.start();
    for store in STORES {
        Client::open(&server, store).push_ok(&events(6, 10));
    }
    let ids = backend_ids(&server);
    server.stop();
    // In place, as `cp` does: the file is the same, but for what is in it.
    fs::copy(
        scene.path("backup/shard-2.db"),
        scene.path("data/shard-2.db"),
    )
    .unwrap();
    let words = scene.refused();
    for part in ["shard-2.db", "older", "`syncline restored data`"] {
        assert!(words.contains(part), "{words}");
    }
    scene.ok(&["restored", "data"]);
    let server = scene.start();
    for (old, new) in ids.iter().zip(backend_ids(&server)) {
        assert_ne!(*old, new);
    }
}

#[test]
fn a_file_that_is_missing_or_empty_beside_others_is_refused_by_name() {
    let scene = Scene::new();
    scene.start().stop();
    let file = scene.path("data/shard-1.db");
    for leave_empty in [true, false] {
        if leave_empty {
            fs::write(&file, "").unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
        let words = scene.refused();
        for part in [
            "data/shard-1.db",
            "missing or empty",
            "`syncline restored data`",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }
    assert!(!file.exists());
    // Its stores are given up.
    scene.ok(&["restored", "data"]);
    scene.start().stop();
}

#[test]
fn a_directory_that_is_deleted_or_replaced_takes_no_pushes_and_readers_stay() {
    let scene = Scene::new();
    let server = scene.start();
    let mut reader = Client::open(&server, "a");
    let live = reader.pull(true, None);
    reader.chunk(&live);
    let mut writer = Client::open(&server, "a");
    writer.push_ok(&events(1, 3));
    assert_eq!(reader.numbers_until(&live, 3), [1, 2, 3]);

    let refused = |writer: &mut Client| {
        let refused = writer.push_refused(&events(4, 4)).to_string();
        assert!(refused.contains("STORAGE_UNAVAILABLE"), "{refused}");
    };
    fs::rename(scene.path("data"), scene.path("away")).unwrap();
    refused(&mut writer);
    fs::create_dir(scene.path("data")).unwrap();
    copy(&scene.path("away"), &scene.path("data"));
    refused(&mut writer);
    let said = scene.log();
    let count = said.matches("is not there any more").count();
    // Once for the file, and the guest's line for each push.
    assert!(count >= 1, "{said}");
    for part in ["cannot write", "move it back", "syncline restored"] {
        assert!(said.contains(part), "{said}");
    }
    fs::remove_dir_all(scene.path("data")).unwrap();
    fs::rename(scene.path("away"), scene.path("data")).unwrap();
    writer.push_ok(&events(4, 4));
    assert_eq!(reader.numbers_until(&live, 4), [4]);
    assert!(scene.log().contains("pushes are taken"), "{}", scene.log());

    fs::remove_dir_all(scene.path("data")).unwrap();
    let refused = writer.push_refused(&events(5, 5)).to_string();
    assert!(refused.contains("STORAGE_UNAVAILABLE"), "{refused}");
    let (chunks, _) = Client::open(&server, "a").pull_all(None);
    assert_eq!(numbers(&chunks[0]), [1, 2, 3, 4], "what is open is served");
}

/// An event's number, its parent's, and all its text.
type Row = (i64, i64, String);

/// A store, its head and its backend id.
type Context = (String, i64, String);

/// The rows of a file in upstream's format.
fn upstream(file: &Path, table: &str) -> (Vec<Row>, Context) {
    let connection = rusqlite::Connection::open(file).unwrap();
    let mut select = connection
        .prepare(&format!(
            r#"SELECT "seqNum", "parentSeqNum", "name" || "args" || "createdAt" || "clientId" || "sessionId" FROM "{table}""#
        ))
        .unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let rows = rows.unwrap().map(Result::unwrap).collect();
    let context = connection
        .query_row("SELECT * FROM context_7", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    (rows, context)
}

#[test]
fn i8_an_export_is_the_log_in_upstreams_format_also_while_a_server_runs() {
    let scene = Scene::new();
    let server = scene.start();
    let mut client = Client::open(&server, "my-store");
    client.push_ok(&events(1, 150));
    let backend_id = client.backend_id();
    assert_eq!(
        scene
            .ok(&["export", "data", "my-store", "running.db"])
            .trim(),
        "150 events are in running.db"
    );
    let (chunks, _) = client.pull_all(None);
    server.stop();
    scene.ok(&["export", "data", "my-store", "stopped.db"]);
    let (running, context) = upstream(&scene.path("running.db"), "eventlog_7_my_store");
    assert_eq!(context, ("my-store".to_owned(), 150, backend_id));
    let stopped = upstream(&scene.path("stopped.db"), "eventlog_7_my_store");
    assert_eq!((running.clone(), context), stopped);
    let served = chunks.iter().flat_map(batch);
    for (served, exported) in served.zip(&running) {
        let event = &served["eventEncoded"];
        assert_eq!(
            (&event["seqNum"], &event["parentSeqNum"]),
            (&json!(exported.0), &json!(exported.1))
        );
        for part in [
            event["args"].to_string(),
            served["metadata"]["value"]["createdAt"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        ] {
            assert!(exported.2.contains(&part), "{served} {exported:?}");
        }
    }
    assert_eq!(running.len(), 150);

    let words = scene.err(&["export", "data", "my-store", "running.db"]);
    assert!(words.contains("new files only"), "{words}");
    let words = scene.err(&["export", "data", "nobody", "nobody.db"]);
    assert!(words.contains("no store `nobody`"), "{words}");
    assert!(!scene.path("nobody.db").exists());
    let words = scene.err(&["export", "elsewhere", "my-store", "x.db"]);
    assert!(words.contains("elsewhere is no data directory"), "{words}");
    assert!(!scene.path("elsewhere").exists());
}

#[test]
fn i8_a_deleted_store_is_empty_and_never_has_its_old_id_again() {
    let scene = Scene::new();
    let server = scene.start();
    for store in ["a", "b"] {
        Client::open(&server, store).push_ok(&events(1, 5));
    }
    let ids = ["a", "b"].map(|store| Client::open(&server, store).backend_id());
    let words = scene.err(&["delete", "data", "a"]);
    assert!(words.contains("another syncline is running"), "{words}");
    server.stop();
    scene.ok(&["delete", "data", "a"]);
    let words = scene.err(&["delete", "data", "nobody"]);
    assert!(words.contains("no store `nobody`"), "{words}");
    let server = scene.start();
    let mut client = Client::open(&server, "a");
    let (chunks, _) = client.pull_all(None);
    assert!(chunks.iter().all(|chunk| batch(chunk).is_empty()));
    assert_ne!(client.backend_id(), ids[0]);
    client.push_ok(&events(1, 1));
    let mut other = Client::open(&server, "b");
    assert_eq!(other.backend_id(), ids[1]);
    other.push_ok(&events(6, 6));
}
