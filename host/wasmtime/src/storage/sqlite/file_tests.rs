//! What happens to a file while it is open.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use super::*;

struct Scene {
    storage: Sqlite,
    file: PathBuf,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        Self {
            storage: directory::open(&data).unwrap().remove(0),
            file: data.join("shard-0.db"),
            dir,
        }
    }

    /// Pushes the event after `head`, and commits.
    fn push(&mut self, store: &str, head: u64, args_bytes: usize) -> Result<()> {
        let event = Event {
            seq_num: head + 1,
            parent_seq_num: head,
            name: "name".to_owned(),
            args: Some("x".repeat(args_bytes)),
            client_id: "client".to_owned(),
            session_id: "session".to_owned(),
        };
        self.storage.append(store, head, &[event], "time")?;
        self.storage.end_turn(true);
        self.storage.commit()
    }

    fn refuses(&mut self, store: &str, head: u64) -> String {
        match self.push(store, head, 10) {
            Err(StorageError::Unavailable(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    fn wal(&self) -> PathBuf {
        self.file.with_extension("db-wal")
    }
}

#[test]
fn a_file_that_is_not_at_its_path_takes_no_pushes_until_it_is_back() {
    let mut scene = Scene::new();
    scene.push("s", 0, 10).unwrap();
    for (path, name) in [
        (scene.file.parent().unwrap().to_owned(), "data"),
        (scene.file.clone(), "shard-0.db"),
        (scene.wal(), "shard-0.db-wal"),
    ] {
        let head = scene.storage.open("s").unwrap().head;
        let away = scene.dir.path().join("away");
        fs::rename(&path, &away).unwrap();
        let words = scene.refuses("s", head);
        for part in [name, "deleted or replaced", "move it back"] {
            assert!(words.contains(part), "{words}");
        }
        let trouble = scene.storage.trouble().unwrap();
        assert!(trouble.contains("cannot write"), "{trouble}");
        // Another in its place is as bad.
        if path.is_dir() || name == "data" {
            fs::create_dir(&path).unwrap();
            fs::write(&scene.file, "").unwrap();
        } else {
            fs::copy(&away, &path).unwrap();
        }
        scene.refuses("s", head);
        scene.storage.probe();
        assert!(scene.storage.trouble().is_some());
        // What is open is served on.
        assert_eq!(scene.storage.open("s").unwrap().head, head);
        let read = scene.storage.read("s", 0, 10, u32::MAX).unwrap();
        assert_eq!(read.len() as u64, head);
        if name == "data" {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::rename(&away, &path).unwrap();
        scene.push("s", head, 10).unwrap();
        assert_eq!(scene.storage.trouble(), None);
    }
}

#[test]
fn a_probe_finds_out_that_the_file_is_gone_and_that_it_is_back() {
    let mut scene = Scene::new();
    scene.storage.probe();
    assert_eq!(scene.storage.trouble(), None);
    let away = scene.dir.path().join("away");
    fs::rename(&scene.file, &away).unwrap();
    scene.storage.probe();
    let words = scene.storage.trouble().unwrap();
    assert!(words.contains("shard-0.db"), "{words}");
    fs::rename(&away, &scene.file).unwrap();
    scene.storage.probe();
    assert_eq!(scene.storage.trouble(), None);
}

#[test]
fn a_probe_writes_only_after_a_write_that_failed() {
    let mut scene = Scene::new();
    let probes = |scene: &Scene| -> i64 {
        let select = r#"SELECT "probes" FROM "syncline_directory""#;
        let other = Connection::open(&scene.file).unwrap();
        other.query_row(select, [], |row| row.get(0)).unwrap()
    };
    scene.storage.probe();
    assert_eq!(probes(&scene), 0);
    // Somebody else's lock, which a push waits for in vain.
    let other = Connection::open(&scene.file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let words = scene.refuses("s", 0);
    assert!(words.contains("locked"), "{words}");
    scene.storage.probe();
    assert!(scene.storage.trouble().is_some());
    other.execute_batch("ROLLBACK").unwrap();
    scene.storage.probe();
    assert_eq!(scene.storage.trouble(), None);
    assert_eq!(probes(&scene), 1, "and it is durable");
    scene.push("s", 0, 10).unwrap();
}

#[test]
fn the_end_of_a_server_leaves_a_directory_alone_that_was_put_in_place() {
    let mut scene = Scene::new();
    scene.push("s", 0, 10).unwrap();
    let data = scene.file.parent().unwrap().to_owned();
    let away = scene.dir.path().join("away");
    fs::rename(&data, &away).unwrap();
    // A backup that was made while a server ran: its content is in its -wal.
    fs::create_dir(&data).unwrap();
    for name in ["shard-0.db", "shard-0.db-wal"] {
        fs::copy(away.join(name), data.join(name)).unwrap();
    }
    let wal = fs::read(scene.wal()).unwrap();
    drop(scene.storage);
    assert!(fs::read(data.join("shard-0.db-wal")).is_ok_and(|now| now == wal));
}

#[test]
fn i1_a_write_ahead_log_that_was_deleted_is_saved_when_the_server_ends() {
    let mut scene = Scene::new();
    scene.push("s", 0, 10).unwrap();
    fs::remove_file(scene.wal()).unwrap();
    scene.refuses("s", 1);
    drop(scene.storage);
    let data = scene.file.parent().unwrap();
    let mut storage = directory::open(data).unwrap().remove(0);
    assert_eq!(storage.open("s").unwrap().head, 1);
}

#[test]
fn i9_a_log_that_cannot_be_read_takes_no_pushes_until_it_can() {
    let mut scene = Scene::new();
    let page = 4096;
    for head in 0..40 {
        scene.push("s", head, 1_000).unwrap();
    }
    scene.push("other", 0, 10).unwrap();
    let checkpoint = |scene: &Scene| {
        let connection = &scene.storage.connection;
        let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
        connection.query_row(truncate, [], |_| Ok(())).unwrap();
        connection.execute_batch("PRAGMA shrink_memory").unwrap();
    };
    checkpoint(&scene);
    // A page in the middle of its log.
    let file = scene.file.clone();
    let whole = fs::read(&file).unwrap();
    let leaf = (0..whole.len() / page)
        .filter(|number| whole[number * page] == 0x0d)
        .filter(|number| {
            let bytes = &whole[number * page..(number + 1) * page];
            bytes.windows(500).any(|window| window == [b'x'; 500])
        })
        .nth(5)
        .unwrap();
    let overwrite = |bytes: &[u8]| {
        let mut file = fs::File::options().write(true).open(&file).unwrap();
        file.seek(SeekFrom::Start((leaf * page) as u64)).unwrap();
        file.write_all(bytes).unwrap();
    };
    overwrite(&[0xee; 4096]);
    // Nobody has noticed yet.
    scene.push("s", 40, 10).unwrap();
    let read = |scene: &mut Scene, after| scene.storage.read("s", after, 8, u32::MAX);
    let mut after = 0;
    let error = loop {
        match read(&mut scene, after) {
            Ok(events) => after = events.last().unwrap().event.seq_num,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
    let words = scene.refuses("s", 41);
    for part in ["cannot be read", "damaged", "backup"] {
        assert!(words.contains(part), "{words}");
    }
    assert_eq!(scene.storage.trouble(), None, "the others can be written");
    scene.push("other", 1, 10).unwrap();
    // What can be read before and behind it changes nothing.
    read(&mut scene, 0).unwrap();
    read(&mut scene, 39).unwrap();
    scene.refuses("s", 41);

    checkpoint(&scene);
    let leaf_bytes = &whole[leaf * page..(leaf + 1) * page];
    overwrite(leaf_bytes);
    checkpoint(&scene);
    read(&mut scene, after).unwrap();
    scene.push("s", 41, 10).unwrap();
}

#[test]
fn the_write_ahead_log_does_not_keep_its_largest_size() {
    let mut scene = Scene::new();
    let length = |scene: &Scene| fs::metadata(scene.wal()).unwrap().len();
    scene.push("s", 0, 40_000_000).unwrap();
    let largest = length(&scene);
    assert!(largest > 40_000_000);
    // The first begins it again from its start.
    for head in 1..=2 {
        scene.push("s", head, 10).unwrap();
    }
    assert!(length(&scene) <= 8 * 1024 * 1024, "{}", length(&scene));
}
