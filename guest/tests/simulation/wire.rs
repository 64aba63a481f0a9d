//! Frames as clients and oracle read them: an own decoder, so that a mistake
//! of the guest's encoder is not forgiven by its decoder.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use syncline_guest::imports::StoredEvent;

/// A frame from the room, decoded once however many sockets get it.
#[derive(Debug)]
pub struct Frame {
    /// Its size on the wire.
    pub bytes: usize,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Debug)]
pub enum Body {
    /// 0.4: a piece of a pull.
    Chunk {
        request: String,
        events: Vec<StoredEvent>,
        /// `None` is `NoMore`.
        remaining: Option<u64>,
        backend_id: String,
    },
    /// 0.4: the end of a request.
    Exit { request: String, exit: Exit },
    /// 0.3: events.
    PullRes {
        is_pull: bool,
        request: String,
        events: Vec<StoredEvent>,
        remaining: u64,
    },
    /// 0.3: a push was accepted.
    PushAck { request: String },
    /// 0.3: a request failed.
    Error { request: String, message: String },
    /// 0.3: the store was emptied.
    ResetDone,
    /// 0.4: the answer to a Ping.
    Pong,
}

/// How a 0.4 request ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    Success,
    ServerAhead { head: u64, provided: u64 },
    BackendIdMismatch { expected: String, received: String },
    Unknown { code: String },
    Interrupted,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw<'a> {
    #[serde(rename = "_tag")]
    tag: &'a str,
    // A string in most frames, an object in a 0.3 PullRes.
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    values: Option<Vec<RawPage<'a>>>,
    exit: Option<RawExit>,
    batch: Option<Vec<RawItem<'a>>>,
    remaining: Option<u64>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPage<'a> {
    #[serde(borrow)]
    batch: Vec<RawItem<'a>>,
    page_info: RawPageInfo,
    backend_id: String,
}

#[derive(Deserialize)]
struct RawPageInfo {
    #[serde(rename = "_tag")]
    tag: String,
    remaining: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawItem<'a> {
    #[serde(borrow)]
    event_encoded: RawEvent<'a>,
    metadata: RawMetadata,
}

#[derive(Deserialize)]
struct RawMetadata {
    #[serde(rename = "_tag")]
    tag: String,
    value: RawCreated,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCreated {
    created_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    // An explicit null is an argument, and not an absent one.
    #[serde(borrow, default, deserialize_with = "present")]
    args: Option<&'a RawValue>,
    seq_num: u64,
    parent_seq_num: u64,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Cow<'a, str>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct RawExit {
    #[serde(rename = "_tag")]
    tag: String,
    cause: Option<RawCause>,
}

#[derive(Deserialize)]
struct RawCause {
    #[serde(rename = "_tag")]
    tag: String,
    error: Option<RawError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawError {
    #[serde(rename = "_tag")]
    tag: String,
    minimum_expected_num: Option<u64>,
    provided_num: Option<u64>,
    expected: Option<String>,
    received: Option<String>,
    payload: Option<RawPayload>,
}

#[derive(Deserialize)]
struct RawPayload {
    code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContext {
    context: String,
    request_id: String,
}

/// Reads a frame; panics when it is not what a client can read.
pub fn read(text: &str) -> Frame {
    let raw: Raw<'_> = serde_json::from_str(text)
        .unwrap_or_else(|error| panic!("a frame that no client can read: {error}: {text:.300}"));
    let request = || -> String {
        let id = raw.request_id.expect("a frame without requestId").get();
        serde_json::from_str(id).expect("a requestId that is no string")
    };
    let body = match raw.tag {
        "Chunk" => {
            let request = request();
            let mut pages = raw.values.expect("a Chunk without values");
            assert_eq!(pages.len(), 1, "a Chunk holds one page");
            let page = pages.remove(0);
            Body::Chunk {
                request,
                events: page.batch.into_iter().map(event).collect(),
                remaining: match page.page_info.tag.as_str() {
                    "NoMore" => None,
                    "MoreKnown" => page.page_info.remaining,
                    other => panic!("pageInfo {other}"),
                },
                backend_id: page.backend_id,
            }
        }
        "Exit" => Body::Exit {
            request: request(),
            exit: exit(raw.exit.expect("an Exit without exit")),
        },
        "WSMessage.PullRes" => {
            let id = raw.request_id.expect("a PullRes without requestId").get();
            let context: RawContext = serde_json::from_str(id).expect("a PullRes's requestId");
            Body::PullRes {
                is_pull: context.context == "pull",
                request: context.request_id,
                events: raw.batch.expect("batch").into_iter().map(event).collect(),
                remaining: raw.remaining.expect("remaining"),
            }
        }
        "WSMessage.PushAck" => Body::PushAck { request: request() },
        "WSMessage.Error" => Body::Error {
            request: request(),
            message: raw.message.expect("an Error without message"),
        },
        "WSMessage.AdminResetRoomRes" => Body::ResetDone,
        "Pong" => Body::Pong,
        other => panic!("the room sent a {other}, which nothing here calls for"),
    };
    Frame {
        bytes: text.len(),
        body,
    }
}

fn exit(raw: RawExit) -> Exit {
    let Some(cause) = raw.cause else {
        assert_eq!(raw.tag, "Success");
        return Exit::Success;
    };
    if cause.tag == "Interrupt" {
        return Exit::Interrupted;
    }
    let error = cause.error.expect("a Failure without error");
    match error.tag.as_str() {
        "ServerAheadError" => Exit::ServerAhead {
            head: error.minimum_expected_num.expect("minimumExpectedNum"),
            provided: error.provided_num.expect("providedNum"),
        },
        "BackendIdMismatchError" => Exit::BackendIdMismatch {
            expected: error.expected.expect("expected"),
            received: error.received.expect("received"),
        },
        "UnknownError" => Exit::Unknown {
            code: error.payload.expect("payload").code,
        },
        other => panic!("{other} is not in the client's schema"),
    }
}

fn event(item: RawItem<'_>) -> StoredEvent {
    assert_eq!(item.metadata.tag, "Some");
    let event = item.event_encoded;
    StoredEvent {
        seq_num: event.seq_num,
        parent_seq_num: event.parent_seq_num,
        name: event.name.into_owned(),
        args: event.args.map(|args| args.get().to_owned()),
        client_id: event.client_id.into_owned(),
        session_id: event.session_id.into_owned(),
        created_at: item.metadata.value.created_at,
    }
}
