//! An app: the real 0.4.0 client, which keeps its state on disk and is
//! started again on it (`tests/node/README.md`).

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_tests::process::Process;
use syncline_tests::server::{LiveStore, Server};
use tempfile::TempDir;

use crate::tap::Tap;

/// How long an answer may take before the test fails.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// An app that is installed somewhere.
pub struct App {
    store: String,
    dir: TempDir,
}

/// A running app.
pub struct Running {
    /// What the server said to it since it was started.
    pub tap: Tap,
    process: Process,
    stdin: ChildStdin,
}

impl App {
    pub fn of(store: &str) -> Self {
        Self {
            store: store.to_owned(),
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Starts it, with what it has stored.
    pub fn start(&self, server: &Server) -> Running {
        let package = LiveStore::V040.package().expect("the client is installed");
        let tap = Tap::on(server);
        let mut command = Command::new("node");
        command
            .current_dir(package)
            .args(["client.mjs", "--transport", "ws", "--url", &tap.url])
            .args(["--store", &self.store, "--client", "app", "--dir"])
            .arg(self.dir.path())
            .stdin(Stdio::piped());
        if std::env::var_os("SYNCLINE_TEST_VERBOSE").is_none() {
            command.stderr(Stdio::null());
        }
        let mut process = Process::start(command).expect("node is installed");
        let mut running = Running {
            tap,
            stdin: process.take_stdin().expect("stdin is piped"),
            process,
        };
        running.answer("ready");
        running
    }
}

impl Running {
    /// Commits a todo.
    pub fn commit(&mut self, id: &str) {
        let todo = json!({"name": "TodoCreated", "id": id, "title": format!("todo {id}")});
        self.ask(&json!({"do": "commit", "events": [todo]}));
    }

    /// Waits until it has everything up to `head`, and nothing of its own
    /// that the server does not have.
    pub fn wait_until_at(&mut self, head: u64) {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let state = self.ask(&json!({"do": "state"}));
            if state["head"] == head && state["pending"] == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "not at {head}, but: {state}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The last event it has.
    pub fn head(&mut self) -> u64 {
        self.ask(&json!({"do": "state"}))["head"].as_u64().unwrap()
    }

    /// Its log, as events without session ids.
    pub fn log(&mut self) -> Vec<Value> {
        let log = self.ask(&json!({"do": "log"}));
        log["events"].as_array().expect("events").clone()
    }

    /// Ends it as its user does.
    pub fn stop(mut self) {
        self.ask(&json!({"do": "shutdown"}));
        let status = self.process.wait(ANSWER_TIMEOUT).expect("it ends");
        assert!(status.success(), "the app: {status}");
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.stdin, "{question}").expect("the app runs");
        self.answer(question["do"].as_str().expect("a command"))
    }

    fn answer(&mut self, ok: &str) -> Value {
        let answer = self
            .process
            .wait_for(ANSWER_TIMEOUT, |line| serde_json::from_str(line).ok());
        let answer: Value = answer.unwrap_or_else(|error| panic!("no {ok}: {error:#}"));
        assert_eq!(answer["ok"], ok, "{answer}");
        answer
    }
}
