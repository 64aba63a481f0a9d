//! What a room refuses or fails at, in the terms that clients get: a code
//! for programs, words for people, and when to try again.

use crate::code::Code;
use crate::imports::StorageError;
use crate::limits::{AUTHOR_ID_BYTES_MAX, EVENT_BYTES_MAX, NAME_BYTES_MAX, PUSH_EVENTS_MAX};
use crate::protocol::{CallError, Reply};

/// A request that was not served. Nothing was stored for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub code: Code,
    /// What happened and what to do. Holds no event content.
    pub message: String,
    /// When it is worth another try, if it is.
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: code.retry_after_ms(),
        }
    }

    /// What the client is told whose request it is the answer to.
    #[must_use]
    pub fn reply(&self) -> Reply<'_> {
        Reply::Failed {
            code: self.code.as_str(),
            message: &self.message,
            retry_after_ms: self.retry_after_ms,
        }
    }

    /// Whether it is in what was pushed, so that trying again cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self.code,
            Code::InvalidEvents | Code::EventTooLarge | Code::BatchTooLarge
        )
    }

    /// The request's payload does not fit its schema.
    #[must_use]
    pub fn invalid_request(words: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, words)
    }

    /// The transport has no such procedure.
    #[must_use]
    pub fn unknown_rpc(name: &str) -> Self {
        Self::new(
            Code::UnknownRpc,
            format!("There is no procedure `{name}` here."),
        )
    }

    /// The message names another store than the connection's.
    #[must_use]
    pub fn store_mismatch() -> Self {
        Self::new(
            Code::StoreMismatch,
            "The message's `storeId` is not the one this connection was admitted to.",
        )
    }

    /// The batch is no chain, or leaves the range of sequence numbers.
    #[must_use]
    pub fn broken_chain(words: impl Into<String>) -> Self {
        Self::new(Code::InvalidEvents, words)
    }

    /// One event is larger than a row may be.
    #[must_use]
    pub fn event_too_large(seq_num: u64) -> Self {
        Self::new(
            Code::EventTooLarge,
            format!(
                "The event with seqNum {seq_num} has more than {EVENT_BYTES_MAX} bytes; nothing was stored."
            ),
        )
    }

    /// One event's name or ids are longer than any real ones.
    #[must_use]
    pub fn event_text_too_long(seq_num: u64) -> Self {
        Self::new(
            Code::EventTooLarge,
            format!(
                "The event with seqNum {seq_num} has a `name` of more than {NAME_BYTES_MAX} bytes, or a `clientId` or `sessionId` of more than {AUTHOR_ID_BYTES_MAX}; nothing was stored."
            ),
        )
    }

    /// The push has too many events.
    #[must_use]
    pub fn batch_too_large() -> Self {
        Self::new(
            Code::BatchTooLarge,
            format!("A push may hold at most {PUSH_EVENTS_MAX} events; nothing was stored."),
        )
    }

    /// Another writer is faster than this room.
    #[must_use]
    pub fn overtaken() -> Self {
        StorageError::Conflict(0).into()
    }

    /// The server's clock shows no time that can be.
    #[must_use]
    pub fn clock_wrong() -> Self {
        Self::new(
            Code::ClockWrong,
            "The server's clock is wrong; nothing was stored. Try again.",
        )
    }

    /// Gateway and room are of different versions, for a while.
    #[must_use]
    pub fn version_unknown() -> Self {
        Self::new(
            Code::VersionUnknown,
            "Another version of the server has admitted this request; nothing was stored. Try again.",
        )
    }

    /// The calling object's binding is not on the operator's list.
    #[must_use]
    pub fn not_a_client() -> Self {
        Self::new(
            Code::Forbidden,
            "The `bindingName` is not among DO_RPC_CLIENTS: name it there to let its objects subscribe.",
        )
    }

    /// The calling object cannot be called back.
    #[must_use]
    pub fn no_such_object() -> Self {
        Self::new(
            Code::InvalidRequest,
            "There is no Durable Object binding of this `bindingName` with this `durableObjectId`.",
        )
    }

    /// The connection has too many pulls.
    #[must_use]
    pub fn too_many_pulls() -> Self {
        Self::new(
            Code::TooManyPulls,
            "This connection has too many pulls under way.",
        )
    }

    /// The client, or its user, asks too often.
    #[must_use]
    pub fn too_many_requests(retry_after_ms: u64) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(
                Code::TooManyRequests,
                "This client asks too often; nothing was stored. Try again later.",
            )
        }
    }
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        match error {
            CallError::UnknownRpc(name) => Self::unknown_rpc(&name),
            CallError::Undecodable(words) => Self::invalid_request(words),
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        // Storage's own words are for the log: they may name files.
        match error {
            StorageError::Conflict(_) => Self::new(
                Code::StorageConflict,
                "Another server has written to this store; nothing was stored. Try again.",
            ),
            StorageError::Full(_) => Self::new(
                Code::StorageFull,
                "The server's storage is full; nothing was stored.",
            ),
            StorageError::TooLarge(_) => Self::new(
                Code::EventTooLarge,
                format!("An event has more than {EVENT_BYTES_MAX} bytes; nothing was stored."),
            ),
            StorageError::Unavailable(_) => Self::new(
                Code::StorageUnavailable,
                "The server's storage failed; nothing was stored. Try again.",
            ),
        }
    }
}
