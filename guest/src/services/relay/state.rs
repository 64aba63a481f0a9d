//! What travels with a relay between its steps: to the host it is opaque. No
//! secret of the server's is in it: whatever needs one reads it again.

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::stream::Stream;
use crate::contract::syncline::backend::services::Response;
use crate::services::answer::Form;

/// From the request's head to its body.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// How it is answered, and so which of the two services it is.
    pub form: Form,
    /// Whose quotas it uses.
    pub user: String,
    /// Headers of every answer.
    pub headers: Vec<(String, String)>,
}

/// From the call of the upstream to the end.
#[derive(Debug, Serialize, Deserialize)]
pub struct Relay {
    /// What is known of the request.
    pub ticket: Ticket,
    /// Whether the client wants a stream.
    pub is_stream: bool,
    /// Whether it wants a stream's usage figures.
    pub wants_usage: bool,
    /// The place that it holds among the user's calls, until it is settled.
    pub place: Option<u64>,
    /// When all of it has to be over, in milliseconds since 1970.
    pub until_ms: u64,
    /// Calls that were made.
    pub tries: u32,
    /// Whether the upstream may be at work, and so cost something.
    pub is_at_work: bool,
    /// The size of what was asked.
    pub request_bytes: u64,
    /// Where it is.
    pub phase: Phase,
}

/// Where a relay is.
#[derive(Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Before an answer's head. The request is behind the state.
    Calling,
    /// An answer of success is read whole.
    Collecting,
    /// An answer that refuses is read whole.
    Refused {
        /// Its status, 4xx.
        status: u16,
    },
    /// An answer is passed on. What of it is not read yet is behind the state.
    Streaming(Stream),
}

impl Relay {
    /// The context: the state's size, 4 bytes, the state, and what is behind
    /// it as it is.
    #[must_use]
    pub fn pack(&self, behind: &[&[u8]]) -> Vec<u8> {
        let state = serde_json::to_vec(self).unwrap_or_default();
        let mut context = Vec::with_capacity(
            state.len() + 4 + behind.iter().map(|bytes| bytes.len()).sum::<usize>(),
        );
        let size = u32::try_from(state.len()).unwrap_or(u32::MAX);
        context.extend(size.to_le_bytes());
        context.extend(state);
        for bytes in behind {
            context.extend_from_slice(bytes);
        }
        context
    }

    /// The state and what is behind it, if this is a context of ours.
    #[must_use]
    pub fn unpack(context: &[u8]) -> Option<(Self, &[u8])> {
        let (size, rest) = context.split_first_chunk::<4>()?;
        let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
        let (state, behind) = rest.split_at_checked(size)?;
        Some((serde_json::from_slice(state).ok()?, behind))
    }

    /// An error's answer.
    #[must_use]
    pub fn failure(&self, fault: &Fault) -> Response {
        self.ticket.failure(fault)
    }
}

impl Ticket {
    /// An error's answer.
    #[must_use]
    pub fn failure(&self, fault: &Fault) -> Response {
        self.form.failure(
            fault.status,
            fault.code.as_str(),
            &fault.message,
            fault.retry_after_ms,
            &self.headers_of(None),
        )
    }

    /// The headers of an answer, of a type if one is given. None is cached.
    #[must_use]
    pub fn headers_of(&self, content_type: Option<&str>) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        headers.push(("cache-control".to_owned(), "no-store".to_owned()));
        headers.push(("x-content-type-options".to_owned(), "nosniff".to_owned()));
        if let Some(content_type) = content_type {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        headers
    }
}
