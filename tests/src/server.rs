//! Servers under test: Syncline's binary, and the original workers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::npm;
use crate::process::Process;
use crate::profile::{Profile, REVOKED_USER, REVOKED_VERSION};

/// How long a server may take to get ready. wrangler bundles first.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// How long it may take to stop: it is there so that one that does not is a
/// failure.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// What a server under test has of the environment beside its own variables.
const KEPT_VARIABLES: [&str; 4] = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE"];

/// A running server.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The process; `None` when somebody else runs it.
    pub process: Option<Process>,
    /// Its working directory, with its data.
    pub dir: Option<TempDir>,
    /// Whether it is one of those that Syncline replaces.
    pub is_original: bool,
}

impl Server {
    /// Stops it as an operator does, with SIGTERM, which SQLite leaves nothing
    /// beside its files after; how long it took.
    ///
    /// # Panics
    /// When it does not end well, or somebody else runs it.
    pub fn stop(mut self) -> Duration {
        let begun = Instant::now();
        let process = self.process.as_mut().expect("a process of ours");
        process.signal("TERM");
        let status = process.wait(STOP_TIMEOUT).expect("it ends");
        assert!(status.success(), "{status}");
        begun.elapsed()
    }
}

/// How to run Syncline.
#[derive(Debug, Clone)]
pub struct Syncline {
    /// `--storage`.
    pub storage: String,
    /// More arguments.
    pub arguments: Vec<String>,
    /// The environment: nothing else of Syncline's is set.
    pub variables: Vec<(&'static str, String)>,
    /// The file that its log is appended to, if a test wants to read it.
    pub log: Option<PathBuf>,
}

impl Syncline {
    /// With this storage and profile.
    #[must_use]
    pub fn new(storage: &str, profile: Profile) -> Self {
        Self {
            storage: storage.to_owned(),
            arguments: Vec::new(),
            variables: profile.variables(),
            log: None,
        }
    }

    /// With its logs in memory, and these variables.
    #[must_use]
    pub fn with_variables(variables: &[(&'static str, &str)]) -> Self {
        let variables = variables.iter();
        Self {
            variables: variables
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            ..Self::new("memory", Profile::Open)
        }
    }

    /// Runs a command that ends by itself, in `dir`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, dir: &Path, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(dir)?.args(arguments).output()?)
    }

    /// A command for the binary, with a clean environment.
    ///
    /// # Errors
    /// When the binary cannot be built.
    pub fn command(&self, dir: &Path) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.current_dir(dir);
        // What the person who runs the tests has set is not under test.
        let kept = KEPT_VARIABLES.map(|name| (name, std::env::var_os(name)));
        command.env_clear();
        for (name, value) in kept {
            command.envs(value.map(|value| (name, value)));
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Starts `syncline serve` in `dir`, listening on `address`.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn serve(&self, dir: &Path, address: &str) -> Result<(Process, String)> {
        let mut command = self.command(dir)?;
        command
            .args(["serve", "--listen", address, "--storage", &self.storage])
            .args(&self.arguments);
        if let Some(log) = &self.log {
            // As a person reads it; one who wants to may say otherwise.
            if !self.arguments.iter().any(|it| it == "--log-format") {
                command.args(["--log-format", "text"]);
            }
            command.stderr(File::options().create(true).append(true).open(log)?);
        } else if std::env::var_os("SYNCLINE_TEST_VERBOSE").is_none() {
            command.stderr(Stdio::null());
        }
        let mut process = Process::start(command)?;
        let url = process.wait_for(READY_TIMEOUT, |line| {
            let (_, rest) = line.split_once("listens on ")?;
            Some(rest.split(' ').next()?.to_owned())
        })?;
        Ok((process, url))
    }

    /// Starts it in `dir`, which is somebody else's to keep.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_in(&self, dir: &Path) -> Result<Server> {
        let (process, url) = self.serve(dir, "127.0.0.1:0")?;
        Ok(Server {
            url,
            process: Some(process),
            dir: None,
            is_original: false,
        })
    }

    /// Starts it in a directory of its own.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(&self) -> Result<Server> {
        let dir = tempfile::tempdir()?;
        let server = self.start_in(dir.path())?;
        Ok(Server {
            dir: Some(dir),
            ..server
        })
    }

    /// The same with a claims file that [`REVOKED_USER`] stands in.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_with_claims(mut self) -> Result<Server> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("claims.json");
        let key = format!("workspace-claims-version:{REVOKED_USER}");
        fs::write(
            &file,
            serde_json::json!({ key: REVOKED_VERSION }).to_string(),
        )?;
        self.arguments
            .extend(["--claims-versions".to_owned(), "claims.json".to_owned()]);
        let server = self.start_in(dir.path())?;
        Ok(Server {
            dir: Some(dir),
            ..server
        })
    }
}

/// A LiveStore version, whose client and original server npm has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveStore {
    /// 0.4.0.
    V040,
    /// 0.3.1.
    V031,
}

impl LiveStore {
    /// Its npm package under `tests/node`, installed from the lock file if
    /// need be.
    ///
    /// # Errors
    /// When npm or Node is missing or fails.
    pub fn package(self) -> Result<&'static Path> {
        static INSTALLED: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
        let (slot, name) = match self {
            Self::V040 => (&INSTALLED[0], "livestore-0.4.0"),
            Self::V031 => (&INSTALLED[1], "livestore-0.3.1"),
        };
        if let Some(dir) = slot.get() {
            return Ok(dir);
        }
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("node")
            .join(name);
        npm::install(&dir)?;
        Ok(slot.get_or_init(|| dir))
    }
}

/// The binary under test, built if it is not up to date.
///
/// # Errors
/// When it does not build.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(binary) = BINARY.get() {
        return Ok(binary);
    }
    // target/PROFILE/deps/TEST is this; target/PROFILE/syncline is that.
    let test = std::env::current_exe()?;
    let profile_dir = test
        .parent()
        .and_then(Path::parent)
        .context("the test binary is not where cargo puts it")?;
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "syncline"]);
    if profile_dir.ends_with("release") {
        build.arg("--release");
    }
    // What cargo tells this test of itself: `ring` would be built anew for it,
    // and for the next `cargo test` again.
    for (name, _) in std::env::vars_os() {
        let is_of_test = |start: &&str| name.to_string_lossy().starts_with(start);
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(is_of_test) {
            build.env_remove(name);
        }
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
    if !status.success() {
        bail!("syncline does not build");
    }
    let binary = profile_dir.join("syncline");
    Ok(BINARY.get_or_init(|| binary))
}
