//! Unmodified LiveStore clients, each a Node process that is driven by JSON
//! lines (`tests/node/README.md`) and killed when dropped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use syncline_tests::process::Process;
use syncline_tests::server::LiveStore;

use crate::next;

/// How long an answer may take before the test fails, starting up included.
/// Generous: it is there so that a missing answer is a failure and not a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A published client and how it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 0.4.0 with `makeWsSync`.
    Ws040,
    /// 0.4.0 with `makeHttpSync`, polling.
    Http040,
    /// 0.3.1 with `makeCfSync`.
    Ws031,
    /// Of LiveStore's main branch, with `makeWsSync`: in memory only.
    WsNext,
    /// The same with `makeHttpSync`.
    HttpNext,
}

impl Kind {
    /// Where its program is.
    fn package(self) -> anyhow::Result<&'static Path> {
        match self {
            Self::Ws040 | Self::Http040 => LiveStore::V040.package(),
            Self::Ws031 => LiveStore::V031.package(),
            Self::WsNext | Self::HttpNext => next::package(),
        }
    }

    /// Whether it goes on by itself when the server has been away.
    ///
    /// - 0.4.0 over HTTP stops polling at its first failed request.
    /// - Next opens a new socket, and pushes, but never pulls on it.
    /// - 0.3.1 opens a new socket, but never pulls on it, and never repeats a
    ///   push that was not answered.
    ///
    /// Those go on when they are started again on their stored state.
    pub fn reconnects(self) -> bool {
        self == Self::Ws040
    }

    fn transport(self) -> &'static str {
        match self {
            Self::Ws040 | Self::Ws031 | Self::WsNext => "ws",
            Self::Http040 | Self::HttpNext => "http",
        }
    }
}

/// How a client is started, and started again.
#[derive(Clone)]
pub struct Settings {
    pub kind: Kind,
    /// The server's, `http://…`.
    pub url: String,
    pub store: String,
    pub id: String,
    /// Where it keeps its state; in memory without.
    pub dir: Option<PathBuf>,
    pub payload: Option<Value>,
    /// Where its OpenTelemetry goes, and more of its standard variables;
    /// switched off without.
    pub telemetry: Vec<(&'static str, String)>,
}

/// What the clients of a store have committed: every event's name and the
/// `id` among its arguments.
pub type Committed = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A running client.
pub struct Client {
    pub settings: Settings,
    process: Process,
    stdin: ChildStdin,
    is_ready: bool,
    committed: Committed,
}

/// What a client says of itself.
#[derive(Debug)]
pub struct State {
    /// Todos in its database.
    pub todos: usize,
    /// Events not yet known to be in the server's log.
    pub pending: u64,
    /// The last event it has pulled.
    pub head: u64,
}

impl Client {
    /// Starts a client and does not wait for it: the first question does.
    pub fn start(settings: Settings, committed: Committed) -> Self {
        let mut process = spawn(&settings);
        Self {
            stdin: process.take_stdin().expect("stdin is piped"),
            process,
            settings,
            is_ready: false,
            committed,
        }
    }

    /// Waits until the store is up, connected or not.
    pub fn ready(&mut self) {
        if !self.is_ready {
            self.answer("ready");
            self.is_ready = true;
        }
    }

    /// Commits a todo.
    pub fn commit(&mut self, id: &str) {
        self.commit_all(vec![todo(id)]);
    }

    /// Commits events, in one commit. They are pushed in the background.
    ///
    /// 0.4.0 may double its own events, or interrupt its pull for good: when
    /// its leader takes in others' events while its session goes on
    /// committing, a later commit overtakes an earlier one
    /// (livestorejs/livestore#1530; against the original server, too). So, as
    /// long as others commit, scenarios have a client commit once and wait.
    pub fn commit_all(&mut self, events: Vec<Value>) {
        for event in &events {
            self.remember(&event["name"], &event["id"]);
        }
        self.ask(&json!({"do": "commit", "events": events}));
    }

    /// Commits a todo with a title of this length.
    pub fn commit_large(&mut self, id: &str, bytes: usize) {
        self.remember(&json!("TodoCreated"), &json!(id));
        self.ask(&json!({"do": "large", "id": id, "bytes": bytes}));
    }

    pub fn state(&mut self) -> State {
        let state = self.ask(&json!({"do": "state"}));
        State {
            todos: state["todos"].as_array().expect("todos").len(),
            pending: state["pending"].as_u64().expect("a count"),
            head: state["head"].as_u64().expect("a number"),
        }
    }

    /// Its event log.
    pub fn log(&mut self) -> Vec<Value> {
        let log = self.ask(&json!({"do": "log"}));
        log["events"].as_array().expect("events").clone()
    }

    /// Ends it as an app does, with what it has not pushed on its disk.
    pub fn stop(&mut self) {
        self.ask(&json!({"do": "shutdown"}));
        let status = self.process.wait(ANSWER_TIMEOUT).expect("it ends");
        assert!(status.success(), "{}: {status}", self.settings.id);
    }

    /// Waits until its store has shut down by itself, with its process.
    pub fn shuts_down(&mut self) {
        self.ready();
        let said = self
            .process
            .wait_for(ANSWER_TIMEOUT, |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                line["fatal"].as_str().map(str::to_owned)
            })
            .unwrap_or_else(|error| panic!("{} goes on: {error:#}", self.settings.id));
        assert!(said.starts_with("store shut down"), "{said}");
        self.process.wait(ANSWER_TIMEOUT).expect("it ends");
    }

    /// Starts it again on its stored state, after [`stop`](Self::stop) or
    /// [`shuts_down`](Self::shuts_down).
    pub fn start_again(&mut self) {
        assert!(self.settings.dir.is_some(), "it has stored nothing");
        self.process = spawn(&self.settings);
        self.stdin = self.process.take_stdin().expect("stdin is piped");
        self.is_ready = false;
    }

    fn ask(&mut self, question: &Value) -> Value {
        self.ready();
        writeln!(self.stdin, "{question}")
            .unwrap_or_else(|error| panic!("{} is gone: {error}", self.settings.id));
        self.answer(question["do"].as_str().expect("a command"))
    }

    fn answer(&mut self, ok: &str) -> Value {
        let answer = self
            .process
            .wait_for(ANSWER_TIMEOUT, |line| serde_json::from_str(line).ok());
        let answer: Value =
            answer.unwrap_or_else(|error| panic!("{}: no {ok}: {error:#}", self.settings.id));
        assert_eq!(answer["ok"], ok, "{}: {answer}", self.settings.id);
        answer
    }

    fn remember(&self, name: &Value, id: &Value) {
        let name = format!("v1.{}", name.as_str().expect("a name"));
        let id = id.as_str().map(str::to_owned);
        self.committed.lock().unwrap().push((name, id));
    }
}

/// The event that creates a todo.
pub fn todo(id: &str) -> Value {
    json!({"name": "TodoCreated", "id": id, "title": format!("todo {id}")})
}

/// Events that create todos.
pub fn todos(prefix: &str, count: usize) -> Vec<Value> {
    let ids = (0..count).map(|n| format!("{prefix}-{n}"));
    ids.map(|id| todo(&id)).collect()
}

fn spawn(settings: &Settings) -> Process {
    let package = settings.kind.package();
    let package = package.unwrap_or_else(|error| panic!("{error:#}"));
    let url = match settings.kind {
        Kind::Ws040 | Kind::Http040 | Kind::WsNext | Kind::HttpNext => settings.url.clone(),
        Kind::Ws031 => settings.url.replacen("http", "ws", 1),
    };
    let mut command = Command::new("node");
    command
        .current_dir(package)
        .arg("client.mjs")
        .args(["--transport", settings.kind.transport(), "--url", &url])
        .args(["--store", &settings.store, "--client", &settings.id])
        .args(["--poll-ms", "200"])
        .stdin(Stdio::piped());
    // What the person who runs the tests has set is not meant for it.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    let telemetry = settings.telemetry.iter();
    command.envs(telemetry.map(|(name, value)| (name, value)));
    if let Some(dir) = &settings.dir {
        command.arg("--dir").arg(dir);
    }
    if let Some(payload) = &settings.payload {
        command.arg("--payload").arg(payload.to_string());
    }
    if std::env::var_os("SYNCLINE_TEST_VERBOSE").is_none() {
        command.stderr(Stdio::null());
    }
    Process::start(command).unwrap_or_else(|error| panic!("{error:#}"))
}
