//! The recorded transcripts (`tests/fixtures/wire`), as far as inputs are made
//! of them: what clients sent, in order.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// What a client did.
#[derive(Debug, Clone)]
pub enum Step {
    /// Opened a socket: its name and the URL, without the host.
    Open(String, String),
    /// Sent a frame on a socket.
    Send(String, String),
    /// Closed a socket.
    Close(String),
    /// A request over HTTP: the URL, without the host, and the body.
    Request(String, String),
    /// A call by another Durable Object: its messages, as JSON.
    Call(String),
}

/// A transcript.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// The store that it is about.
    pub store_id: String,
    /// The log's backend id in it.
    pub backend_id: Option<String>,
    /// What clients did.
    pub steps: Vec<Step>,
}

/// A line of a fixture.
#[derive(Deserialize)]
struct Line {
    open: Option<String>,
    url: Option<String>,
    send: Option<String>,
    close: Option<String>,
    request: Option<String>,
    kind: Option<String>,
    json: Option<Value>,
    messages: Option<Value>,
}

/// Reads them all, by name.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn read() -> Vec<Transcript> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/wire");
    let entries = fs::read_dir(&directory).expect("tests/fixtures/wire");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        // Not the folder of a version that is not served yet.
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            transcript(&text)
        })
        .collect()
}

fn transcript(text: &str) -> Transcript {
    let steps = text
        .lines()
        .filter_map(|line| step(serde_json::from_str(line).expect("a fixture's line")))
        .collect();
    Transcript {
        store_id: after(text, "storeId=")
            .or_else(|| after(text, r#""storeId":""#))
            .expect("a store"),
        backend_id: after(text, r#""backendId":""#),
        steps,
    }
}

/// What follows a word up to the next delimiter, at its first place.
fn after(text: &str, word: &str) -> Option<String> {
    let rest = text.split(word).nth(1)?;
    rest.split(['&', '"']).next().map(str::to_owned)
}

fn step(line: Line) -> Option<Step> {
    let json = line.json.map(|json| json.to_string());
    if let (Some(name), Some(url)) = (line.open, &line.url) {
        Some(Step::Open(name, url.clone()))
    } else if let (Some(name), Some(json)) = (line.send, &json) {
        Some(Step::Send(name, json.clone()))
    } else if let Some(name) = line.close {
        Some(Step::Close(name))
    } else if let (Some(_), Some(url)) = (line.request, line.url) {
        Some(Step::Request(url, json.unwrap_or_default()))
    } else if line.kind.as_deref() == Some("rpc-req") {
        line.messages
            .map(|messages| Step::Call(messages.to_string()))
    } else {
        None
    }
}

/// Every frame, body and message of a call.
#[must_use]
pub fn frames(transcripts: &[Transcript]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for step in transcripts.iter().flat_map(|transcript| &transcript.steps) {
        match step {
            Step::Send(_, json) | Step::Request(_, json) => frames.push(json.clone().into_bytes()),
            Step::Call(json) => {
                if let Ok(Value::Array(messages)) = serde_json::from_str(json) {
                    frames.extend(messages.iter().map(|it| it.to_string().into_bytes()));
                }
            }
            Step::Open(..) | Step::Close(_) => {}
        }
    }
    distinct(frames)
}

/// Each input once.
#[must_use]
pub fn distinct(mut inputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    inputs.sort();
    inputs.dedup();
    inputs
}
