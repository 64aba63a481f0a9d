//! LiveStore 0.4 between Durable Objects: `SyncDoRpc`, the messages of
//! [`v4`](super::v4) in arrays. On the wire they are MessagePack; the host has
//! made JSON of it. Source: `@livestore/common-cf` 0.4.0
//! (`src/do-rpc/server.ts`, `client.ts`) and the transcripts do-rpc-*.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::DecodeError;
use super::strict::{self, List, Object};
use crate::limits::CALL_MESSAGES_MAX;

/// A call's messages. Clients wrap them in one array or in two.
///
/// # Errors
/// When it is no array, or holds too many.
pub fn messages(body: &[u8]) -> Result<Vec<&RawValue>, DecodeError> {
    strict::check_strings(body)?;
    let mut messages = list(body)?;
    if let [only] = messages.as_slice()
        && only.get().starts_with('[')
    {
        messages = list(only.get().as_bytes())?;
    }
    if messages.len() > CALL_MESSAGES_MAX {
        return Err(format!("A call has at most {CALL_MESSAGES_MAX} requests."));
    }
    Ok(messages)
}

fn list(json: &[u8]) -> Result<Vec<&RawValue>, DecodeError> {
    // Upstream takes one request without its array, too.
    if json.starts_with(b"{")
        && let Ok(only) = serde_json::from_slice(json)
    {
        return Ok(vec![only]);
    }
    serde_json::from_slice::<List<&RawValue, CALL_MESSAGES_MAX>>(json)
        .map(|list| list.0)
        .map_err(|error| {
            format!(
                "The call is no array of requests: {}",
                strict::words(&error)
            )
        })
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    payload: Option<Object<Named<'a>>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(rename = "storeId", borrow)]
    store_id: Cow<'a, str>,
}

/// The store that a call's first request names.
#[must_use]
pub fn store_id(body: &[u8]) -> Option<String> {
    let messages = messages(body).ok()?;
    let envelope: Envelope<'_> = strict::object(messages.first()?.get().as_bytes()).ok()?;
    Some(envelope.payload?.0.store_id.into_owned())
}
