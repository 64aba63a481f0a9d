//! A Worker's memory, as its isolate counts it: workerd's own is that of a
//! process with much else in it.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use syncline_tests::exchange::Ask;
use syncline_tests::server::Server;
use tungstenite::Message;

use crate::direct;

/// How long each step may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// The isolate of a Worker under `wrangler dev`, by the DevTools protocol. It
/// talks to one client at a time, and wrangler is another: each question has a
/// socket of its own.
pub struct Isolate {
    port: u16,
    path: String,
}

/// How often a question is asked, if wrangler comes between.
const TRIES_MAX: usize = 20;

/// What an isolate keeps, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heap {
    /// JavaScript's objects.
    pub objects: u64,
    /// What the runtime has for them.
    pub embedder: u64,
    /// What buffers have, a component's memory too.
    pub buffers: u64,
}

impl Heap {
    /// All of it.
    pub fn bytes(self) -> u64 {
        self.objects + self.embedder + self.buffers
    }
}

impl Isolate {
    /// The isolate of a server.
    ///
    /// # Panics
    /// When none is found.
    pub fn of(server: &Server) -> Self {
        let process = server.process.as_ref().expect("a process");
        let mut ports = direct::ports(process.id()).into_iter();
        let found = ports.find_map(|port| Some((port, target(port)?)));
        let (port, path) = found.expect("workerd has an inspector");
        Self { port, path }
    }

    /// What it keeps now.
    ///
    /// # Panics
    /// When it does not say.
    pub fn heap(&self) -> Heap {
        let mut error = None;
        for _ in 0..TRIES_MAX {
            match self.try_heap() {
                Ok(heap) => return heap,
                Err(why) => error = Some(why),
            }
        }
        panic!("the inspector does not answer: {error:?}");
    }

    fn try_heap(&self) -> anyhow::Result<Heap> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let url = format!("ws://127.0.0.1:{}{}", self.port, self.path);
        let (mut socket, _) = tungstenite::client(url, stream)?;
        let ask = json!({"id": 1, "method": "Runtime.getHeapUsage"});
        socket.send(Message::text(ask.to_string()))?;
        loop {
            let message = socket.read()?;
            let Ok(text) = message.to_text() else {
                continue;
            };
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            // It tells of other things too.
            if answer["id"] != 1 {
                continue;
            }
            let figure = |name: &str| {
                let figure = answer["result"][name].as_f64();
                figure.unwrap_or_else(|| panic!("{name}: {answer}")) as u64
            };
            return Ok(Heap {
                objects: figure("usedSize"),
                embedder: figure("embedderHeapUsedSize"),
                buffers: figure("backingStorageSize"),
            });
        }
    }
}

/// The path of the Worker's inspector, if this port is one's.
fn target(port: u16) -> Option<String> {
    let (answer, _) = Ask::get("/json")
        .begin_with(&format!("http://127.0.0.1:{port}"), "")
        .rest();
    let targets: Value = serde_json::from_slice(&answer.body).ok()?;
    let mut targets = targets.as_array()?.iter();
    let id = targets.find_map(|it| it["id"].as_str().filter(|id| id.contains("user")))?;
    Some(format!("/{id}"))
}
