//! The registry of servers that the bench starts itself.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Serialize, Serializer};
use syncline_tests::collector::{Collector, Manner};
use syncline_tests::npm;
use syncline_tests::process::Process;
use syncline_tests::profile::Profile;
use syncline_tests::server::{LiveStore, Syncline};
use tempfile::TempDir;

use crate::workerd::{Bundle, Worker};

/// How long a room that is not asked anything keeps its memory: what workerd
/// does by itself, and what `syncline` is told, whose default is a minute.
pub const ROOM_IDLE: Duration = Duration::from_secs(10);

/// Logs in files.
const SQLITE: &str = "sqlite:data";

/// A server that the bench can start. clap refuses every other name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Known {
    /// `@livestore/sync-cf` 0.4.0, which Syncline replaces, under workerd.
    #[value(name = "original-0.4.0-workerd")]
    Original040Workerd,
    /// Syncline's Worker under workerd, its logs in Durable Objects.
    CloudflareSqlite,
    /// Syncline's binary, its logs in SQLite files.
    WasmtimeSqlite,
    /// The same, with metrics.
    WasmtimeSqliteMetrics,
    /// The same, and of a hundred requests one is traced, to a collector.
    WasmtimeSqliteTraces,
    /// Syncline's binary, its logs in memory.
    WasmtimeMemory,
}

/// What a server tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tells {
    /// Nothing.
    Nothing,
    /// Metrics.
    Metrics,
    /// Metrics, and traces of one request in a hundred.
    Traces,
}

/// What a success means for what was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut.
    Disk,
    /// It survives the process.
    OperatingSystem,
    /// It is gone with the process.
    None,
    /// Somebody else's server.
    Unknown,
}

impl Durability {
    /// For reports.
    pub fn words(self) -> &'static str {
        match self {
            Self::Disk => {
                "on the disk: SQLite in WAL mode with synchronous=FULL, fsync before the answer"
            }
            Self::OperatingSystem => {
                "with the operating system: workerd's local SQLite does not wait for the disk, so \
                 that a power cut may lose it"
            }
            Self::None => "in the process's memory and nowhere else",
            Self::Unknown => "as durable as its operator knows",
        }
    }
}

impl Serialize for Durability {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.words())
    }
}

/// A server that can be started, again and again.
pub enum Startable {
    /// Syncline's binary with this `--storage`.
    Syncline(&'static str, Tells),
    /// A Worker.
    Worker(Box<Bundle>),
}

/// A running server, stopped when dropped.
pub struct Running {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    // Dropped in this order: the process before what it writes to.
    _process: Process,
    _dir: TempDir,
    _collector: Option<Collector>,
}

impl Running {
    /// A server that listens at `url` and keeps its data in `dir`.
    pub fn new(url: String, process: Process, dir: TempDir) -> Self {
        Self {
            url,
            _process: process,
            _dir: dir,
            _collector: None,
        }
    }
}

impl Known {
    /// Its name on the command line and in reports.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// What its successes mean.
    pub fn durability(self) -> Durability {
        match self {
            Self::Original040Workerd | Self::CloudflareSqlite => Durability::OperatingSystem,
            Self::WasmtimeSqlite | Self::WasmtimeSqliteMetrics | Self::WasmtimeSqliteTraces => {
                Durability::Disk
            }
            Self::WasmtimeMemory => Durability::None,
        }
    }

    /// Builds what is to be started.
    ///
    /// # Errors
    /// When it does not build.
    pub fn build(self) -> Result<Startable> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let worker = match self {
            Self::Original040Workerd => {
                let package = LiveStore::V040.package()?;
                Worker {
                    dir: package.to_owned(),
                    node_modules: package.join("node_modules"),
                    variables: &[],
                }
            }
            Self::CloudflareSqlite => {
                let package = root.join("host/cloudflare");
                npm::install(&package)?;
                Worker {
                    dir: root,
                    node_modules: package.join("node_modules"),
                    variables: &[
                        // Production, its default, would want tokens.
                        ("ENVIRONMENT", "development"),
                        // One client does here what many would.
                        ("CONNECTION_REQUESTS_PER_SECOND", "0"),
                    ],
                }
            }
            Self::WasmtimeSqlite => return Ok(Startable::Syncline(SQLITE, Tells::Nothing)),
            Self::WasmtimeSqliteMetrics => return Ok(Startable::Syncline(SQLITE, Tells::Metrics)),
            Self::WasmtimeSqliteTraces => return Ok(Startable::Syncline(SQLITE, Tells::Traces)),
            Self::WasmtimeMemory => return Ok(Startable::Syncline("memory", Tells::Nothing)),
        };
        Ok(Startable::Worker(Box::new(worker.bundle()?)))
    }
}

impl Startable {
    /// Starts it, with fresh state.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(&self) -> Result<Running> {
        match self {
            Self::Syncline(storage, tells) => syncline(storage, *tells),
            Self::Worker(bundle) => bundle.start(),
        }
    }
}

/// The release build: the bench is one itself, and what the tests share
/// builds the binary as itself was built.
fn syncline(storage: &str, tells: Tells) -> Result<Running> {
    let dir = tempfile::tempdir()?;
    let mut syncline = Syncline::new(storage, Profile::Open);
    if tells != Tells::Nothing {
        syncline.arguments.push("--metrics".to_owned());
    }
    let collector = (tells == Tells::Traces).then(|| Collector::start(Manner::Takes));
    if let Some(collector) = &collector {
        let endpoint = format!("{}/v1/traces", collector.url);
        syncline.variables.extend([
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01".to_owned()),
        ]);
    }
    syncline.arguments.extend([
        "--room-idle".to_owned(),
        format!("{}s", ROOM_IDLE.as_secs()),
        // One client does here what many would.
        "--connection-requests-per-second".to_owned(),
        "0".to_owned(),
    ]);
    let (process, url) = syncline.serve(dir.path(), "127.0.0.1:0")?;
    Ok(Running {
        _collector: collector,
        ..Running::new(url, process, dir)
    })
}
