//! Servers in workerd, under `wrangler dev`: Syncline's Worker, and the
//! original ones.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
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
    /// The file that all it writes is appended to, if a test wants to read it.
    pub log: Option<PathBuf>,
}

impl Worker {
    /// Syncline's: what `npx wrangler deploy` would deploy.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn syncline(storage: Storage, profile: Profile) -> Result<Self> {
        let mut variables: Vec<(String, String)> = profile
            .variables()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        variables.push(("STORAGE".to_owned(), storage.name().to_owned()));
        Ok(Self {
            directory: bundled()?.to_owned(),
            package: package(),
            configs: Vec::new(),
            variables,
            log: None,
        })
    }

    /// The same with all services: images, quotas, and an app's files in
    /// `assets`. Its configuration is written to `scratch`.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn syncline_with_services(
        storage: Storage,
        variables: &[(&str, String)],
        assets: &Path,
        scratch: &Path,
    ) -> Result<Self> {
        let config = scratch.join("wrangler.toml");
        write_deployment(&bundled()?.join("wrangler.toml"), assets, &config)?;
        let mut worker = Self::syncline(storage, Profile::Open)?;
        let storage = ("STORAGE", storage.name().to_owned());
        worker.variables = variables
            .iter()
            .chain([&storage])
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        worker.configs = vec![config];
        Ok(worker)
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
            log: None,
        })
    }

    /// LiveStore clients in Durable Objects of their own, and Syncline's as
    /// the worker that they sync with (`tests/node/do-rpc`).
    ///
    /// # Errors
    /// When it cannot be built, or packages cannot be installed.
    pub fn syncline_with_clients(storage: Storage) -> Result<Self> {
        let folder = bundled()?;
        let config = folder.join(format!("clients-{}.toml", storage.name()));
        let text = fs::read_to_string(folder.join("wrangler.toml"))?;
        write_once(&config, &clients_config(&text, storage))?;
        Self::with_clients("wrangler.syncline.toml", config)
    }

    /// The same clients, with the original 0.4.0.
    ///
    /// # Errors
    /// When packages cannot be installed.
    pub fn original_with_clients() -> Result<Self> {
        let config = clients_package().join("wrangler.original.toml");
        Self::with_clients("wrangler.client.toml", config)
    }

    fn with_clients(clients: &str, server: PathBuf) -> Result<Self> {
        let package = clients_package();
        npm::install(&package)?;
        Ok(Self {
            directory: package.clone(),
            // The first is the one that answers on the port.
            configs: vec![package.join(clients), server],
            package,
            variables: Vec::new(),
            log: None,
        })
    }

    /// Starts it with its state in `state`, which is somebody else's to keep.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_in(&self, state: &Path) -> Result<Server> {
        self.start_on(free_port()?, state)
    }

    /// The same, on a port that its clients know.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_on(&self, port: u16, state: &Path) -> Result<Server> {
        let variables = state.join("variables.env");
        let lines = self
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={}\n", quoted(value)));
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
        let mut process = match &self.log {
            Some(log) => Process::start_logged(command, log)?,
            None => Process::start(command)?,
        };
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

    fn wrangler(&self, state: &Path) -> Command {
        let mut command = wrangler(&self.package, state);
        command.current_dir(&self.directory);
        command
    }
}

/// Syncline's Worker, built and bundled once: the folder of a `wrangler.toml`
/// that runs the bundle. `wrangler dev` on the repository itself would build
/// again whenever a source file is touched, and drop every socket.
fn bundled() -> Result<&'static Path> {
    static BUNDLED: Mutex<Option<&'static Path>> = Mutex::new(None);
    // Whoever comes second waits for the first.
    let mut bundled = BUNDLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = *bundled {
        return Ok(folder);
    }
    npm::install(&package())?;
    let scratch = tempfile::tempdir()?;
    let out = scratch.path().join("out");
    let mut bundle = wrangler(&package(), scratch.path());
    bundle
        .current_dir(root())
        .args(["deploy", "--dry-run", "--outdir"])
        .arg(&out);
    let output = bundle
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()?;
    if !output.status.success() {
        bail!(
            "`npx wrangler deploy --dry-run` fails:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // Named by what it holds, and never written again: other test processes
    // may be watching it.
    let mut hasher = DefaultHasher::new();
    let mut files = Vec::new();
    for entry in fs::read_dir(&out)? {
        files.push(entry?.path());
    }
    files.sort();
    for file in &files {
        fs::read(file)?.hash(&mut hasher);
    }
    let config = bundle_config(&fs::read_to_string(root().join("wrangler.toml"))?);
    config.hash(&mut hasher);
    let folder = std::env::current_exe()?
        .parent()
        .context("the test binary is not where cargo puts it")?
        .join(format!("../worker/{:016x}", hasher.finish()));
    if !folder.join("wrangler.toml").exists() {
        fs::create_dir_all(folder.join("out"))?;
        for file in &files {
            let name = file.file_name().context("a file has a name")?;
            fs::copy(file, folder.join("out").join(name))?;
        }
        fs::write(folder.join("wrangler.toml"), config)?;
    }
    Ok(bundled.insert(Box::leak(folder.into_boxed_path())))
}

/// The repository's configuration, for a bundle that is made.
fn bundle_config(config: &str) -> String {
    let mut is_build = false;
    let mut text = "no_bundle = true\n".to_owned();
    for line in config.lines() {
        if line.starts_with('[') {
            is_build = line == "[build]";
        }
        if line.starts_with("main = ") {
            text.push_str("main = \"out/worker.js\"");
        } else if !is_build {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// Writes a configuration with its services on, as they are deployed: the
/// stanzas that it ships commented out, with this directory as the app's.
fn write_deployment(config: &Path, assets: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("node");
    command
        .arg(package().join("deploy.mjs"))
        .args(["--images", "--assets"])
        .arg(assets)
        .arg("--from")
        .arg(config)
        .arg("--write")
        .arg(to);
    let output = command.output().context("node is needed for this test")?;
    if !output.status.success() {
        bail!(
            "deploy.mjs fails: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// A variable's value, for `--env-file`.
fn quoted(value: &str) -> String {
    if value.contains(['"', '#', ' ']) {
        format!("'{value}'")
    } else {
        value.to_owned()
    }
}

/// A bundle's configuration, for one that clients in Durable Objects call.
/// Of the two names beside theirs, one is of no binding and one of no objects.
fn clients_config(config: &str, storage: Storage) -> String {
    let mut text = String::new();
    for line in config.lines() {
        match line.split_once(" = ").map(|(name, _)| name) {
            Some("ENVIRONMENT") => text.push_str("ENVIRONMENT = \"development\""),
            Some("STORAGE") => text.push_str(&format!("STORAGE = \"{}\"", storage.name())),
            Some("DO_RPC_CLIENTS") => {
                text.push_str("DO_RPC_CLIENTS = \"CLIENT, UNBOUND, WORKSPACE_CLAIMS_VERSION\"");
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text.push_str(
        "\n[[durable_objects.bindings]]\nname = \"CLIENT\"\n\
         class_name = \"ClientObject\"\nscript_name = \"client\"\n",
    );
    text
}

/// Writes a file that may be there already, and be in use: the same text.
fn write_once(path: &Path, text: &str) -> Result<()> {
    // One at a time: scenarios start their servers side by side.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&fresh, text)?;
    fs::rename(fresh, path)?;
    Ok(())
}

/// The package of the clients in Durable Objects.
fn clients_package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node/do-rpc")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The package of Syncline's Worker.
fn package() -> PathBuf {
    root().join("host/cloudflare")
}

/// A wrangler that talks to nobody.
fn wrangler(package: &Path, state: &Path) -> Command {
    let mut command = Command::new(package.join("node_modules/.bin/wrangler"));
    command
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

fn keeping(server: Server, dir: TempDir) -> Server {
    Server {
        dir: Some(dir),
        ..server
    }
}

/// A port that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
