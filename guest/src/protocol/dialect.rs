//! The versions of LiveStore that are spoken. A new one is a file beside this
//! one with its codec, a line in each function here, and its transcripts.

use serde::{Deserialize, Serialize};

use super::event::ItemForm;
use super::message::Decoded;
use super::reply::Reply;
use super::rpc::{self, Rpc};
use super::speech::Carrier;
use super::{next, v3, v4};
use crate::imports::Callback;

/// A version of the wire.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dialect {
    /// LiveStore 0.3.
    #[serde(rename = "0.3")]
    V3,
    /// LiveStore 0.4. What tells nothing is taken for it.
    #[default]
    #[serde(rename = "0.4")]
    V4,
    /// LiveStore's main branch, not yet released (`next.rs` names the commit).
    #[serde(rename = "next")]
    Next,
}

impl Dialect {
    /// How its frames are read and written.
    #[must_use]
    pub fn codec(self) -> &'static dyn Codec {
        match self {
            Self::V3 => &v3::CODEC,
            Self::V4 => &v4::CODEC,
            Self::Next => &next::CODEC,
        }
    }

    /// The version of a message whose sender's is not known yet, if the
    /// message tells. 0.3's clients come in by another way.
    #[must_use]
    pub fn of_first(message: &[u8]) -> Option<Self> {
        match rpc::first_id(message)? {
            rpc::IdForm::Text => Some(Self::V4),
            rpc::IdForm::Number => Some(Self::Next),
        }
    }

    /// Its spelling of Effect RPC. `None` for 0.3, whose clients do not pull on
    /// every connection and acknowledge nothing: they are fed.
    #[must_use]
    pub fn rpc(self) -> Option<&'static Rpc> {
        match self {
            Self::V3 => None,
            Self::V4 => Some(&v4::CODEC),
            Self::Next => Some(&next::CODEC),
        }
    }
}

/// The keep-alive of clients that came in like this, to the byte, and its
/// answer: hosts may give it without waking a room. `None` where there is
/// none.
#[must_use]
pub fn keep_alive(
    carrier: Carrier,
    dialect: Option<Dialect>,
) -> Option<(&'static str, &'static str)> {
    match (carrier, dialect) {
        (Carrier::Socket, Some(Dialect::V3)) => Some((v3::PING, v3::PONG)),
        (Carrier::Socket, _) => Some((rpc::PING, rpc::PONG)),
        (Carrier::Http | Carrier::Object | Carrier::Callback, _) => None,
    }
}

/// How a version's frames are read and written.
pub trait Codec: Sync {
    /// Reads one message.
    ///
    /// # Errors
    /// When no request id can be read that an answer could name: the words for
    /// a [`Codec::defect`].
    fn read<'a>(&self, message: &'a [u8], carrier: Carrier) -> Decoded<'a>;

    /// Writes what answers a request.
    fn write(&self, request_id: &str, reply: &Reply<'_>, carrier: Carrier) -> String;

    /// Writes what answers a message that cannot be understood, with words for
    /// its sender.
    fn defect(&self, words: &str) -> String;

    /// How an event stands in a Chunk.
    fn item_form(&self) -> ItemForm;

    /// What Durable Objects are called with that have subscribed.
    fn callback(&self) -> Callback;
}
