//! The registry of cells: every server that the suites run against. An
//! unknown name fails; it never selects nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::profile::Profile;
use crate::server::{LiveStore, Server, Syncline};
use crate::workerd::{Storage, Worker};

/// A server that the suites run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    /// Syncline on wasmtime, logs in memory.
    WasmtimeMemory,
    /// Syncline on wasmtime, logs in SQLite files.
    WasmtimeSqlite,
    /// The same, with rooms that fall asleep after every turn: whatever a
    /// room keeps in memory only is lost (design D3).
    WasmtimeDrowsy,
    /// Syncline on workerd, logs in its Durable Objects.
    CloudflareSqlite,
    /// Syncline on workerd, logs in D1.
    CloudflareD1,
    /// The original server, 0.4.0.
    Original040,
    /// The original server, 0.3.1.
    Original031,
    /// A server that somebody else runs, at `SYNCLINE_URL`, in the open
    /// profile.
    Url,
}

impl Cell {
    /// Every cell that runs without being asked for.
    pub const ALL: [Self; 7] = [
        Self::WasmtimeMemory,
        Self::WasmtimeSqlite,
        Self::WasmtimeDrowsy,
        Self::CloudflareSqlite,
        Self::CloudflareD1,
        Self::Original040,
        Self::Original031,
    ];

    /// Its name, for `SYNCLINE_CELLS` and test names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WasmtimeMemory => "wasmtime-memory",
            Self::WasmtimeSqlite => "wasmtime-sqlite",
            Self::WasmtimeDrowsy => "wasmtime-drowsy",
            Self::CloudflareSqlite => "cloudflare-sqlite",
            Self::CloudflareD1 => "cloudflare-d1",
            Self::Original040 => "original-0.4.0",
            Self::Original031 => "original-0.3.1",
            Self::Url => "url",
        }
    }

    /// The cells to run: those of `SYNCLINE_CELLS` (comma-separated), or the
    /// one at `SYNCLINE_URL`, or all.
    ///
    /// # Errors
    /// When a name is unknown.
    pub fn selected() -> Result<Vec<Self>> {
        let Ok(names) = std::env::var("SYNCLINE_CELLS") else {
            return Ok(match std::env::var_os("SYNCLINE_URL") {
                Some(_) => vec![Self::Url],
                None => Self::ALL.to_vec(),
            });
        };
        names
            .split(',')
            .map(|name| {
                let cells = Self::ALL.into_iter().chain([Self::Url]);
                match cells.into_iter().find(|cell| cell.name() == name.trim()) {
                    Some(cell) => Ok(cell),
                    None => bail!("SYNCLINE_CELLS names no cell `{name}`"),
                }
            })
            .collect()
    }

    /// The cell's server with this profile, started when first asked for and
    /// shared by all scenarios until [`stop_all`].
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn server(self, profile: Profile) -> Result<Arc<Server>> {
        let slot = Arc::clone(lock(&SERVERS).entry((self, profile)).or_default());
        // Whoever comes second waits for the first to start it.
        let mut slot = lock(&slot);
        match &*slot {
            Some(server) => Ok(Arc::clone(server)),
            None => Ok(Arc::clone(slot.insert(Arc::new(self.start(profile)?)))),
        }
    }

    /// How the cell runs Syncline on wasmtime; `None` when it does not.
    #[must_use]
    pub fn syncline(self, profile: Profile) -> Option<Syncline> {
        let (storage, arguments): (_, &[&str]) = match self {
            Self::WasmtimeMemory => ("memory", &[]),
            Self::WasmtimeSqlite => ("sqlite:data", &[]),
            Self::WasmtimeDrowsy => ("sqlite:data", &["--room-idle", "0s"]),
            Self::CloudflareSqlite
            | Self::CloudflareD1
            | Self::Original040
            | Self::Original031
            | Self::Url => return None,
        };
        let mut syncline = Syncline::new(storage, profile);
        syncline.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        Some(syncline)
    }

    /// How the cell runs Syncline on workerd; `None` when it does not.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn worker(self, profile: Profile) -> Result<Option<Worker>> {
        let storage = match self {
            Self::CloudflareSqlite => Storage::ObjectSqlite,
            Self::CloudflareD1 => Storage::D1,
            _ => return Ok(None),
        };
        Worker::syncline(storage, profile).map(Some)
    }

    fn start(self, profile: Profile) -> Result<Server> {
        match self {
            Self::WasmtimeMemory | Self::WasmtimeSqlite | Self::WasmtimeDrowsy => {
                let syncline = self.syncline(profile).context("a Syncline")?;
                match profile {
                    Profile::Open | Profile::Paced => syncline.start(),
                    Profile::Auth => syncline.start_with_claims(),
                }
            }
            Self::CloudflareSqlite | Self::CloudflareD1 => {
                let worker = self.worker(profile)?.context("a Worker")?;
                match profile {
                    Profile::Open | Profile::Paced => worker.start(),
                    Profile::Auth => worker.start_with_claims(),
                }
            }
            Self::Original040 => start_original(LiveStore::V040),
            Self::Original031 => start_original(LiveStore::V031),
            Self::Url => Ok(Server {
                url: std::env::var("SYNCLINE_URL")?
                    .trim_end_matches('/')
                    .to_owned(),
                process: None,
                dir: None,
                is_original: false,
            }),
        }
    }
}

fn start_original(version: LiveStore) -> Result<Server> {
    Ok(Server {
        is_original: true,
        ..Worker::original(version)?.start()?
    })
}

type Slot = Arc<Mutex<Option<Arc<Server>>>>;

static SERVERS: Mutex<BTreeMap<(Cell, Profile), Slot>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A scenario that panicked while a server started leaves no half of one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every server that was started.
pub fn stop_all() {
    lock(&SERVERS).clear();
}
