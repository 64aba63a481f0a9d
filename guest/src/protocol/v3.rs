//! LiveStore 0.3: messages as JSON, one a frame, over WebSocket. Sources:
//! `@livestore/sync-cf` 0.3.1 (`src/common/ws-message-types.ts`,
//! `src/cf-worker/durable-object.ts`) and the transcripts v031-*.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::dialect::Codec;
use super::event::{ItemForm, WireBatch, write_string};
use super::message::{Call, CallError, Cursor, DecodeError, Decoded, Message, Pull, Push};
use super::reply::{PageInfo, Reply, Why};
use super::speech::Carrier;
use super::strict::{self, Int};
use crate::imports::Callback;
use crate::limits::REQUEST_ID_V3_BYTES_MAX;

/// The client's keep-alive, to the byte (transcript v031-ws-01).
pub const PING: &str = r#"{"_tag":"WSMessage.Ping","requestId":"ping"}"#;

/// Its answer.
pub const PONG: &str = r#"{"_tag":"WSMessage.Pong","requestId":"ping"}"#;

/// How it is read and written.
pub const CODEC: V3 = V3;

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct V3;

impl Codec for V3 {
    fn read<'a>(&self, message: &'a [u8], _: Carrier) -> Decoded<'a> {
        strict::check_strings(message)?;
        let envelope: Envelope<'_> = strict::object(message).map_err(|error| {
            format!(
                "The frame is not one JSON object with a `_tag`: {}",
                strict::words(&error)
            )
        })?;
        let id = envelope
            .request_id
            .filter(|id| id.len() <= REQUEST_ID_V3_BYTES_MAX)
            .ok_or("`requestId` is missing or too long.")?
            .into_owned();
        let call = match envelope.tag.as_deref() {
            Some("WSMessage.Ping") => return Ok(Message::Ping(id)),
            Some("WSMessage.PullReq") => read::<PullReq>(message).map(pull),
            Some("WSMessage.PushReq") => read::<PushReq<'_>>(message).map(push),
            Some("WSMessage.AdminInfoReq") => {
                read::<AdminReq<'_>>(message).map(|admin| Call::AdminInfo(admin.admin_secret))
            }
            Some("WSMessage.AdminResetRoomReq") => {
                read::<AdminReq<'_>>(message).map(|admin| Call::AdminReset(admin.admin_secret))
            }
            _ => Err("`_tag` names no message that this server takes.".to_owned()),
        };
        Ok(Message::Request(id, call.map_err(CallError::Undecodable)))
    }

    fn write(&self, request_id: &str, reply: &Reply<'_>, _: Carrier) -> String {
        match *reply {
            Reply::Pong => plain("WSMessage.Pong", request_id, None, None),
            Reply::Chunk {
                items,
                page_info,
                backend_id: _,
                why,
            } => pull_res(items, why, request_id, page_info),
            Reply::Pushed => plain("WSMessage.PushAck", request_id, None, None),
            Reply::ServerAhead {
                minimum_expected,
                provided,
            } => error(request_id, &server_ahead(minimum_expected, provided)),
            Reply::Failed { message, .. } => error(request_id, message),
            Reply::AdminInfo { room_id } => {
                let info = Info {
                    durable_object_id: room_id,
                };
                plain("WSMessage.AdminInfoRes", request_id, None, Some(info))
            }
            Reply::AdminReset => plain("WSMessage.AdminResetRoomRes", request_id, None, None),
            // It has no pulls that end or are interrupted, no other Ping, and
            // names no incarnation.
            Reply::Ended | Reply::Interrupted | Reply::Pinged | Reply::BackendIdMismatch { .. } => {
                error(request_id, "")
            }
        }
    }

    fn defect(&self, words: &str) -> String {
        error("", words)
    }

    fn item_form(&self) -> ItemForm {
        ItemForm::Bare
    }

    /// No object can subscribe.
    fn callback(&self) -> Callback {
        Callback::Value
    }
}

fn pull<'a>(pull: PullReq) -> Call<'a> {
    Call::Pull(Pull {
        store_id: None,
        live: true,
        cursor: pull.cursor.map(|cursor| Cursor {
            backend_id: None,
            after: u64::try_from(cursor.0).unwrap_or(0),
        }),
        caller: None,
        trace: None,
    })
}

fn push(push: PushReq<'_>) -> Call<'_> {
    Call::Push(Push {
        store_id: None,
        batch: push.batch,
        backend_id: None,
        trace: None,
    })
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "_tag", borrow, default)]
    tag: Option<Cow<'a, str>>,
    #[serde(rename = "requestId", borrow, default)]
    request_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct PullReq {
    #[serde(default)]
    cursor: Option<Int<i64>>,
}

#[derive(Deserialize)]
struct PushReq<'a> {
    #[serde(borrow)]
    batch: WireBatch<'a>,
}

#[derive(Deserialize)]
struct AdminReq<'a> {
    #[serde(rename = "adminSecret", borrow)]
    admin_secret: Cow<'a, str>,
}

fn read<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Result<T, DecodeError> {
    strict::object(frame).map_err(|error| strict::words(&error))
}

/// A `WSMessage.PullRes`.
fn pull_res(items: &str, why: Why, request_id: &str, page_info: PageInfo) -> String {
    let remaining = match page_info {
        PageInfo::NoMore => 0,
        PageInfo::MoreKnown(remaining) => remaining,
    };
    let mut frame = String::with_capacity(items.len() + 256);
    frame.push_str(r#"{"_tag":"WSMessage.PullRes","batch":["#);
    frame.push_str(items);
    frame.push_str(match why {
        Why::Pull => r#"],"requestId":{"context":"pull","requestId":"#,
        Why::Push => r#"],"requestId":{"context":"push","requestId":"#,
    });
    write_string(&mut frame, request_id);
    frame.push_str(r#"},"remaining":"#);
    frame.push_str(&remaining.to_string());
    frame.push('}');
    frame
}

#[derive(Serialize)]
struct Plain<'a> {
    #[serde(rename = "_tag")]
    tag: &'static str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Info<'a>>,
}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(rename = "durableObjectId")]
    durable_object_id: &'a str,
}

fn plain(
    tag: &'static str,
    request_id: &str,
    message: Option<&str>,
    info: Option<Info<'_>>,
) -> String {
    serde_json::to_string(&Plain {
        tag,
        request_id,
        message,
        info,
    })
    .unwrap_or_default()
}

/// A `WSMessage.Error`. Without a readable request id, an empty one.
fn error(request_id: &str, message: &str) -> String {
    plain("WSMessage.Error", request_id, Some(message), None)
}

/// The text of the error that 0.3 clients get for a parent that is not the
/// head; upstream's words.
fn server_ahead(minimum_expected: u64, provided: u64) -> String {
    format!("Invalid parent event number. Received e{provided} but expected e{minimum_expected}")
}
