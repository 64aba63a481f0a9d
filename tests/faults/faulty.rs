//! A server with faults, from outside.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use serde_json::Value;
use syncline_tests::process::Process;
use syncline_tests::rpc::{Client, batch, cursor, failure_code, numbers, push};
use syncline_tests::server::Server;
use syncline_tests::socket::Received;

use crate::SERVE;

/// How long the server may take to start or obey.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A running server on a directory, `log` in it among the rest.
pub struct Faulty {
    pub server: Server,
    process: Process,
    orders: ChildStdin,
}

impl Faulty {
    pub fn start(dir: &Path) -> Self {
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg(SERVE)
            .current_dir(dir)
            .stdin(std::process::Stdio::piped())
            .stderr(stderr);
        let mut process = Process::start(command).unwrap();
        let url = process
            .wait_for(TIMEOUT, |line| {
                Some(line.strip_prefix("listens on ")?.to_owned())
            })
            .unwrap_or_else(|error| panic!("{error:#}; its log:\n{}", log(dir)));
        let orders = process.take_stdin().unwrap();
        Self {
            server: Server {
                url,
                process: None,
                dir: None,
                is_original: false,
            },
            process,
            orders,
        }
    }

    /// The server, to hand on.
    pub fn server(&self) -> Server {
        Server {
            url: self.server.url.clone(),
            process: None,
            dir: None,
            is_original: false,
        }
    }

    /// From now on this fails, and nothing else.
    pub fn set(&mut self, fault: &str) {
        writeln!(self.orders, "{fault}").unwrap();
        self.process
            .wait_for(TIMEOUT, |line| line.strip_prefix("fault: ").map(drop))
            .unwrap();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
    }
}

/// What the servers of a directory have logged.
pub fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap()
}

/// A client with a live pull from an event on; what it gets at once.
pub fn live(server: &Server, store: &str, after: u64) -> (Client, String, Vec<u64>) {
    let mut client = Client::open(server, store);
    let backend_id = client.backend_id();
    let from = cursor(&backend_id, i64::try_from(after).unwrap());
    let pull = client.pull(true, Some(from));
    let chunk = client.chunk(&pull);
    let first = numbers(&chunk);
    (client, pull, first)
}

/// The events of a store's log, by their texts, and its backend id.
pub fn read(server: &Server, store: &str) -> (Vec<Value>, String) {
    let mut client = Client::open(server, store);
    let (chunks, exit) = client.pull_all(None);
    assert_eq!(exit["_tag"], "Success", "{exit}");
    let log: Vec<Value> = chunks
        .iter()
        .flat_map(|chunk| batch(chunk).clone())
        .collect();
    for (item, seq_num) in log.iter().zip(1..) {
        assert_eq!(item["eventEncoded"]["seqNum"], seq_num, "I3");
    }
    let id = chunks[0]["values"][0]["backendId"].as_str().unwrap();
    (log, id.to_owned())
}

/// Pushes what cannot be stored: the client is told so, with the code or by a
/// close that it comes back from. Nothing of it is shown.
pub fn fails(client: &mut Client, store: &str, events: &[Value], code: &str) {
    client.socket.send(push("999", store, events));
    match client.socket.receive() {
        Received::Text(text) => {
            let frame: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(frame["_tag"], "Exit", "I1: {frame}");
            assert_eq!(failure_code(&frame["exit"]), code);
        }
        closed @ Received::Closed(..) => {
            assert_eq!(closed, Received::Closed(1011, "INTERNAL".to_owned()));
        }
    }
}
