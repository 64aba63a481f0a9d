//! Servers in workerd, under `wrangler dev`: Syncline's Worker, and the
//! original ones.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::npm;
use crate::process::Process;
use crate::profile::{Profile, REVOKED_USER, REVOKED_VERSION};
use crate::server::{LiveStore, Server};

/// How long wrangler may take: it bundles first, and Syncline's own Worker is
/// built before.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// Where a Worker keeps its logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Each in its Durable Object.
    ObjectSqlite,
    /// All in one D1 database.
    D1,
}

impl Storage {
    /// As `STORAGE` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ObjectSqlite => "do-sqlite",
            Self::D1 => "d1",
        }
    }
}

/// A Worker to be run: a wrangler of some package, and a configuration.
#[derive(Debug, Clone)]
pub struct Worker {
    /// The package whose wrangler runs it.
    pub package: PathBuf,
    /// Where wrangler is started.
    pub directory: PathBuf,
    /// `--config`, if it is not the directory's `wrangler.toml`.
    pub configs: Vec<PathBuf>,
    /// Variables and secrets, instead of `.dev.vars`.
    pub variables: Vec<(String, String)>,
}

impl Worker {
    /// Syncline's, from the repository's root.
    ///
    /// # Errors
    /// When its packages cannot be installed.
    pub fn syncline(storage: Storage, profile: Profile) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut variables: Vec<(String, String)> = profile
            .variables()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        variables.push(("STORAGE".to_owned(), storage.name().to_owned()));
        Ok(Self {
            package: built()?.to_owned(),
            directory: root,
            configs: Vec::new(),
            variables,
        })
    }

    /// An original one.
    ///
    /// # Errors
    /// When its packages cannot be installed.
    pub fn original(version: LiveStore) -> Result<Self> {
        let package = version.package()?.to_owned();
        Ok(Self {
            directory: package.clone(),
            package,
            configs: Vec::new(),
            variables: Vec::new(),
        })
    }

    /// Starts it with its state in `state`, which is somebody else's to keep.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_in(&self, state: &Path) -> Result<Server> {
        let port = free_port()?;
        let variables = state.join("variables.env");
        let lines = self
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        fs::write(&variables, lines.collect::<String>())?;
        let mut command = self.wrangler(state);
        command
            .args([
                "dev",
                "--local",
                "--ip",
                "127.0.0.1",
                "--inspector-port",
                "0",
            ])
            .args(["--port", &port.to_string()])
            .arg("--persist-to")
            .arg(state)
            .arg("--env-file")
            .arg(&variables)
            .arg("--show-interactive-dev-session=false");
        for config in &self.configs {
            command.arg("--config").arg(config);
        }
        let mut process = Process::start(command)?;
        process.wait_for(READY_TIMEOUT, |line| {
            line.contains("Ready on").then_some(())
        })?;
        Ok(Server {
            url: format!("http://127.0.0.1:{port}"),
            process: Some(process),
            dir: None,
            is_original: false,
        })
    }

    /// Starts it with a state of its own.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(&self) -> Result<Server> {
        let dir = tempfile::tempdir()?;
        let server = self.start_in(dir.path())?;
        Ok(keeping(server, dir))
    }

    /// The same, with a claims version in KV that [`REVOKED_USER`] stands at.
    ///
    /// # Errors
    /// When KV cannot be written, or it does not get ready.
    pub fn start_with_claims(&self) -> Result<Server> {
        let dir = tempfile::tempdir()?;
        let key = format!("workspace-claims-version:{REVOKED_USER}");
        self.put_claim(dir.path(), &key, &REVOKED_VERSION.to_string())?;
        let server = self.start_in(dir.path())?;
        Ok(keeping(server, dir))
    }

    /// Writes a key of `WORKSPACE_CLAIMS_VERSION`, while the Worker is stopped.
    ///
    /// # Errors
    /// When wrangler fails.
    pub fn put_claim(&self, state: &Path, key: &str, value: &str) -> Result<()> {
        let mut command = self.wrangler(state);
        command
            .args([
                "kv",
                "key",
                "put",
                "--local",
                "--binding",
                "WORKSPACE_CLAIMS_VERSION",
            ])
            .arg("--persist-to")
            .arg(state)
            .args([key, value])
            .stdout(Stdio::null());
        if !command.status()?.success() {
            bail!("wrangler kv key put failed");
        }
        Ok(())
    }

    /// A wrangler that talks to nobody.
    fn wrangler(&self, state: &Path) -> Command {
        let mut command = Command::new(self.package.join("node_modules/.bin/wrangler"));
        command
            .current_dir(&self.directory)
            .env("CI", "1")
            .env("WRANGLER_SEND_METRICS", "false")
            .env("WRANGLER_HIDE_BANNER", "true")
            .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
            .env("WRANGLER_LOG_PATH", state.join("logs"))
            .env("WRANGLER_REGISTRY_PATH", state.join("registry"))
            .stdin(Stdio::null());
        if std::env::var_os("SYNCLINE_TEST_VERBOSE").is_none() {
            command.stderr(Stdio::null());
        }
        command
    }
}

/// The package of Syncline's Worker, built once: later builds, wrangler's
/// own, then find everything up to date, and wake no bundler that watches.
fn built() -> Result<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(package) = BUILT.get() {
        return Ok(package);
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/cloudflare");
    npm::install(&package)?;
    let status = Command::new("node")
        .arg(package.join("build.mjs"))
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("Syncline's Worker does not build");
    }
    Ok(BUILT.get_or_init(|| package))
}

fn keeping(server: Server, dir: TempDir) -> Server {
    Server {
        dir: Some(dir),
        ..server
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
