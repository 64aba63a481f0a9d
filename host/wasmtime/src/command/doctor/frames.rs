//! A 0.4 client's messages, as unmodified clients send them (PROTOCOL.md,
//! "0.4 over WebSocket", "0.4 over HTTP").

use serde_json::{Value, json};

/// The name of the doctor's events. No app has it.
pub const EVENT_NAME: &str = "v1.SynclineDoctorChecked";

/// Where a log is, as a pull shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The backend id.
    pub backend_id: String,
    /// The last event's number, 0 without one.
    pub head: u64,
}

/// `Ping`.
#[must_use]
pub fn ping() -> Value {
    json!({"_tag": "Ping"})
}

/// `Ack` of a pull's Chunk.
#[must_use]
pub fn ack(id: &str) -> Value {
    json!({"_tag": "Ack", "requestId": id})
}

/// `Interrupt` of a pull.
#[must_use]
pub fn interrupt(id: &str) -> Value {
    json!({"_tag": "Interrupt", "requestId": id})
}

fn request(id: &str, tag: &str, payload: Value) -> Value {
    json!({"_tag": "Request", "id": id, "tag": tag, "payload": payload, "headers": []})
}

fn option(value: Option<Value>) -> Value {
    match value {
        Some(value) => json!({"_tag": "Some", "value": value}),
        None => json!({"_tag": "None"}),
    }
}

fn cursor(from: Option<&Place>) -> Value {
    option(
        from.map(|place| json!({"backendId": place.backend_id, "eventSequenceNumber": place.head})),
    )
}

/// A pull over WebSocket.
#[must_use]
pub fn pull(id: &str, store: &str, is_live: bool, from: Option<&Place>) -> Value {
    let payload = json!({"storeId": store, "live": is_live, "cursor": cursor(from)});
    request(id, "SyncWsRpc.Pull", payload)
}

/// A pull over HTTP.
#[must_use]
pub fn pull_over_http(id: &str, store: &str, from: Option<&Place>) -> Value {
    let payload = json!({"storeId": store, "cursor": cursor(from)});
    request(id, "SyncHttpRpc.Pull", payload)
}

/// A ping over HTTP.
#[must_use]
pub fn ping_over_http(id: &str, store: &str) -> Value {
    request(id, "SyncHttpRpc.Ping", json!({"storeId": store}))
}

/// A push of one event, which says `mark`, behind the head.
#[must_use]
pub fn push(id: &str, tag: &str, store: &str, at: &Place, mark: &str) -> Value {
    let event = json!({
        "name": EVENT_NAME,
        "args": {"mark": mark},
        "seqNum": at.head.saturating_add(1),
        "parentSeqNum": at.head,
        "clientId": "syncline-doctor",
        "sessionId": "static",
    });
    let backend_id = option(Some(at.backend_id.clone().into()));
    let payload = json!({"storeId": store, "batch": [event], "backendId": backend_id});
    request(id, tag, payload)
}

/// What a Chunk shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The store's incarnation.
    pub backend_id: String,
    /// Number, name and mark of each event.
    pub events: Vec<(u64, String, Option<String>)>,
    /// Whether it reaches the log's end.
    pub is_last: bool,
}

/// What a server's frame is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `Chunk`.
    Chunk(Chunk),
    /// `Exit` that succeeds.
    Success,
    /// `Exit` that fails: code or tag, and message.
    Failure(String, String),
    /// `Pong`.
    Pong,
    /// Anything else.
    Other,
}

/// Reads a server's frame.
#[must_use]
pub fn read(frame: &Value) -> Answer {
    let text = |pointer: &str| frame.pointer(pointer).and_then(Value::as_str);
    match (text("/_tag"), text("/exit/_tag")) {
        (Some("Pong"), _) => Answer::Pong,
        (Some("Exit"), Some("Success")) => Answer::Success,
        (Some("Exit"), Some("Failure")) => {
            let tag = text("/exit/cause/error/_tag").unwrap_or("a defect");
            let code = text("/exit/cause/error/payload/code").unwrap_or(tag);
            let message = text("/exit/cause/error/payload/message").unwrap_or_default();
            Answer::Failure(code.to_owned(), message.to_owned())
        }
        (Some("Chunk"), _) => {
            let batch = frame.pointer("/values/0/batch").and_then(Value::as_array);
            let event = |item: &Value| {
                let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str);
                let number = item.pointer("/eventEncoded/seqNum")?.as_u64()?;
                let name = text("/eventEncoded/name")?.to_owned();
                let mark = text("/eventEncoded/args/mark").map(str::to_owned);
                Some((number, name, mark))
            };
            Answer::Chunk(Chunk {
                backend_id: text("/values/0/backendId").unwrap_or_default().to_owned(),
                events: batch.into_iter().flatten().filter_map(event).collect(),
                is_last: text("/values/0/pageInfo/_tag") == Some("NoMore"),
            })
        }
        _ => Answer::Other,
    }
}
