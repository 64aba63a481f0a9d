//! LiveStore 0.3: messages as JSON, one a frame, over WebSocket. Sources:
//! `@livestore/sync-cf` 0.3.1 (`src/common/ws-message-types.ts`,
//! `src/cf-worker/durable-object.ts`) and the transcripts v031-*.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::DecodeError;
use super::event::{WireBatch, write_string};
use super::strict::{self, Int};
use crate::limits::REQUEST_ID_V3_BYTES_MAX;

/// The client's keep-alive, to the byte (transcript v031-ws-01).
pub const PING: &str = r#"{"_tag":"WSMessage.Ping","requestId":"ping"}"#;

/// Its answer.
pub const PONG: &str = r#"{"_tag":"WSMessage.Pong","requestId":"ping"}"#;

/// A message from a client.
#[derive(Debug)]
pub enum Message<'a> {
    /// `WSMessage.PullReq`: where to start, `None` from the beginning.
    Pull(Option<u64>),
    /// `WSMessage.PushReq`.
    Push(WireBatch<'a>),
    /// `WSMessage.Ping`.
    Ping,
    /// `WSMessage.AdminInfoReq`, with the secret given.
    AdminInfo(Cow<'a, str>),
    /// `WSMessage.AdminResetRoomReq`, with the secret given.
    AdminReset(Cow<'a, str>),
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

/// Reads one message: its request id, as far as it has one, and what it is.
pub fn decode(frame: &[u8]) -> (Option<String>, Result<Message<'_>, DecodeError>) {
    if let Err(words) = strict::check_strings(frame) {
        return (None, Err(words));
    }
    let envelope: Envelope<'_> = match strict::object(frame) {
        Ok(envelope) => envelope,
        Err(error) => {
            let words = format!(
                "The frame is not one JSON object with a `_tag`: {}",
                strict::words(&error)
            );
            return (None, Err(words));
        }
    };
    let request_id = envelope
        .request_id
        .filter(|id| id.len() <= REQUEST_ID_V3_BYTES_MAX)
        .map(Cow::into_owned);
    if request_id.is_none() {
        return (None, Err("`requestId` is missing or too long.".to_owned()));
    }
    let message = match envelope.tag.as_deref() {
        Some("WSMessage.Ping") => Ok(Message::Ping),
        Some("WSMessage.PullReq") => read::<PullReq>(frame).map(|pull| {
            Message::Pull(
                pull.cursor
                    .map(|cursor| u64::try_from(cursor.0).unwrap_or(0)),
            )
        }),
        Some("WSMessage.PushReq") => {
            read::<PushReq<'_>>(frame).map(|push| Message::Push(push.batch))
        }
        Some("WSMessage.AdminInfoReq") => {
            read::<AdminReq<'_>>(frame).map(|admin| Message::AdminInfo(admin.admin_secret))
        }
        Some("WSMessage.AdminResetRoomReq") => {
            read::<AdminReq<'_>>(frame).map(|admin| Message::AdminReset(admin.admin_secret))
        }
        _ => Err("`_tag` names no message that this server takes.".to_owned()),
    };
    (request_id, message)
}

fn read<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Result<T, DecodeError> {
    strict::object(frame).map_err(|error| strict::words(&error))
}

/// What a `PullRes` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// A `PullReq`.
    Pull,
    /// A push, anyone's.
    Push,
}

/// A `WSMessage.PullRes`.
#[must_use]
pub fn pull_res(items: &str, context: Context, request_id: &str, remaining: u64) -> String {
    let mut frame = String::with_capacity(items.len() + 256);
    frame.push_str(r#"{"_tag":"WSMessage.PullRes","batch":["#);
    frame.push_str(items);
    frame.push_str(match context {
        Context::Pull => r#"],"requestId":{"context":"pull","requestId":"#,
        Context::Push => r#"],"requestId":{"context":"push","requestId":"#,
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

/// A `WSMessage.PushAck`.
#[must_use]
pub fn push_ack(request_id: &str) -> String {
    plain("WSMessage.PushAck", request_id, None, None)
}

/// A `WSMessage.Pong`.
#[must_use]
pub fn pong(request_id: &str) -> String {
    plain("WSMessage.Pong", request_id, None, None)
}

/// A `WSMessage.Error`. Without a readable request id, an empty one.
#[must_use]
pub fn error(request_id: Option<&str>, message: &str) -> String {
    plain(
        "WSMessage.Error",
        request_id.unwrap_or_default(),
        Some(message),
        None,
    )
}

/// The text of the error that 0.3 clients get for a parent that is not the
/// head; upstream's words.
#[must_use]
pub fn server_ahead_text(minimum_expected: u64, provided: u64) -> String {
    format!("Invalid parent event number. Received e{provided} but expected e{minimum_expected}")
}

/// A `WSMessage.AdminResetRoomRes`.
#[must_use]
pub fn admin_reset_res(request_id: &str) -> String {
    plain("WSMessage.AdminResetRoomRes", request_id, None, None)
}

/// A `WSMessage.AdminInfoRes`.
#[must_use]
pub fn admin_info_res(request_id: &str, room_id: &str) -> String {
    plain(
        "WSMessage.AdminInfoRes",
        request_id,
        None,
        Some(Info {
            durable_object_id: room_id,
        }),
    )
}
