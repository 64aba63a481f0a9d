//! What a room's turns are about.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::component::turn::{Page, Reply};
use crate::contract::{Admission, Frame};
use crate::flow::intake::Permits;
use crate::flow::outbox::Outbox;

/// An event for a room: what the turn is about.
pub enum Event {
    /// A socket was admitted and accepted.
    Open {
        /// Its number in this room.
        connection: u32,
        /// How it was admitted.
        admission: Box<Admission>,
        /// Where its frames go.
        outbox: Outbox,
    },
    /// A frame arrived. The permits are what lets sockets read on.
    Message {
        /// Whose.
        connection: u32,
        /// The frame.
        frame: Frame,
        /// Returned when the turn is over.
        permits: Permits,
    },
    /// The socket's outbox has room again.
    Drained {
        /// Whose.
        connection: u32,
    },
    /// The room's timer is over.
    Wake,
    /// The socket is gone.
    Closed {
        /// Whose.
        connection: u32,
    },
    /// An HTTP request. Without an answer, the turn failed.
    Request {
        /// How it was admitted.
        admission: Box<Admission>,
        /// Its body.
        body: Bytes,
        /// Returned when the turn is over.
        permits: Permits,
        /// Where the answer goes.
        reply: Reply,
    },
    /// The next page of an answer.
    Resume {
        /// What the page before left.
        continuation: String,
        /// Where the page goes.
        reply: oneshot::Sender<Page>,
    },
}

impl Event {
    /// The connection that waits for what comes of it.
    #[must_use]
    pub fn asker(&self) -> Option<u32> {
        match self {
            Self::Message { connection, .. } => Some(*connection),
            _ => None,
        }
    }

    /// What it brings, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Message { frame, .. } => match frame {
                Frame::Text(text) => text.len(),
                Frame::Binary(bytes) => bytes.len(),
            },
            Self::Request { body, .. } => body.len(),
            _ => 0,
        }
    }
}
