//! The servers that serve the app: one a host, shared by its scenarios. Those
//! that kill it have it for themselves.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};

use anyhow::{Context, Result};
use serde_json::json;
use syncline_tests::cell::Cell;
use syncline_tests::profile::JWT_SECRET;
use syncline_tests::server::{Server, Syncline};
use syncline_tests::upstream::Upstream;
use syncline_tests::workerd::{Storage, Worker, free_port};
use syncline_tests::{npm, process::Process};
use tempfile::TempDir;

/// A server at an address of its own, whatever becomes of its process.
pub struct Site {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The server of the LLM.
    pub upstream: Upstream,
    port: u16,
    run: Run,
    running: Option<Process>,
    dir: TempDir,
}

/// How its server is started.
enum Run {
    Wasmtime(Syncline),
    Workerd(Worker),
}

impl Site {
    fn start(cell: Cell) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let app = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("app");
        let assets = npm::build(&app)?;
        let upstream = Upstream::start()?;
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let add_todo = json!([{"type": "function", "function": {
            "name": "add_todo",
            "description": "Adds a todo to the list that the user sees.",
            "parameters": {
                "type": "object",
                "properties": {"title": {"type": "string"}},
                "required": ["title"],
            },
        }}]);
        let variables = vec![
            ("ENVIRONMENT", "production".to_owned()),
            ("JWT_SECRET", JWT_SECRET.to_owned()),
            ("R2_PUBLIC_URL", format!("{url}/api/images")),
            ("LLM_BASE_URL", upstream.url()),
            ("LLM_API_KEY", "the-key-of-the-upstream".to_owned()),
            ("LLM_MODELS", "test-model".to_owned()),
            ("LLM_TOOLS", add_todo.to_string()),
        ];
        let run = match cell {
            Cell::WasmtimeSqlite => Run::Wasmtime(Syncline {
                storage: "sqlite:data".to_owned(),
                arguments: vec![
                    "--images".to_owned(),
                    "images".to_owned(),
                    "--assets".to_owned(),
                    assets.to_string_lossy().into_owned(),
                ],
                variables,
                log: Some(dir.path().join("log")),
            }),
            _ => {
                let storage = Storage::ObjectSqlite;
                let mut worker =
                    Worker::syncline_with_services(storage, &variables, &assets, dir.path())?;
                worker.log = Some(dir.path().join("log"));
                Run::Workerd(worker)
            }
        };
        let mut site = Self {
            url,
            upstream,
            port,
            run,
            running: None,
            dir,
        };
        site.serve()?;
        Ok(site)
    }

    /// Starts the server, if it does not run.
    pub fn serve(&mut self) -> Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let state = self.dir.path().join("state");
        fs::create_dir_all(&state)?;
        self.running = match &self.run {
            Run::Wasmtime(syncline) => {
                let address = format!("127.0.0.1:{}", self.port);
                Some(syncline.serve(&state, &address)?.0)
            }
            Run::Workerd(worker) => {
                let Server { process, .. } = worker.start_on(self.port, &state)?;
                process
            }
        };
        Ok(())
    }

    /// Kills the server.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.running.take().context("the server runs")?;
        process.kill_group()
    }

    /// Starts the server again with another log: nothing is left of the last.
    pub fn reset(&mut self) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(self.dir.path().join("state"))?;
        self.serve()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

/// Where a host's server is, once it was started.
pub struct Place {
    cell: Cell,
    site: RwLock<Option<Site>>,
}

impl Place {
    /// Nothing runs yet.
    pub fn new(cell: Cell) -> Self {
        Self {
            cell,
            site: RwLock::default(),
        }
    }

    /// Does something with the server, beside others.
    pub fn with<T>(&self, act: impl FnOnce(&Site) -> Result<T>) -> Result<T> {
        self.ready()?;
        let site = self.site.read().unwrap_or_else(PoisonError::into_inner);
        act(site.as_ref().context("a server")?)
    }

    /// The same, alone; afterwards it runs.
    pub fn with_alone<T>(&self, act: impl FnOnce(&mut Site) -> Result<T>) -> Result<T> {
        self.ready()?;
        let mut site = self.site.write().unwrap_or_else(PoisonError::into_inner);
        let site = site.as_mut().context("a server")?;
        let done = act(site);
        site.serve()?;
        done
    }

    fn ready(&self) -> Result<()> {
        // One at a time: the first builds what all use.
        static STARTING: Mutex<()> = Mutex::new(());
        let is_there = || {
            let site = self.site.read().unwrap_or_else(PoisonError::into_inner);
            site.is_some()
        };
        if is_there() {
            return Ok(());
        }
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_there() {
            let started = Site::start(self.cell)?;
            *self.site.write().unwrap_or_else(PoisonError::into_inner) = Some(started);
        }
        Ok(())
    }

    /// Ends the server.
    pub fn stop(&self) {
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
