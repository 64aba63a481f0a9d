//! The Worker under the probe, one for each storage, and what the probe tells
//! of its rooms.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use syncline_tests::http::{self, get};
use syncline_tests::profile::Profile;
use syncline_tests::rpc::new_store;
use syncline_tests::server::Server;
use syncline_tests::workerd::{Storage, Worker};

use crate::token;

/// Seconds without an event after which a room is looked at, one attempt
/// after another: workerd evicts after 10, and later where it is busy.
const NAPS: [u64; 5] = [12, 15, 20, 30, 45];

/// All rooms of one Worker.
pub struct Rooms {
    /// The Worker: production, tokens without any grace.
    pub server: Server,
    /// Where its logs are.
    pub storage: Storage,
}

/// One incarnation of a room.
#[derive(Debug, PartialEq)]
pub struct Incarnation {
    /// Random, made by the object's constructor.
    pub instance: String,
    /// What the runtime has told it, oldest first.
    pub heard: Vec<String>,
}

impl Rooms {
    /// The Worker with this storage, shared by all scenarios.
    pub fn shared(storage: Storage) -> Result<Arc<Self>> {
        let mut slot = lock(&SHARED[usize::from(storage == Storage::D1)]);
        match &*slot {
            Some(rooms) => Ok(Arc::clone(rooms)),
            None => Ok(Arc::clone(slot.insert(Arc::new(Self::start(storage)?)))),
        }
    }

    fn start(storage: Storage) -> Result<Self> {
        Self::start_with(storage, &[], None)
    }

    /// A Worker of a test's own, with these variables besides; what it writes
    /// is appended to `log`.
    pub fn start_with(
        storage: Storage,
        variables: &[(&str, &str)],
        log: Option<PathBuf>,
    ) -> Result<Self> {
        // One after another: each is a wrangler of its own.
        static STARTING: Mutex<()> = Mutex::new(());
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worker = Worker::syncline(storage, Profile::Auth)?;
        worker.directory = probe_directory();
        for (name, value) in &mut worker.variables {
            if name == "GRACE_PERIOD_SECONDS" {
                "0".clone_into(value);
            }
        }
        // Of the same Worker, and nothing of the guest's.
        let secret = ("CLOUD_SECRET_KEY".to_owned(), "somebody-else-s".to_owned());
        worker.variables.push(secret);
        let besides = variables.iter();
        let owned = besides.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        worker.variables.extend(owned);
        worker.log = log;
        let server = worker.start()?;
        Ok(Self { server, storage })
    }

    /// Which incarnation of the room is awake: asking wakes it.
    pub fn probe(&self, store: &str) -> Incarnation {
        let mut probed = get(&self.server, &format!("/__probe?storeId={store}")).json();
        let heard = probed["heard"].as_array().expect("what it heard");
        let texts = heard.iter().map(|it| it.as_str().unwrap().to_owned());
        Incarnation {
            heard: texts.collect(),
            instance: serde_json::from_value(probed["instance"].take()).expect("an instance"),
        }
    }

    /// Orders a fault for this store (`tests/node/probe/faults.ts`).
    pub fn arm(&self, store: &str, fault: &Value) {
        let fault = utf8_percent_encode(&fault.to_string(), NON_ALPHANUMERIC).to_string();
        let url = format!("/__probe/arm?storeId={store}&fault={fault}");
        assert_eq!(get(&self.server, &url).body, "armed");
    }

    /// Orders a fault that needs no more than its kind.
    pub fn arm_kind(&self, store: &str, kind: &str) {
        self.arm(store, &json!({"kind": kind}));
    }

    /// Runs statements in D1, as another writer; the rows of the last one.
    pub fn sql(&self, statements: &[String]) -> Vec<Value> {
        let body = json!(statements).to_string();
        let answer = http::request(&self.server, "POST", "/__probe/sql", &[], &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_value(answer.json()).expect("rows")
    }

    /// Whether the store's object has anything on disk.
    pub fn has_object(&self, store: &str) -> bool {
        let id = get(&self.server, &format!("/__probe/id?storeId={store}")).body;
        assert_eq!(id.len(), 64, "an object's id: {id}");
        let state = self.server.dir.as_ref().expect("a state").path();
        let files = object_files(state);
        files
            .iter()
            .any(|file| file.to_string_lossy().contains(&id))
    }

    /// Runs an attempt until one has gone through an eviction in each of its
    /// naps: another incarnation came after it, and the last one's first
    /// event was one that `woken_by` stands in. What the
    /// attempt asserts holds either way; that no attempt was evicted is a
    /// failure.
    pub fn through_eviction(&self, name: &str, woken_by: &str, attempt: impl Fn(&Nap)) {
        let mut last = String::new();
        for seconds in NAPS {
            let nap = Nap {
                rooms: self,
                store: new_store(name),
                seconds,
                instances: RefCell::default(),
            };
            attempt(&nap);
            let mut instances = nap.instances.take();
            let after = self.probe(&nap.store);
            instances.push(after.instance);
            assert!(instances.len() > 1, "the attempt has slept");
            let is_first = |heard: &String| heard.contains(woken_by);
            let is_evicted = instances.windows(2).all(|pair| pair[0] != pair[1]);
            if is_evicted && after.heard.first().is_some_and(is_first) {
                return;
            }
            last = format!("{instances:?}, woken by {:?}", after.heard.first());
        }
        panic!("workerd has not evicted the room: {last}");
    }

    /// POSTs an RPC message with the store's own token.
    pub fn post(&self, store: &str, message: &Value) -> http::Response {
        let url = token::url(store, "http", Some(&token::good(store)));
        http::request(&self.server, "POST", &url, &[], &message.to_string())
    }
}

/// A time without events, within an attempt.
pub struct Nap<'a> {
    /// Whose room.
    pub rooms: &'a Rooms,
    /// The attempt's own store.
    pub store: String,
    /// How long.
    pub seconds: u64,
    /// Those that its naps began with.
    instances: RefCell<Vec<String>>,
}

impl Nap<'_> {
    /// Leaves the room alone for long enough, as far as is known.
    pub fn sleep(&self) {
        self.begin();
        std::thread::sleep(Duration::from_secs(self.seconds));
    }

    /// The nap begins; the attempt waits by itself.
    pub fn begin(&self) {
        let incarnation = self.rooms.probe(&self.store);
        self.instances.borrow_mut().push(incarnation.instance);
    }
}

static SHARED: [Mutex<Option<Arc<Rooms>>>; 2] = [const { Mutex::new(None) }; 2];

fn lock(slot: &Mutex<Option<Arc<Rooms>>>) -> MutexGuard<'_, Option<Arc<Rooms>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the Workers: statics are never dropped.
pub fn stop_all() {
    for slot in &SHARED {
        lock(slot).take();
    }
}

/// Where the probe is.
pub fn probe_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node/probe")
}

/// The product's package, built.
pub fn product_package() -> Result<PathBuf> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Worker::syncline(Storage::ObjectSqlite, Profile::Open)
        .context("the product's package")?
        .package)
}

/// The databases of Durable Objects in a state folder, as wrangler lays it
/// out: each is named by its object's id. `metadata.sqlite` is workerd's own,
/// there from the start.
pub fn object_files(state: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![state.join("v3/do")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if is_object(&path) {
                found.push(path);
            }
        }
    }
    found
}

fn is_object(file: &Path) -> bool {
    let is_hex = |name: &str| name.bytes().all(|byte| byte.is_ascii_hexdigit());
    file.extension()
        .is_some_and(|extension| extension == "sqlite")
        && file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|stem| stem.len() == 64 && is_hex(stem))
}
