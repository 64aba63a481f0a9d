//! A deployment: state on disk, and one program after another that runs on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::types::Value;
use syncline_tests::profile::Profile;
use syncline_tests::server::{LiveStore, Server};
use syncline_tests::workerd::{Storage, Worker};
use tempfile::TempDir;

/// How long a line may take to its file, before the test fails.
const LOG_TIMEOUT: Duration = Duration::from_secs(60);

/// What runs on a deployment's state.
#[derive(Debug, Clone, Copy)]
pub enum Program {
    Original040(Storage),
    /// Its logs are in D1, always.
    Original031,
    Syncline(Storage),
}

impl Program {
    fn worker(self) -> Worker {
        let original = |version, config: &str| {
            let mut worker = Worker::original(version)?;
            worker.configs.push(PathBuf::from(config));
            Ok(worker)
        };
        let worker = match self {
            Self::Original040(Storage::ObjectSqlite) => {
                original(LiveStore::V040, "takeover-do-sqlite.toml")
            }
            Self::Original040(Storage::D1) => original(LiveStore::V040, "takeover-d1.toml"),
            Self::Original031 => original(LiveStore::V031, "takeover-d1.toml"),
            Self::Syncline(storage) => Worker::syncline(storage, Profile::Open),
        };
        worker.expect("its packages are installed")
    }
}

/// A table's name, how it was made, and its rows.
pub type Tables = BTreeMap<String, (String, Vec<Vec<Value>>)>;

/// What is on disk.
pub struct Deployment {
    dir: TempDir,
}

impl Deployment {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir }
    }

    /// Runs a program on the state and kills it afterwards.
    pub fn run<T>(&self, program: Program, work: impl FnOnce(&Server) -> T) -> T {
        let started = program.worker().start_in(self.dir.path());
        let server = started.unwrap_or_else(|error| panic!("{program:?}: {error:#}"));
        work(&server)
    }

    /// Waits for a line of the Workers' logs (wrangler's file has their
    /// console) that has all of these words.
    pub fn wait_for_log(&self, words: &[&str]) {
        let deadline = Instant::now() + LOG_TIMEOUT;
        while !self.has_logged(words) {
            assert!(Instant::now() < deadline, "nothing was logged of {words:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn has_logged(&self, words: &[&str]) -> bool {
        let files = fs::read_dir(self.dir.path().join("logs")).expect("wrangler's logs");
        files.flatten().any(|file| {
            let text = fs::read(file.path()).expect("wrangler's log");
            let text = String::from_utf8_lossy(&text);
            let mut lines = text.lines();
            lines.any(|line| words.iter().all(|word| line.contains(word)))
        })
    }

    /// The SQLite file of a store's object. Nothing may run.
    pub fn object(&self, store: &str) -> Connection {
        let objects = self.files("v3/do/syncline-WebSocketServer");
        let of_store = |object: &Connection| -> bool {
            let name = object.query_row("SELECT name FROM __miniflare_do_name", [], |row| {
                row.get::<_, String>(0)
            });
            name.is_ok_and(|name| name == store)
        };
        let mut found = objects.into_iter().filter(of_store);
        found.next().unwrap_or_else(|| panic!("no object {store}"))
    }

    /// The SQLite file of the D1 database, once it is there. Nothing may run.
    fn find_d1(&self) -> Option<Connection> {
        let mut databases = self.files("v3/d1/miniflare-D1DatabaseObject");
        assert!(databases.len() <= 1, "all programs have one database");
        databases.pop()
    }

    /// The SQLite file of the D1 database. Nothing may run.
    pub fn d1(&self) -> Connection {
        self.find_d1().expect("a database")
    }

    fn files(&self, folder: &str) -> Vec<Connection> {
        let files = fs::read_dir(self.dir.path().join(folder));
        let files = files.into_iter().flatten();
        let paths = files.map(|file| file.expect("a file").path());
        paths
            .filter(|path| path.extension().is_some_and(|it| it == "sqlite"))
            .filter(|path| path.file_stem().is_some_and(|it| it != "metadata"))
            .map(|path| {
                let connection = Connection::open(path).expect("an SQLite file");
                // Whoever was killed may still have to let go of it.
                connection.busy_timeout(LOG_TIMEOUT).unwrap();
                connection
            })
            .collect()
    }

    /// What the object's context says of a store: head and backend id.
    pub fn context(&self, store: &str) -> (u64, String) {
        self.object(store)
            .query_row(
                "SELECT currentHead, backendId FROM context_7 WHERE storeId = ?",
                [store],
                |row| Ok((row.get::<_, u32>(0)?.into(), row.get(1)?)),
            )
            .expect("a context")
    }

    /// Changes the context's head by hand.
    pub fn set_context_head(&self, store: &str, head: u32) {
        let changed = self.object(store).execute(
            "UPDATE context_7 SET currentHead = ? WHERE storeId = ?",
            (head, store),
        );
        assert_eq!(changed, Ok(1));
    }

    /// All that is in a store's object, and in D1.
    pub fn tables(&self, store: &str) -> [Tables; 2] {
        let d1 = self.find_d1();
        [
            tables(&self.object(store), store),
            d1.map(|file| tables(&file, store)).unwrap_or_default(),
        ]
    }

    /// Sees that [`tables`](Self::tables) are what they were.
    pub fn assert_untouched(&self, store: &str, before: &[Tables; 2]) {
        for (now, before) in self.tables(store).iter().zip(before) {
            assert!(now.keys().eq(before.keys()), "{store}: {:?}", now.keys());
            for (name, table) in now {
                assert_eq!(table, &before[name], "{store}: {name}");
            }
        }
    }
}

/// A file's tables, but the runtime's own, and but what a mere look may leave
/// behind: Syncline's registries, if they say nothing of the store, and the
/// object's note of the store's name.
fn tables(file: &Connection, store: &str) -> Tables {
    let schema = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND (name = '_cf_KV'
        OR name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\')";
    let mut tables = Tables::new();
    let mut schema = file.prepare(schema).unwrap();
    let found = schema.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
    for (name, sql) in found.unwrap().map(Result::unwrap) {
        let mut statement = file.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([], |row| (0..width).map(|n| row.get(n)).collect());
        let mut rows: Vec<Vec<Value>> = rows.unwrap().map(Result::unwrap).collect();
        let first_is = |row: &[Value], text: &str| row[0] == Value::Text(text.to_owned());
        match &*name {
            "syncline_stores" => rows.retain(|row| first_is(row, store)),
            "_cf_KV" => rows.retain(|row| !first_is(row, "syncline:store")),
            _ => {}
        }
        let is_log = name.starts_with("eventlog_");
        if is_log || !rows.is_empty() {
            tables.insert(name, (sql, rows));
        }
    }
    tables
}
