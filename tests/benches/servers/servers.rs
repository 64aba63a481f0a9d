//! The registry of servers that the bench starts itself.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use syncline_tests::npm;
use syncline_tests::process::Process;
use syncline_tests::profile::Profile;
use syncline_tests::server::{LiveStore, Syncline};
use tempfile::TempDir;

use crate::workerd::Worker;

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
    /// Syncline's binary, its logs in memory.
    WasmtimeMemory,
}

/// A running server, stopped when dropped.
pub struct Running {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    // Dropped in this order: the process before what it writes to.
    _process: Process,
    _dir: TempDir,
}

impl Running {
    /// A server that listens at `url` and keeps its data in `dir`.
    pub fn new(url: String, process: Process, dir: TempDir) -> Self {
        Self {
            url,
            _process: process,
            _dir: dir,
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

    /// Builds and starts it, with fresh state.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(self) -> Result<Running> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        match self {
            Self::Original040Workerd => {
                let package = LiveStore::V040.package()?;
                Worker {
                    dir: package.to_owned(),
                    node_modules: package.join("node_modules"),
                    variables: &[],
                }
                .start()
            }
            Self::CloudflareSqlite => {
                let package = root.join("host/cloudflare");
                npm::install(&package)?;
                Worker {
                    dir: root,
                    node_modules: package.join("node_modules"),
                    // Production, its default, would want tokens.
                    variables: &[("ENVIRONMENT", "development")],
                }
                .start()
            }
            Self::WasmtimeSqlite => syncline("sqlite:data"),
            Self::WasmtimeMemory => syncline("memory"),
        }
    }
}

/// The release build: the bench is one itself, and what the tests share
/// builds the binary as itself was built.
fn syncline(storage: &str) -> Result<Running> {
    let dir = tempfile::tempdir()?;
    let (process, url) = Syncline::new(storage, Profile::Open).serve(dir.path(), "127.0.0.1:0")?;
    Ok(Running::new(url, process, dir))
}
