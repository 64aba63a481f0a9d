//! The servers that the services' scenarios run against: one a host and
//! profile, started when first asked for and shared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Result, bail};
use serde_json::json;
use syncline_tests::cell::Cell;
use syncline_tests::exchange::{Answer, Ask, Exchange};
use syncline_tests::profile::{BYPASS_TOKEN, JWT_SECRET, REVOKED_USER, REVOKED_VERSION};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::upstream::Upstream;
use syncline_tests::workerd::{Storage, Worker};
use tempfile::TempDir;

use crate::app_files;
use crate::callers::User;

/// The upstream's key: what no client may see, and no log.
pub const CANARY_KEY: &str = "sk-canary-4f1d9c7e2b8a6035";

/// What else no client may see, and no log.
pub const SECRETS: [&str; 3] = [CANARY_KEY, JWT_SECRET, BYPASS_TOKEN];

/// `LLM_MODELS` of [`Profile::Tokens`]: the first is the default.
pub const MODELS: [&str; 2] = ["test-model", "other-model"];

/// `LLM_SYSTEM_PROMPT` of [`Profile::Tokens`].
pub const SYSTEM_PROMPT: &str = "You are the assistant of the tests.";

/// The name of the tool in `LLM_TOOLS` of [`Profile::Tokens`].
pub const TOOL: &str = "create_task";

/// `LLM_REQUESTS_PER_MINUTE` of [`Profile::Tokens`].
pub const REQUESTS_PER_MINUTE: usize = 20;

/// `LLM_TOKENS_PER_DAY` of [`Profile::Tokens`].
pub const TOKENS_PER_DAY: u64 = 10_000;

/// `LLM_STREAMS_MAX` of [`Profile::Tokens`].
pub const STREAMS_MAX: usize = 3;

/// `R2_PUBLIC_URL` of [`Profile::Tokens`].
pub const IMAGES_URL: &str = "https://images.example.com/bucket";

/// `ALLOWED_ORIGINS`.
pub const ORIGIN: &str = "https://app.example.com";

/// An upstream that falls silent is given up after so many milliseconds by
/// [`Profile::Open`]. Real ones think longer.
const SILENCE_MS: u32 = 5_000;

/// A host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// wasmtime.
    Wasmtime,
    /// workerd, under `wrangler dev`.
    Workerd,
}

impl Host {
    /// The host of a cell, of those that the services are tested in: where
    /// logs are kept is nothing to them.
    pub fn of(cell: Cell) -> Option<Self> {
        match cell {
            Cell::WasmtimeSqlite => Some(Self::Wasmtime),
            Cell::CloudflareSqlite => Some(Self::Workerd),
            _ => None,
        }
    }

    /// Calls of the LLM proxy that it has places for (`RELAYS_MAX`).
    pub fn relays_max(self) -> usize {
        match self {
            Self::Wasmtime => 256,
            Self::Workerd => 100,
        }
    }

    /// Starts a server with these variables, its state in `dir`, which is
    /// somebody else's to keep; all that it logs is in `dir/log`.
    pub fn start(self, variables: &[(&'static str, String)], dir: &Path) -> Result<Server> {
        let log = Some(dir.join("log"));
        let claims = format!("workspace-claims-version:{REVOKED_USER}");
        match self {
            Self::Wasmtime => {
                let file = dir.join("claims.json");
                fs::write(&file, json!({ claims: REVOKED_VERSION }).to_string())?;
                let assets = app_files::directory(self)?;
                let assets = assets.to_string_lossy().into_owned();
                let arguments = ["--images", "images", "--assets", &assets];
                let arguments = arguments
                    .iter()
                    .chain(&["--claims-versions", "claims.json"]);
                let syncline = Syncline {
                    storage: "sqlite:data".to_owned(),
                    arguments: arguments.map(|it| (*it).to_owned()).collect(),
                    variables: variables.to_vec(),
                    log,
                };
                syncline.start_in(dir)
            }
            Self::Workerd => {
                let assets = app_files::directory(self)?;
                let storage = Storage::ObjectSqlite;
                let mut worker = Worker::syncline_with_services(storage, variables, assets, dir)?;
                worker.put_claim(dir, &claims, &REVOKED_VERSION.to_string())?;
                worker.log = log;
                worker.start_in(dir)
            }
        }
    }
}

/// How a server is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Production: tokens are required, and everything has a limit.
    Tokens,
    /// Development: no tokens, any model, and short patience with the
    /// upstream.
    Open,
}

impl Profile {
    /// The same, with another value of one of them.
    pub fn variables_but(
        self,
        upstream: &str,
        name: &str,
        value: &str,
    ) -> Vec<(&'static str, String)> {
        let mut variables = self.variables(upstream);
        let mut found = variables.iter_mut().filter(|(it, _)| *it == name);
        found.next().expect("it is one of them").1 = value.to_owned();
        variables
    }

    /// The environment variables, with this upstream.
    pub fn variables(self, upstream: &str) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("LLM_BASE_URL", upstream.to_owned()),
            ("LLM_API_KEY", CANARY_KEY.to_owned()),
            ("ALLOWED_ORIGINS", ORIGIN.to_owned()),
        ];
        match self {
            Self::Tokens => variables.extend([
                ("ENVIRONMENT", "production".to_owned()),
                ("JWT_SECRET", JWT_SECRET.to_owned()),
                ("SERVER_BYPASS_TOKEN", BYPASS_TOKEN.to_owned()),
                ("R2_PUBLIC_URL", IMAGES_URL.to_owned()),
                ("LLM_MODELS", MODELS.join(",")),
                ("LLM_SYSTEM_PROMPT", SYSTEM_PROMPT.to_owned()),
                (
                    "LLM_TOOLS",
                    json!([{
                        "type": "function",
                        "function": {"name": TOOL, "parameters": {"type": "object"}},
                    }])
                    .to_string(),
                ),
                ("LLM_REQUESTS_PER_MINUTE", REQUESTS_PER_MINUTE.to_string()),
                ("LLM_TOKENS_PER_DAY", TOKENS_PER_DAY.to_string()),
                ("LLM_STREAMS_MAX", STREAMS_MAX.to_string()),
            ]),
            Self::Open => variables.extend([
                ("ENVIRONMENT", "development".to_owned()),
                ("LLM_REQUESTS_PER_MINUTE", "0".to_owned()),
                ("LLM_TOKENS_PER_DAY", "0".to_owned()),
                ("LLM_STREAMS_MAX", "1000".to_owned()),
                ("LLM_HEAD_TIMEOUT_MS", SILENCE_MS.to_string()),
                ("LLM_IDLE_TIMEOUT_MS", SILENCE_MS.to_string()),
            ]),
        }
        variables
    }
}

/// The upstream of all servers.
pub fn upstream() -> &'static Upstream {
    static UPSTREAM: OnceLock<Upstream> = OnceLock::new();
    UPSTREAM.get_or_init(|| Upstream::start().expect("an upstream"))
}

/// A server, and what scenarios do with it.
pub struct Stage {
    /// Which host it runs on.
    pub host: Host,
    /// How it is configured.
    pub profile: Profile,
    /// The server.
    pub server: Server,
    dir: TempDir,
}

impl Stage {
    fn start(host: Host, profile: Profile) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        Ok(Self {
            host,
            profile,
            server: host.start(&profile.variables(&upstream().url()), dir.path())?,
            dir,
        })
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The directory with its state.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new user, with a token where they are required.
    pub fn user(&self, name: &str) -> User {
        User::new(name, self.profile == Profile::Tokens)
    }

    /// Sends a request.
    pub fn send(&self, ask: &Ask) -> Answer {
        seen(ask.send(&self.server.url))
    }

    /// Sends a request with a body.
    pub fn send_with(&self, ask: &Ask, body: impl Into<bytes::Bytes>) -> Answer {
        seen(ask.send_with(&self.server.url, body))
    }

    /// Sends a request with a body, and reads nothing yet.
    pub fn begin_with(&self, ask: &Ask, body: impl Into<bytes::Bytes>) -> Exchange {
        ask.begin_with(&self.server.url, body)
    }

    /// Sends a request's head.
    pub fn begin(&self, ask: &Ask) -> Exchange {
        ask.begin(&self.server.url)
    }

    /// GET.
    pub fn get(&self, path_and_query: &str) -> Answer {
        self.send(&Ask::get(path_and_query))
    }
}

/// No answer has a secret in it.
pub fn seen(answer: Answer) -> Answer {
    let all = format!("{:?} {}", answer.headers, answer.text());
    for secret in SECRETS {
        assert!(!all.contains(secret), "a secret is shown: {all}");
    }
    answer
}

type Slot = Arc<Mutex<Option<Arc<Stage>>>>;

static STAGES: Mutex<BTreeMap<(Host, Profile), Slot>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A host's server with this profile.
pub fn stage(host: Host, profile: Profile) -> Result<Arc<Stage>> {
    let slot = Arc::clone(lock(&STAGES).entry((host, profile)).or_default());
    // Whoever comes second waits for the first to start it.
    let mut slot = lock(&slot);
    match &*slot {
        Some(stage) => Ok(Arc::clone(stage)),
        None => Ok(Arc::clone(
            slot.insert(Arc::new(Stage::start(host, profile)?)),
        )),
    }
}

/// Ends every server.
///
/// # Errors
/// When one has logged a secret, or anything was sent where it must not be.
pub fn stop_all() -> Result<()> {
    let stages = std::mem::take(&mut *lock(&STAGES));
    if stages.is_empty() {
        return Ok(());
    }
    let mut logs: Vec<PathBuf> = Vec::new();
    for stage in stages.into_values().filter_map(|slot| lock(&slot).take()) {
        let log = stage.log();
        logs.push(stage.dir.path().join("log"));
        for secret in SECRETS {
            if let Some(line) = log.lines().find(|line| line.contains(secret)) {
                bail!("{:?} has logged a secret: {line}", stage.host);
            }
        }
    }
    let trapped = upstream().trapped();
    if !trapped.is_empty() {
        bail!("a server was called that nobody may call: {trapped:?}");
    }
    Ok(())
}
