//! A store on a server, with the clients that open it, and what must hold
//! once they have come to rest.

use std::cell::Cell as Counter;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_tests::rpc::{self, batch, new_store};
use syncline_tests::server::Server;
use tempfile::TempDir;

use crate::client::{Client, Committed, Settings};
use crate::fleet::Fleet;

/// How long clients may take to come to rest. Reconnecting takes 0.4.0 some
/// seconds; the rest is for slow machines.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(120);

/// A store that no other scenario uses.
pub struct Store {
    pub id: String,
    /// What new clients send with every connection.
    pub payload: Option<Value>,
    /// What new clients are told of their OpenTelemetry.
    pub telemetry: Vec<(&'static str, String)>,
    /// The server's address; its process is somebody else's.
    server: Server,
    fleet: Fleet,
    opened: Counter<usize>,
    committed: Committed,
    scratch: TempDir,
}

impl Store {
    pub fn new(server: &Server, fleet: Fleet) -> Self {
        Self {
            id: new_store("real"),
            payload: None,
            telemetry: Vec::new(),
            server: Server {
                url: server.url.clone(),
                process: None,
                dir: None,
                is_original: server.is_original,
            },
            fleet,
            opened: Counter::new(0),
            committed: Committed::default(),
            scratch: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Starts the fleet's next client, which keeps its state in memory.
    pub fn open(&self, id: &str) -> Client {
        Client::start(self.settings(id), self.committed.clone())
    }

    /// Starts the fleet's next client, which keeps its state on disk.
    pub fn open_stored(&self, id: &str) -> Client {
        let mut settings = self.settings(id);
        settings.dir = Some(self.scratch.path().join(id));
        Client::start(settings, self.committed.clone())
    }

    fn settings(&self, id: &str) -> Settings {
        let number = self.opened.replace(self.opened.get() + 1);
        Settings {
            kind: self.fleet.kind(number),
            url: self.server.url.clone(),
            store: self.id.clone(),
            id: id.to_owned(),
            dir: None,
            payload: self.payload.clone(),
            telemetry: self.telemetry.clone(),
        }
    }

    /// Pushes a todo with a title of this length, as no real client: 0.4.0
    /// never pushes an event over 900,000 bytes and keeps it pending for ever.
    pub fn push_large(&self, id: &str, bytes: usize) {
        let mut committed = self.committed.lock().unwrap();
        let seq_num = committed.len() as u64 + 1;
        committed.push(("v1.TodoCreated".to_owned(), Some(id.to_owned())));
        let args = json!({"id": id, "title": "x".repeat(bytes)});
        let mut client = rpc::Client::open(&self.server, &self.id);
        client.push_ok(&[rpc::event_with(seq_num, args)]);
    }

    /// The server was set back to a state that is older: what was committed
    /// since the first `count` events will never be there.
    pub fn forget_from(&self, count: usize) {
        self.committed.lock().unwrap().truncate(count);
    }

    /// Waits until these clients have everything that was ever committed, and
    /// know that the server has it, and asks nobody else.
    pub fn rest(&self, clients: &mut [&mut Client]) {
        self.come_to_rest(clients, Instant::now() + CONVERGENCE_TIMEOUT);
    }

    /// The same, and returns all that was committed.
    fn come_to_rest(
        &self,
        clients: &mut [&mut Client],
        deadline: Instant,
    ) -> Vec<(String, Option<String>)> {
        let expected = self.committed.lock().unwrap().clone();
        loop {
            let states: Vec<_> = clients.iter_mut().map(|client| client.state()).collect();
            let length = expected.len() as u64;
            let at_rest =
                |client: &crate::client::State| (client.pending, client.head) == (0, length);
            if states.iter().all(at_rest) {
                return expected;
            }
            assert!(
                Instant::now() < deadline && states.iter().all(|client| client.head <= length),
                "{length} events were committed, but: {states:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until these clients have everything that was ever committed, and
    /// know that the server has it. Then their logs are one log, the server's,
    /// without a gap, with nothing lost and nothing doubled. Returns it.
    pub fn converge(&self, clients: &mut [&mut Client]) -> Vec<Value> {
        let deadline = Instant::now() + CONVERGENCE_TIMEOUT;
        let mut expected = self.come_to_rest(clients, deadline);

        let mut logs = clients.iter_mut().map(|client| client.log());
        let log = logs.next().expect("a client");
        for other in logs {
            assert_same("two clients' logs", &log, &other);
        }
        for (event, number) in log.iter().zip(1_u64..) {
            assert_eq!(event["seqNum"], number, "a gap");
            assert_eq!(event["parentSeqNum"], number - 1, "no chain");
        }
        let mut logged: Vec<_> = log.iter().map(name_and_id).collect();
        logged.sort();
        expected.sort();
        assert_eq!(logged, expected, "lost or doubled");
        let todos = expected.iter().filter(|(name, _)| name == "v1.TodoCreated");
        let todos = todos.count();
        for client in clients {
            // What is shown to the app follows the log, a moment later.
            loop {
                let shown = client.state().todos;
                if shown == todos {
                    break;
                }
                assert!(
                    Instant::now() < deadline,
                    "{} shows {shown} of {todos} todos",
                    client.settings.id
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        // A raw client has no payload, and speaks 0.4 only.
        if self.payload.is_none() && !self.server.is_original {
            assert_same("a client's log and the server's", &log, &self.server_log());
        }
        log
    }

    /// The server's log, in the form of a client's.
    fn server_log(&self) -> Vec<Value> {
        let (chunks, exit) = rpc::Client::open(&self.server, &self.id).pull_all(None);
        assert_eq!(exit["_tag"], "Success", "{exit}");
        let items = chunks.iter().flat_map(batch);
        items
            .map(|item| {
                let event = &item["eventEncoded"];
                json!({
                    "seqNum": event["seqNum"],
                    "parentSeqNum": event["parentSeqNum"],
                    "name": event["name"],
                    // Clients keep an event without args so.
                    "args": event.get("args").cloned().unwrap_or_else(|| json!({})),
                    "clientId": event["clientId"],
                })
            })
            .collect()
    }
}

fn name_and_id(event: &Value) -> (String, Option<String>) {
    let name = event["name"].as_str().expect("a name").to_owned();
    (name, event["args"]["id"].as_str().map(str::to_owned))
}

/// Compares event by event: whole logs would be too much to read.
fn assert_same(what: &str, one: &[Value], other: &[Value]) {
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one, other, "{what} differ");
    }
    assert_eq!(one.len(), other.len(), "{what} differ in length");
}
