//! LiveStore 0.4: Effect RPC as JSON, one message a frame, over WebSocket and
//! HTTP. Sources: `@livestore/sync-cf` 0.4.0 (`src/common/ws-rpc-schema.ts`,
//! `http-rpc-schema.ts`, `sync-message-types.ts`), `@effect/rpc`
//! (`RpcMessage.ts`) and the transcripts ws-01 to ws-17, http-01 to http-03.

mod frames;
#[cfg(test)]
mod tests;
mod trace;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::DecodeError;
use super::event::WireBatch;
use super::strict::{self, Flag, Int, Object};
use crate::limits::{BACKEND_ID_BYTES_MAX, REQUEST_ID_BYTES_MAX};

pub use self::frames::*;
pub use self::trace::Trace;

/// The client's keep-alive, to the byte (`RpcMessage.constPing`).
pub const PING: &str = r#"{"_tag":"Ping"}"#;

/// Its answer.
pub const PONG: &str = r#"{"_tag":"Pong"}"#;

/// A request's id: decimal digits, as the client counts them.
pub type RequestId = String;

/// A message from a client.
#[derive(Debug)]
pub enum Message<'a> {
    /// Keep-alive, in another spelling than [`PING`].
    Ping,
    /// A Chunk was taken.
    Ack(RequestId),
    /// A request is given up.
    Interrupt(RequestId),
    /// The client sends no more. Sockets close by themselves.
    Eof,
    /// A call.
    Request(RequestId, Result<Call<'a>, CallError>),
}

/// A call, decoded.
#[derive(Debug)]
pub enum Call<'a> {
    /// `SyncWsRpc.Pull`, `SyncHttpRpc.Pull`.
    Pull(Pull<'a>),
    /// `SyncWsRpc.Push`, `SyncHttpRpc.Push`.
    Push(Push<'a>),
    /// `SyncHttpRpc.Ping`, `SyncDoRpc.Ping`.
    Ping(Ping<'a>),
}

/// A call that cannot be served; its id is known.
#[derive(Debug, PartialEq, Eq)]
pub enum CallError {
    /// No such procedure on this transport.
    UnknownRpc(String),
    /// The payload does not fit the procedure's schema.
    Undecodable(DecodeError),
}

/// The payload of a Pull.
#[derive(Debug, Deserialize)]
pub struct Pull<'a> {
    /// The store meant.
    #[serde(rename = "storeId", borrow)]
    pub store_id: Cow<'a, str>,
    #[serde(default)]
    live: Option<Flag>,
    #[serde(borrow)]
    cursor: Object<OptionEncoded<'a>>,
    #[serde(rename = "rpcContext", borrow, default)]
    rpc_context: Option<Object<RpcContext<'a>>>,
    #[serde(skip)]
    start: Option<Cursor>,
    /// The span that the client makes it in.
    #[serde(skip)]
    pub trace: Option<Box<Trace>>,
}

/// Who wants to be called when more is pushed: present in a live pull by
/// another Durable Object (`src/common/do-rpc-schema.ts`).
#[derive(Debug, Deserialize)]
struct RpcContext<'a> {
    #[serde(rename = "callerContext", borrow)]
    caller: Object<Caller<'a>>,
}

/// A Durable Object that can be called back.
#[derive(Debug, Deserialize)]
pub struct Caller<'a> {
    /// The binding through which it is reached.
    #[serde(rename = "bindingName", borrow)]
    pub binding: Cow<'a, str>,
    /// Its id: 64 hexadecimal digits.
    #[serde(rename = "durableObjectId", borrow)]
    pub object_id: Cow<'a, str>,
}

impl Pull<'_> {
    /// Whether to go on with what is pushed later. Over HTTP it never does.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live.is_some_and(|live| live.0)
    }

    /// Who is to be called with what is pushed later. Over sockets nobody is.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller<'_>> {
        let Object(context) = self.rpc_context.as_ref()?;
        Some(&context.caller.0)
    }

    /// Where the client is; `None` starts from the beginning.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        self.start.as_ref()
    }
}

/// Where a client is in which log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cursor {
    /// The log's incarnation, as the client knows it.
    #[serde(rename = "backendId")]
    pub backend_id: String,
    /// The last event it has. Below 0 counts as 0 (transcript ws-10).
    #[serde(rename = "eventSequenceNumber")]
    seq_num: Int<i64>,
}

impl Cursor {
    /// The last event the client has.
    #[must_use]
    pub fn after(&self) -> u64 {
        u64::try_from(self.seq_num.0).unwrap_or(0)
    }
}

/// The payload of a Push.
#[derive(Debug, Deserialize)]
pub struct Push<'a> {
    /// The store meant.
    #[serde(rename = "storeId", borrow)]
    pub store_id: Cow<'a, str>,
    /// The events, in order.
    #[serde(borrow)]
    pub batch: WireBatch<'a>,
    #[serde(rename = "backendId", borrow)]
    backend_id_encoded: Object<OptionEncoded<'a>>,
    /// The log's incarnation, as far as the client knows it.
    #[serde(skip)]
    pub backend_id: Option<String>,
    /// The span that the client makes it in.
    #[serde(skip)]
    pub trace: Option<Box<Trace>>,
}

/// The payload of a Ping over HTTP, or by another Durable Object.
#[derive(Debug, Deserialize)]
pub struct Ping<'a> {
    /// The store meant.
    #[serde(rename = "storeId", borrow)]
    pub store_id: Cow<'a, str>,
}

/// Effect's encoding of an Option: `{"_tag":"None"}` or
/// `{"_tag":"Some","value":…}`.
#[derive(Debug, Deserialize)]
struct OptionEncoded<'a> {
    #[serde(rename = "_tag", borrow)]
    tag: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

impl<'a> OptionEncoded<'a> {
    fn decode<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, DecodeError> {
        match (self.tag.as_ref(), self.value) {
            ("None", _) => Ok(None),
            // It holds a backend id; answers repeat it.
            ("Some", Some(value)) if value.get().len() > 2 * BACKEND_ID_BYTES_MAX => {
                Err(format!("{name}: the value is too long"))
            }
            ("Some", Some(value)) => serde_json::from_str(value.get())
                .map(Some)
                .map_err(|error| format!("{name}: {}", strict::words(&error))),
            _ => Err(format!(
                "{name}: expected {{\"_tag\":\"None\"}} or {{\"_tag\":\"Some\",\"value\":…}}"
            )),
        }
    }
}

/// Which procedures are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `SyncWsRpc`.
    Ws,
    /// `SyncHttpRpc`.
    Http,
    /// `SyncDoRpc`.
    Object,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "_tag", borrow, default)]
    tag: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(rename = "requestId", borrow, default)]
    request_id: Option<&'a RawValue>,
    #[serde(rename = "tag", borrow, default)]
    procedure: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(rename = "traceId", borrow, default)]
    trace_id: Option<&'a RawValue>,
    #[serde(rename = "spanId", borrow, default)]
    span_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sampled: Option<&'a RawValue>,
}

/// As little of a message as an answer needs.
#[derive(Deserialize)]
struct IdAlone<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// The id of a request, whatever else is wrong with it.
#[must_use]
pub fn readable_id(frame: &[u8]) -> Option<RequestId> {
    let message: IdAlone<'_> = strict::object(frame).ok()?;
    request_id(message.id?)
}

/// Reads one message.
///
/// # Errors
/// When no request id can be read that an answer could name: the words for a
/// Defect.
pub fn decode(frame: &[u8], group: Group) -> Result<Message<'_>, DecodeError> {
    if let Some(id) = plain_ack(frame) {
        return Ok(Message::Ack(id.to_owned()));
    }
    strict::check_strings(frame)?;
    let envelope = strict::object::<Envelope<'_>>(frame)
        .map_err(|error| format!("The frame is no message: {}", strict::words(&error)));
    let message = envelope.and_then(|envelope| message(&envelope, group));
    message.or_else(|words| match readable_id(frame) {
        Some(id) => Ok(Message::Request(id, Err(CallError::Undecodable(words)))),
        None => Err(words),
    })
}

/// The request id of an Ack that is spelled as real clients spell it
/// (transcript ws-01): by far the most frequent message, so it is read at a
/// glance. What is spelled otherwise is read as every other message is.
fn plain_ack(frame: &[u8]) -> Option<&str> {
    let id = frame
        .strip_prefix(br#"{"_tag":"Ack","requestId":""#)?
        .strip_suffix(br#""}"#)?;
    str::from_utf8(id).ok().filter(|id| is_request_id(id))
}

fn is_request_id(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
}

fn message<'a>(envelope: &Envelope<'a>, group: Group) -> Result<Message<'a>, DecodeError> {
    let id_of = |raw: Option<&RawValue>, key: &str| {
        raw.and_then(request_id)
            .ok_or_else(|| format!("`{key}` is missing or is no string of decimal digits."))
    };
    match envelope.tag.as_deref() {
        Some("Ping") => Ok(Message::Ping),
        Some("Eof") => Ok(Message::Eof),
        Some("Ack") => id_of(envelope.request_id, "requestId").map(Message::Ack),
        Some("Interrupt") => id_of(envelope.request_id, "requestId").map(Message::Interrupt),
        Some("Request") => {
            let id = id_of(envelope.id, "id")?;
            if envelope.id.is_some_and(|id| id.get().starts_with('"')) {
                Ok(Message::Request(id, call(envelope, group)))
            } else {
                Err("`id` has to be a string.".to_owned())
            }
        }
        Some(other) => Err(format!(
            "`_tag` is `{}`, which is no message.",
            shortened(other)
        )),
        None => Err("The message has no `_tag`.".to_owned()),
    }
}

fn call<'a>(envelope: &Envelope<'a>, group: Group) -> Result<Call<'a>, CallError> {
    let payload = envelope.payload.map_or("null", RawValue::get).as_bytes();
    let undecodable = |error: serde_json::Error| CallError::Undecodable(strict::words(&error));
    let name = envelope.procedure.as_deref().unwrap_or_default();
    let trace = Trace::read(envelope.trace_id, envelope.span_id, envelope.sampled).map(Box::new);
    match (group, name) {
        (Group::Ws, "SyncWsRpc.Pull")
        | (Group::Http, "SyncHttpRpc.Pull")
        | (Group::Object, "SyncDoRpc.Pull") => {
            let mut pull: Pull<'_> = strict::object(payload).map_err(undecodable)?;
            if group == Group::Ws && pull.live.is_none() {
                return Err(CallError::Undecodable("`live` is missing.".to_owned()));
            }
            pull.start = pull
                .cursor
                .0
                .decode::<Object<Cursor>>("cursor")
                .map_err(CallError::Undecodable)?
                .map(|cursor| cursor.0);
            pull.trace = trace;
            Ok(Call::Pull(pull))
        }
        (Group::Ws, "SyncWsRpc.Push")
        | (Group::Http, "SyncHttpRpc.Push")
        | (Group::Object, "SyncDoRpc.Push") => {
            let mut push: Push<'_> = strict::object(payload).map_err(undecodable)?;
            push.backend_id = push
                .backend_id_encoded
                .0
                .decode("backendId")
                .map_err(CallError::Undecodable)?;
            push.trace = trace;
            Ok(Call::Push(push))
        }
        (Group::Http, "SyncHttpRpc.Ping") | (Group::Object, "SyncDoRpc.Ping") => {
            strict::object(payload).map(Call::Ping).map_err(undecodable)
        }
        _ => Err(CallError::UnknownRpc(shortened(name).to_owned())),
    }
}

/// Foreign text in an answer, cut to a length that is still readable.
fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(64)
        .and_then(|(end, _)| text.get(..end))
        .unwrap_or(text)
}

/// A request id as it stands in JSON: a string of decimal digits; a number
/// too, so that its sender can be told that it should be a string.
fn request_id(raw: &RawValue) -> Option<RequestId> {
    // Escapes make a string longer, six times at most.
    if raw.get().len() > 6 * REQUEST_ID_BYTES_MAX {
        return None;
    }
    let id = serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
    is_request_id(&id).then_some(id)
}
