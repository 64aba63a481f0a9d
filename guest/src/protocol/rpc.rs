//! Effect RPC as JSON, over WebSocket, HTTP and between Durable Objects: what
//! LiveStore 0.4 and the versions after it have in common; [`Rpc`] says what
//! they have not. Sources: `@livestore/sync-cf` 0.4.0
//! (`src/common/ws-rpc-schema.ts`, `http-rpc-schema.ts`, `do-rpc-schema.ts`,
//! `sync-message-types.ts`), `@effect/rpc` (`RpcMessage.ts`) and the
//! transcripts ws-*, http-*, do-rpc-*.

mod frames;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::dialect::Codec;
use super::event::{self, ItemForm, WireBatch};
use super::message::{self, Call, CallError, DecodeError, Decoded, Message, Pull, Push, RequestId};
use super::reply::{PageInfo, Reply};
use super::speech::Carrier;
use super::strict::{self, Flag, Int, Object};
use super::trace::Trace;
use crate::imports::Callback;
use crate::limits::{BACKEND_ID_BYTES_MAX, REQUEST_ID_BYTES_MAX};

/// The client's keep-alive, to the byte (`RpcMessage.constPing`).
pub const PING: &str = r#"{"_tag":"Ping"}"#;

/// Its answer.
pub const PONG: &str = r#"{"_tag":"Pong"}"#;

/// How a request's id, which is decimal digits, stands in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm {
    /// As a string.
    Text,
    /// As a number.
    Number,
}

/// What differs between versions.
#[derive(Debug, Clone, Copy)]
pub struct Rpc {
    /// How request ids stand in JSON.
    pub ids: IdForm,
    /// Whether a stream that ends well ends with a value, which is null.
    pub ends_with_value: bool,
    /// Whether a failure has a list of causes instead of one, and a cause that
    /// names a fiber does so by a number.
    pub lists_causes: bool,
    /// How an event stands in a Chunk.
    pub items: ItemForm,
    /// What objects are called with that have subscribed. A request's id is a
    /// string there in any version.
    pub callback: Callback,
}

impl Codec for Rpc {
    fn read<'a>(&self, message: &'a [u8], carrier: Carrier) -> Decoded<'a> {
        if let Some(id) = plain_ack(message, self.ids) {
            return Ok(Message::Ack(id.to_owned()));
        }
        strict::check_strings(message)?;
        let envelope = strict::object::<Envelope<'_>>(message)
            .map_err(|error| format!("The frame is no message: {}", strict::words(&error)));
        let read = envelope.and_then(|envelope| self.message(&envelope, carrier));
        read.or_else(|words| match readable_id(message) {
            Some(id) => Ok(Message::Request(id, Err(CallError::Undecodable(words)))),
            None => Err(words),
        })
    }

    fn write(&self, request_id: &str, reply: &Reply<'_>, carrier: Carrier) -> String {
        match *reply {
            Reply::Pong => PONG.to_owned(),
            Reply::Chunk {
                items,
                page_info,
                backend_id,
                why: _,
            } => self.chunk(request_id, items, page_info, backend_id, carrier),
            Reply::Ended | Reply::AdminReset => self.exit_ended(request_id),
            Reply::Pushed => self.exit_success(request_id, "{}"),
            Reply::Pinged if carrier == Carrier::Http => {
                self.exit_success(request_id, r#"{"_tag":"SyncMessage.Pong"}"#)
            }
            Reply::Pinged => self.exit_ended(request_id),
            Reply::Interrupted => self.exit_interrupted(request_id),
            Reply::ServerAhead {
                minimum_expected,
                provided,
            } => self.exit_server_ahead(request_id, minimum_expected, provided),
            Reply::BackendIdMismatch { expected, received } => {
                self.exit_backend_id_mismatch(request_id, expected, received)
            }
            Reply::Failed {
                code,
                message,
                retry_after_ms,
            } => self.exit_unknown_error(request_id, code, message, retry_after_ms),
            // Nobody can ask for it.
            Reply::AdminInfo { .. } => self.exit_ended(request_id),
        }
    }

    fn defect(&self, words: &str) -> String {
        frames::defect(words)
    }

    fn item_form(&self) -> ItemForm {
        self.items
    }

    fn callback(&self) -> Callback {
        self.callback
    }
}

impl Rpc {
    /// How the frame of a Chunk begins that somebody's push brings: as far as
    /// it is one request's. [`chunk_rest`] follows, which is written once for
    /// all (design D5).
    #[must_use]
    pub fn chunk_head(self, request_id: &str, carrier: Carrier) -> String {
        let mut head = String::new();
        self.write_chunk_head(&mut head, request_id, carrier);
        head
    }
}

/// What a Chunk's frame has of a head beside its request's id, in bytes.
pub const HEAD_BYTES_MAX: usize = r#"{"_tag":"Chunk","requestId":"""#.len();

/// What follows its head in a Chunk's frame, whoever it is for and in
/// whatever version.
#[must_use]
pub fn chunk_rest(items: &str, page_info: PageInfo, backend_id: &str) -> String {
    let mut rest = String::with_capacity(items.len() + 224);
    frames::write_chunk_rest(&mut rest, items, page_info, backend_id);
    rest
}

/// The payload of a Pull.
#[derive(Deserialize)]
struct PullPayload<'a> {
    #[serde(rename = "storeId", borrow)]
    store_id: Cow<'a, str>,
    #[serde(default)]
    live: Option<Flag>,
    #[serde(borrow)]
    cursor: Object<OptionEncoded<'a>>,
    #[serde(rename = "rpcContext", borrow, default)]
    rpc_context: Option<Object<RpcContext<'a>>>,
}

/// Who wants to be called when more is pushed: present in a live pull by
/// another Durable Object (`src/common/do-rpc-schema.ts`).
#[derive(Deserialize)]
struct RpcContext<'a> {
    #[serde(rename = "callerContext", borrow)]
    caller: Object<Caller<'a>>,
}

#[derive(Deserialize)]
struct Caller<'a> {
    #[serde(rename = "bindingName", borrow)]
    binding: Cow<'a, str>,
    #[serde(rename = "durableObjectId", borrow)]
    object_id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Cursor {
    #[serde(rename = "backendId")]
    backend_id: String,
    /// Below 0 counts as 0 (transcript ws-10).
    #[serde(rename = "eventSequenceNumber")]
    seq_num: Int<i64>,
}

impl<'a> PullPayload<'a> {
    fn into_pull(self, trace: Option<Box<Trace>>) -> Result<Pull<'a>, DecodeError> {
        let cursor = self.cursor.0.decode::<Object<Cursor>>("cursor")?;
        let caller = self.rpc_context.map(|Object(context)| message::Caller {
            binding: context.caller.0.binding,
            object_id: context.caller.0.object_id,
        });
        Ok(Pull {
            store_id: Some(self.store_id),
            live: self.live.is_some_and(|live| live.0),
            cursor: cursor.map(|Object(cursor)| message::Cursor {
                backend_id: Some(cursor.backend_id),
                after: u64::try_from(cursor.seq_num.0).unwrap_or(0),
            }),
            caller,
            trace,
        })
    }
}

/// The payload of a Push.
#[derive(Deserialize)]
struct PushPayload<'a> {
    #[serde(rename = "storeId", borrow)]
    store_id: Cow<'a, str>,
    #[serde(borrow)]
    batch: WireBatch<'a>,
    #[serde(rename = "backendId", borrow)]
    backend_id: Object<OptionEncoded<'a>>,
}

/// The payload of a Ping over HTTP, or by another Durable Object.
#[derive(Deserialize)]
struct PingPayload<'a> {
    #[serde(rename = "storeId", borrow)]
    store_id: Cow<'a, str>,
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

/// How a message spells its request's id, if it has one. What is spelled as
/// real clients spell it (transcripts ws-01, next/ws-01) is seen at a glance:
/// over HTTP each request is a first one.
#[must_use]
pub fn first_id(message: &[u8]) -> Option<IdForm> {
    match message.strip_prefix(br#"{"_tag":"Request","id":"#) {
        Some([b'"', ..]) => return Some(IdForm::Text),
        Some([b'0'..=b'9', ..]) => return Some(IdForm::Number),
        _ => {}
    }
    strict::check_strings(message).ok()?;
    let Named { id, request_id } = strict::object(message).ok()?;
    let id = id.or(request_id)?.get();
    Some(if id.starts_with('"') {
        IdForm::Text
    } else {
        IdForm::Number
    })
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(rename = "requestId", borrow, default)]
    request_id: Option<&'a RawValue>,
}

/// The id of a request, whatever else is wrong with it.
#[must_use]
pub fn readable_id(frame: &[u8]) -> Option<RequestId> {
    let message: IdAlone<'_> = strict::object(frame).ok()?;
    request_id(message.id?)
}

/// The request id of an Ack that is spelled as real clients spell it
/// (transcript ws-01): by far the most frequent message, so it is read at a
/// glance. What is spelled otherwise is read as every other message is.
fn plain_ack(frame: &[u8], ids: IdForm) -> Option<&str> {
    let id = frame.strip_prefix(br#"{"_tag":"Ack","requestId":"#)?;
    let id = match ids {
        IdForm::Text => id.strip_prefix(br#"""#)?.strip_suffix(br#""}"#)?,
        IdForm::Number => id.strip_suffix(b"}")?,
    };
    str::from_utf8(id).ok().filter(|id| is_request_id(id))
}

fn is_request_id(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
}

impl Rpc {
    fn message<'a>(
        self,
        envelope: &Envelope<'a>,
        carrier: Carrier,
    ) -> Result<Message<'a>, DecodeError> {
        let id_of = |raw: Option<&RawValue>, key: &str| {
            raw.and_then(request_id)
                .ok_or_else(|| format!("`{key}` is missing, or no decimal digits."))
        };
        match envelope.tag.as_deref() {
            Some("Ping") => Ok(Message::Ping(RequestId::new())),
            Some("Eof") => Ok(Message::Eof),
            Some("Ack") => id_of(envelope.request_id, "requestId").map(Message::Ack),
            Some("Interrupt") => id_of(envelope.request_id, "requestId").map(Message::Interrupt),
            Some("Request") => {
                let id = id_of(envelope.id, "id")?;
                let is_text = envelope.id.is_some_and(|id| id.get().starts_with('"'));
                if is_text == (self.ids == IdForm::Text) {
                    Ok(Message::Request(id, self.call(envelope, carrier)))
                } else {
                    Err(
                        "`id` is not spelled as this connection's first was: a string or a number."
                            .to_owned(),
                    )
                }
            }
            Some(other) => Err(format!(
                "`_tag` is `{}`, which is no message.",
                shortened(other)
            )),
            None => Err("The message has no `_tag`.".to_owned()),
        }
    }
}

impl Rpc {
    /// Whether its clients take no event without arguments. One that they push
    /// themselves they would hold for another's when they are shown it with
    /// null, and push it again without end (next/README.md).
    fn needs_args(self) -> bool {
        self.items == ItemForm::Complete
    }

    fn call<'a>(self, envelope: &Envelope<'a>, carrier: Carrier) -> Result<Call<'a>, CallError> {
        let payload = envelope.payload.map_or("null", RawValue::get).as_bytes();
        let undecodable = |error: serde_json::Error| CallError::Undecodable(strict::words(&error));
        let name = envelope.procedure.as_deref().unwrap_or_default();
        let trace =
            Trace::read(envelope.trace_id, envelope.span_id, envelope.sampled).map(Box::new);
        let group = match carrier {
            Carrier::Socket => "SyncWsRpc",
            Carrier::Http => "SyncHttpRpc",
            Carrier::Object | Carrier::Callback => "SyncDoRpc",
        };
        let procedure = name.strip_prefix(group).unwrap_or_default();
        match (procedure, carrier) {
            (".Pull", _) => {
                let pull: PullPayload<'_> = strict::object(payload).map_err(undecodable)?;
                if carrier == Carrier::Socket && pull.live.is_none() {
                    return Err(CallError::Undecodable("`live` is missing.".to_owned()));
                }
                let pull = pull.into_pull(trace).map_err(CallError::Undecodable)?;
                Ok(Call::Pull(pull))
            }
            (".Push", _) => {
                let push: PushPayload<'_> = strict::object(payload).map_err(undecodable)?;
                if let Some(seq_num) =
                    event::without_args(&push.batch).filter(|_| self.needs_args())
                {
                    return Err(CallError::Undecodable(format!(
                        "The event with seqNum {seq_num} has no `args`: this version's clients cannot be shown it again. Give it a schema with arguments."
                    )));
                }
                let backend_id = push.backend_id.0.decode("backendId");
                Ok(Call::Push(Push {
                    store_id: Some(push.store_id),
                    batch: push.batch,
                    backend_id: backend_id.map_err(CallError::Undecodable)?,
                    trace,
                }))
            }
            (".Ping", Carrier::Http | Carrier::Object) => {
                let ping: PingPayload<'_> = strict::object(payload).map_err(undecodable)?;
                Ok(Call::Ping(message::Ping {
                    store_id: ping.store_id,
                }))
            }
            _ => Err(CallError::UnknownRpc(shortened(name).to_owned())),
        }
    }
}

/// Foreign text in an answer, cut to a length that is still readable.
fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(64)
        .and_then(|(end, _)| text.get(..end))
        .unwrap_or(text)
}

/// A request id as it stands in JSON: decimal digits, as a string or as a
/// number.
fn request_id(raw: &RawValue) -> Option<RequestId> {
    // Escapes make a string longer, six times at most.
    if raw.get().len() > 6 * REQUEST_ID_BYTES_MAX {
        return None;
    }
    let id = serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
    is_request_id(&id).then_some(id)
}
