//! Events on the wire: `LiveStoreEvent.Global.Encoded` of both client
//! versions. `args` is carried as text, never re-encoded (design D6).

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::strict::{Int, List, Object};
use crate::imports::Event;
use crate::limits::PUSH_EVENTS_MAX;

/// An event in a push, borrowed from its frame. Keys that are not known are
/// ignored, as upstream does.
#[derive(Debug, Deserialize)]
pub struct WireEvent<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    // Not `Option`'s own rule: an explicit null is an argument too.
    #[serde(borrow, default, deserialize_with = "present")]
    args: Option<&'a RawValue>,
    #[serde(rename = "seqNum")]
    seq_num: Int<u64>,
    #[serde(rename = "parentSeqNum")]
    parent_seq_num: Int<u64>,
    #[serde(rename = "clientId", borrow)]
    client_id: Cow<'a, str>,
    #[serde(rename = "sessionId", borrow)]
    session_id: Cow<'a, str>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A push's batch.
pub type WireBatch<'a> = List<Object<WireEvent<'a>>, PUSH_EVENTS_MAX>;

/// The batch as the rest of the guest sees it. Of one that is too long, as
/// much as shows that it is.
#[must_use]
pub fn events<'a>(batch: &'a WireBatch<'_>) -> Vec<Event<'a>> {
    batch
        .0
        .iter()
        .map(|Object(event)| Event {
            seq_num: event.seq_num.0,
            parent_seq_num: event.parent_seq_num.0,
            name: &event.name,
            args: event.args.map(RawValue::get),
            client_id: &event.client_id,
            session_id: &event.session_id,
        })
        .collect()
}

/// The first event of a batch that has no arguments, by its sequence number.
#[must_use]
pub fn without_args(batch: &WireBatch<'_>) -> Option<u64> {
    let mut events = batch.0.iter();
    let first = events.find(|Object(event)| event.args.is_none());
    first.map(|Object(event)| event.seq_num.0)
}

/// Which metadata an item of a pulled batch carries, and whether its event has
/// arguments in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemForm {
    /// `{"_tag":"SyncMessage.SyncMetadata","createdAt":…}` (transcript ws-01).
    Tagged,
    /// The same, and `args` are null where an event has none: clients of next
    /// never pull again after an item without (next/README.md).
    Complete,
    /// `{"createdAt":…}` (transcript v031-ws-01).
    Bare,
}

/// Appends an item of a pulled batch: the event and when it was committed.
pub fn write_item(out: &mut String, form: ItemForm, event: &Event<'_>, created_at: &str) {
    out.push_str(r#"{"eventEncoded":{"name":"#);
    write_string(out, event.name);
    let none = (form == ItemForm::Complete).then_some("null");
    if let Some(args) = event.args.or(none) {
        out.push_str(r#","args":"#);
        out.push_str(args);
    }
    out.push_str(r#","seqNum":"#);
    out.push_str(&event.seq_num.to_string());
    out.push_str(r#","parentSeqNum":"#);
    out.push_str(&event.parent_seq_num.to_string());
    out.push_str(r#","clientId":"#);
    write_string(out, event.client_id);
    out.push_str(r#","sessionId":"#);
    write_string(out, event.session_id);
    out.push_str(match form {
        ItemForm::Tagged | ItemForm::Complete => {
            r#"},"metadata":{"_tag":"Some","value":{"_tag":"SyncMessage.SyncMetadata","createdAt":"#
        }
        ItemForm::Bare => r#"},"metadata":{"_tag":"Some","value":{"createdAt":"#,
    });
    write_string(out, created_at);
    out.push_str("}}}");
}

/// Appends a JSON string.
pub fn write_string(out: &mut String, text: &str) {
    // Writing a string to memory cannot fail; an empty one is still JSON.
    match serde_json::to_string(text) {
        Ok(json) => out.push_str(&json),
        Err(_) => out.push_str("\"\""),
    }
}
