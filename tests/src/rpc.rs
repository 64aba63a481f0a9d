//! Messages of the 0.4 and 0.3 protocols, as clients write them, and what is
//! read from the answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::server::Server;
use crate::socket::Socket;

/// A store that no other scenario uses.
#[must_use]
pub fn new_store(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{number}", std::process::id())
}

/// An event, as the transcripts have them.
#[must_use]
pub fn event(seq_num: u64) -> Value {
    event_with(
        seq_num,
        json!({"id": format!("t{seq_num}"), "title": format!("todo {seq_num}")}),
    )
}

/// An event with these arguments.
#[must_use]
pub fn event_with(seq_num: u64, args: Value) -> Value {
    json!({
        "name": "v1.TodoCreated",
        "args": args,
        "seqNum": seq_num,
        "parentSeqNum": seq_num - 1,
        "clientId": "client-a",
        "sessionId": "static",
    })
}

/// The events from `first` to `last`.
#[must_use]
pub fn events(first: u64, last: u64) -> Vec<Value> {
    (first..=last).map(event).collect()
}

/// An Effect Option.
#[must_use]
pub fn option(value: Option<Value>) -> Value {
    match value {
        Some(value) => json!({"_tag": "Some", "value": value}),
        None => json!({"_tag": "None"}),
    }
}

/// A 0.4 request.
#[must_use]
pub fn request(id: &str, tag: &str, payload: Value) -> Value {
    json!({"_tag": "Request", "id": id, "tag": tag, "payload": payload, "headers": []})
}

/// A cursor of a 0.4 pull.
#[must_use]
pub fn cursor(backend_id: &str, seq_num: i64) -> Value {
    json!({"backendId": backend_id, "eventSequenceNumber": seq_num})
}

/// `SyncWsRpc.Pull`.
#[must_use]
pub fn pull(id: &str, store: &str, live: bool, cursor: Option<Value>) -> Value {
    let payload = json!({"storeId": store, "live": live, "cursor": option(cursor)});
    request(id, "SyncWsRpc.Pull", payload)
}

/// `SyncWsRpc.Push`.
#[must_use]
pub fn push(id: &str, store: &str, batch: &[Value]) -> Value {
    push_to(id, store, batch, None)
}

/// `SyncWsRpc.Push`, naming a backend id.
#[must_use]
pub fn push_to(id: &str, store: &str, batch: &[Value], backend_id: Option<&str>) -> Value {
    let backend_id = option(backend_id.map(Value::from));
    let payload = json!({"storeId": store, "batch": batch, "backendId": backend_id});
    request(id, "SyncWsRpc.Push", payload)
}

/// `Ack`.
#[must_use]
pub fn ack(id: &str) -> Value {
    json!({"_tag": "Ack", "requestId": id})
}

/// The URL of a 0.4 socket.
#[must_use]
pub fn ws_url(store: &str) -> String {
    format!("/?storeId={store}&transport=ws")
}

/// The URL of a 0.3 socket.
#[must_use]
pub fn v3_url(store: &str) -> String {
    format!("/websocket?storeId={store}")
}

/// The numbers of a Chunk's events.
#[must_use]
pub fn numbers(chunk: &Value) -> Vec<u64> {
    batch(chunk)
        .iter()
        .map(|item| item["eventEncoded"]["seqNum"].as_u64().expect("a seqNum"))
        .collect()
}

/// The items of a Chunk's or PullRes's batch.
///
/// # Panics
/// When the frame is neither.
#[must_use]
pub fn batch(frame: &Value) -> &Vec<Value> {
    let batch = match frame["_tag"].as_str() {
        Some("Chunk") => &frame["values"][0]["batch"],
        Some("WSMessage.PullRes") => &frame["batch"],
        _ => panic!("no batch: {frame}"),
    };
    batch
        .as_array()
        .unwrap_or_else(|| panic!("no batch: {frame}"))
}

/// A 0.4 client on one socket that acknowledges every Chunk and sorts frames
/// by request.
pub struct Client {
    /// The socket.
    pub socket: Socket,
    store: String,
    next_id: u64,
    /// Whether Chunks are acknowledged at once.
    pub acknowledges: bool,
    frames: BTreeMap<String, Vec<Value>>,
}

impl Client {
    /// Connects to a store.
    #[must_use]
    pub fn open(server: &Server, store: &str) -> Self {
        Self::over(Socket::open(server, &ws_url(store)), store)
    }

    /// One on a socket that is connected to a store.
    #[must_use]
    pub fn over(socket: Socket, store: &str) -> Self {
        Self {
            socket,
            store: store.to_owned(),
            next_id: 0,
            acknowledges: true,
            frames: BTreeMap::new(),
        }
    }

    fn id(&mut self) -> String {
        self.next_id += 1;
        self.next_id.to_string()
    }

    /// Starts a pull; its request id.
    pub fn pull(&mut self, live: bool, cursor: Option<Value>) -> String {
        let id = self.id();
        let message = pull(&id, &self.store, live, cursor);
        self.socket.send(message);
        id
    }

    /// Pushes and waits for the Exit.
    pub fn push(&mut self, batch: &[Value]) -> Value {
        let id = self.id();
        let message = push(&id, &self.store, batch);
        self.socket.send(message);
        self.exit(&id)
    }

    /// Pushes and sees it accepted.
    ///
    /// # Panics
    /// When it is not.
    pub fn push_ok(&mut self, batch: &[Value]) {
        let exit = self.push(batch);
        assert_eq!(exit, json!({"_tag": "Success", "value": {}}));
    }

    /// Pushes and sees it refused: the error.
    ///
    /// # Panics
    /// When it is not, or with something else than a schema's error.
    pub fn push_refused(&mut self, batch: &[Value]) -> Value {
        let exit = self.push(batch);
        failure(&exit)
    }

    /// The next frame of a request.
    pub fn next(&mut self, id: &str) -> Value {
        loop {
            if let Some(frame) = self.take(id) {
                return frame;
            }
            let frame = self.socket.receive_json();
            self.sort(frame);
        }
    }

    /// The Exit of a request, after all its Chunks.
    pub fn exit(&mut self, id: &str) -> Value {
        loop {
            let frame = self.next(id);
            if frame["_tag"] == "Exit" {
                return frame["exit"].clone();
            }
        }
    }

    /// The next Chunk of a pull.
    ///
    /// # Panics
    /// When something else comes.
    pub fn chunk(&mut self, id: &str) -> Value {
        let frame = self.next(id);
        assert_eq!(frame["_tag"], "Chunk", "a Chunk was due: {frame}");
        frame
    }

    /// The numbers of a pull's events until `last` has come.
    pub fn numbers_until(&mut self, id: &str, last: u64) -> Vec<u64> {
        let mut all = Vec::new();
        while all.last().is_none_or(|&number| number < last) {
            all.extend(numbers(&self.chunk(id)));
        }
        all
    }

    /// All Chunks of a pull that ends, and its Exit.
    pub fn pull_all(&mut self, cursor: Option<Value>) -> (Vec<Value>, Value) {
        let id = self.pull(false, cursor);
        let mut chunks = Vec::new();
        loop {
            let frame = self.next(&id);
            if frame["_tag"] == "Exit" {
                return (chunks, frame["exit"].clone());
            }
            chunks.push(frame);
        }
    }

    /// The backend id of the store.
    pub fn backend_id(&mut self) -> String {
        let (_, exit) = self.pull_all(Some(cursor("unknown", 0)));
        failure(&exit)["expected"]
            .as_str()
            .expect("the backend id")
            .to_owned()
    }

    /// Sees that nothing comes but the answer to a question asked now: what
    /// was due before would have come first.
    ///
    /// # Panics
    /// When something comes.
    pub fn assert_silent(&mut self) {
        self.ask();
        let unread: Vec<_> = self.frames.values().flatten().collect();
        assert!(unread.is_empty(), "nothing was due, but: {unread:?}");
    }

    /// Acknowledges a Chunk.
    pub fn ack(&mut self, id: &str) {
        self.socket.send(ack(id));
    }

    /// What has been sent of a request by now: all that comes before the
    /// answer to a question asked now.
    pub fn arrived(&mut self, id: &str) -> Vec<Value> {
        self.ask();
        self.frames.remove(id).unwrap_or_default()
    }

    /// Asks the room something and takes in what comes before its answer.
    fn ask(&mut self) {
        // Not the exact ping, which the host may answer by itself.
        self.socket.send("{\"_tag\":\"Ping\" }");
        loop {
            let frame = self.socket.receive_json();
            if frame == json!({"_tag": "Pong"}) {
                return;
            }
            self.sort(frame);
        }
    }

    fn take(&mut self, id: &str) -> Option<Value> {
        let frames = self.frames.get_mut(id)?;
        let frame = frames.remove(0);
        if frames.is_empty() {
            self.frames.remove(id);
        }
        Some(frame)
    }

    fn sort(&mut self, frame: Value) {
        let id = frame["requestId"]
            .as_str()
            .unwrap_or_else(|| panic!("a frame of no request: {frame}"))
            .to_owned();
        if frame["_tag"] == "Chunk" && self.acknowledges {
            self.socket.send(ack(&id));
        }
        self.frames.entry(id).or_default().push(frame);
    }
}

/// The error of a failed Exit: one of the schema's three.
///
/// # Panics
/// When the Exit is anything else.
#[must_use]
pub fn failure(exit: &Value) -> Value {
    assert_eq!(exit["_tag"], "Failure", "a Failure was due: {exit}");
    assert_eq!(exit["cause"]["_tag"], "Fail", "a Fail was due: {exit}");
    let error = exit["cause"]["error"].clone();
    let tag = error["_tag"].as_str().unwrap_or_default();
    assert!(
        ["UnknownError", "ServerAheadError", "BackendIdMismatchError"].contains(&tag),
        "not an error of the schema: {error}"
    );
    if tag == "UnknownError" {
        assert!(error["payload"]["code"].is_string(), "no code: {error}");
        assert!(
            error["payload"]["message"].is_string(),
            "no message: {error}"
        );
        assert!(
            error["payload"].get("retryAfterMs").is_some(),
            "no retryAfterMs: {error}"
        );
        assert!(
            error.get("cause").is_some(),
            "the schema wants a cause: {error}"
        );
    }
    error
}

/// The code of a failed Exit's `UnknownError`.
#[must_use]
pub fn failure_code(exit: &Value) -> String {
    failure(exit)["payload"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
