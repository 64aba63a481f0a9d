//! Replays recorded transcripts (`tests/fixtures/wire`): what the clients
//! sent is sent again, in order, and what the server answered is expected, to
//! the key, on each connection. Only store ids, backend ids and times differ.
//!
//! A step marked `fault` is an answer that only the original gives; where
//! `original` stands beside an answer, the original's differs by a fault.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http;
use crate::rpc::new_store;
use crate::server::Server;
use crate::socket::Socket;

/// One line of a fixture.
#[derive(Debug, Deserialize)]
struct Step {
    note: Option<String>,
    open: Option<String>,
    url: Option<String>,
    send: Option<String>,
    receive: Option<String>,
    close: Option<String>,
    code: Option<u16>,
    request: Option<String>,
    json: Option<Value>,
    text: Option<String>,
    status: Option<u16>,
    response: Option<Value>,
    original: Option<Value>,
    #[serde(default)]
    fault: bool,
}

/// Replays `fixture`, the text of a fixture, against a server.
///
/// # Panics
/// At the first answer that differs.
pub fn replay(server: &Server, fixture: &str) {
    let is_original = server.is_original;
    let (fixture, store_ids) = with_new_stores(fixture);
    let mut replay = Replay {
        server,
        is_original,
        sockets: BTreeMap::new(),
        unread: BTreeMap::new(),
        last_sender: None,
        ids: BTreeMap::new(),
        note: format!("stores {store_ids:?}"),
    };
    let steps = fixture
        .lines()
        .map(|line| serde_json::from_str(line).expect("a fixture's line"))
        .filter(|step: &Step| is_original || !step.fault);
    for step in steps {
        replay.step(step);
    }
}

struct Replay<'a> {
    server: &'a Server,
    is_original: bool,
    sockets: BTreeMap<String, Socket>,
    /// What came in before it was asked for.
    unread: BTreeMap<String, VecDeque<Value>>,
    last_sender: Option<String>,
    /// Recorded backend ids and what they are here.
    ids: BTreeMap<String, String>,
    note: String,
}

impl Replay<'_> {
    fn step(&mut self, step: Step) {
        if let Some(note) = step.note {
            self.note = note;
        } else if let (Some(name), Some(url)) = (step.open, &step.url) {
            self.sockets.insert(name, Socket::open(self.server, url));
        } else if let (Some(name), Some(json)) = (&step.send, &step.json) {
            self.take_turns(name);
            let text = self.translated(&json.to_string());
            self.socket(name).send(text);
        } else if let (Some(name), Some(text)) = (step.send, &step.text) {
            self.take_turns(&name);
            let text = self.translated(text);
            self.socket(&name).send(text);
        } else if let (Some(name), Some(json)) = (step.receive, step.json.clone()) {
            let expected = self.expected(json, step.original);
            let actual = self.receive(&name, &stream_of(&expected));
            self.compare(&expected, &actual);
        } else if let Some(name) = step.close {
            self.socket(&name).close(step.code.unwrap_or(1000));
            self.last_sender = None;
        } else if let (Some(method), Some(url), Some(response)) =
            (step.request, &step.url, step.response)
        {
            let body = step
                .json
                .as_ref()
                .map_or(String::new(), ToString::to_string);
            let body = self.translated(&body);
            let headers = [("content-type", "application/json")];
            let actual = http::request(self.server, &method, url, &headers, &body);
            assert_eq!(Some(actual.status), step.status, "{}", self.note);
            let expected = self.expected(response, step.original);
            self.compare(&expected, &actual.json());
        } else {
            panic!("a step that is nothing");
        }
    }

    /// Frames of two connections that crossed in the recording would race
    /// here. So before another connection sends, the last one asks a question
    /// of the room and waits for its answer: the recorded order, made certain.
    fn take_turns(&mut self, name: &str) {
        let last = self.last_sender.replace(name.to_owned());
        let Some(last) = last.filter(|last| last != name) else {
            return;
        };
        let unread = self.unread.entry(last.clone()).or_default();
        let Some(socket) = self.sockets.get_mut(&last) else {
            return;
        };
        // Neither is answered by the host on its own. The original 0.3 server
        // answers its one with an error.
        socket.send(if socket.is_v3 {
            r#"{"requestId":"ping","_tag":"WSMessage.Ping"}"#
        } else {
            r#"{"_tag":"Ping","barrier":1}"#
        });
        loop {
            let frame = socket.receive_json();
            if frame["requestId"] == "ping" || frame == json!({"_tag": "Pong"}) {
                return;
            }
            unread.push_back(frame);
        }
    }

    /// The next frame of a connection that is of the same stream. Keep-alives
    /// are answered beside the room, and when a 0.4 client that edits is told
    /// of others' events is the server's to say: such frames may overtake each
    /// other, and those of one request may not.
    fn receive(&mut self, name: &str, stream: &str) -> Value {
        let unread = self.unread.entry(name.to_owned()).or_default();
        if let Some(index) = unread.iter().position(|frame| stream_of(frame) == stream)
            && let Some(frame) = unread.remove(index)
        {
            return frame;
        }
        loop {
            let frame = self.socket(name).receive_json();
            if stream_of(&frame) == stream {
                return frame;
            }
            let unread = self.unread.entry(name.to_owned()).or_default();
            unread.push_back(frame);
        }
    }

    fn socket(&mut self, name: &str) -> &mut Socket {
        self.sockets.get_mut(name).expect("an open socket")
    }

    fn expected(&self, ours: Value, original: Option<Value>) -> Value {
        match original {
            Some(original) if self.is_original => original,
            _ => ours,
        }
    }

    /// Recorded backend ids, as they are here.
    fn translated(&self, text: &str) -> String {
        self.ids
            .iter()
            .fold(text.to_owned(), |text, (recorded, here)| {
                text.replace(recorded, here)
            })
    }

    fn compare(&mut self, expected: &Value, actual: &Value) {
        let mut expected = expected.clone();
        let mut normal = actual.clone();
        self.bind(&mut expected, &mut normal);
        assert!(
            expected == normal,
            "after “{}”:\nexpected {expected}\nbut got  {actual}",
            self.note
        );
    }

    /// Makes equal what may differ, where it is of the same kind.
    fn bind(&mut self, expected: &mut Value, actual: &mut Value) {
        match (expected, actual) {
            (Value::Object(expected), Value::Object(actual)) => {
                for (key, value) in expected.iter_mut() {
                    let Some(here) = actual.get_mut(key) else {
                        continue;
                    };
                    match key.as_str() {
                        "backendId" | "expected" if value.is_string() => self.bind_id(value, here),
                        "createdAt" => bind_time(value, here),
                        "durableObjectId" if here.is_string() => *here = value.clone(),
                        // Whatever tree an Interrupt hangs in, clients look
                        // at nothing but that it is one (transcript ws-01).
                        "cause" if is_interrupt(value) && is_interrupt(here) => {
                            *here = value.clone();
                        }
                        _ => self.bind(value, here),
                    }
                }
            }
            (Value::Array(expected), Value::Array(actual)) => {
                for (expected, actual) in expected.iter_mut().zip(actual) {
                    self.bind(expected, actual);
                }
            }
            _ => {}
        }
    }

    fn bind_id(&mut self, recorded: &mut Value, here: &mut Value) {
        if let (Some(recorded_id), Some(here_id)) = (recorded.as_str(), here.as_str()) {
            let bound = self
                .ids
                .entry(recorded_id.to_owned())
                .or_insert_with(|| here_id.to_owned());
            *recorded = Value::from(bound.clone());
        }
    }
}

/// Whose order a frame keeps.
fn stream_of(frame: &Value) -> String {
    match frame["_tag"].as_str() {
        Some("Pong" | "WSMessage.Pong") => "pongs".to_owned(),
        Some("Chunk" | "Exit") => frame["requestId"].to_string(),
        _ => String::new(),
    }
}

fn bind_time(recorded: &Value, here: &mut Value) {
    let shape = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.replace(|c: char| c.is_ascii_digit(), "9")
    };
    if shape(recorded) == shape(here) {
        *here = recorded.clone();
    }
}

fn is_interrupt(cause: &Value) -> bool {
    let text = cause.to_string();
    text.contains(r#""_tag":"Interrupt""#) && !text.contains(r#""_tag":"Fail""#)
}

/// Gives every store of the fixture a new name: those of its URLs.
fn with_new_stores(fixture: &str) -> (String, Vec<String>) {
    let mut names: Vec<&str> = fixture
        .split("storeId=")
        .skip(1)
        .filter_map(|rest| rest.split(['&', '"']).next())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut text = fixture.to_owned();
    let mut stores = Vec::new();
    for name in names {
        let store = new_store("replay");
        text = text.replace(name, &store);
        stores.push(store);
    }
    (text, stores)
}
