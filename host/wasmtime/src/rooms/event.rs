//! What a room's turns are about.

use std::time::Instant;

use bytes::Bytes;
use opentelemetry::trace::SpanContext;
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
        /// The span that its client connected in, if it said so.
        parent: Option<Box<SpanContext>>,
    },
    /// A frame arrived. The permits are what lets sockets read on.
    Message {
        /// Whose.
        connection: u32,
        /// The frame.
        frame: Frame,
        /// When it arrived, if anybody wants to know.
        arrived: Option<Instant>,
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
        /// When it arrived, if anybody wants to know.
        arrived: Option<Instant>,
        /// The span that it is made in, if there is one.
        parent: Option<Box<SpanContext>>,
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

    /// When it arrived, if anybody wants to know.
    #[must_use]
    pub fn arrived(&self) -> Option<Instant> {
        match self {
            Self::Message { arrived, .. } | Self::Request { arrived, .. } => *arrived,
            _ => None,
        }
    }

    /// The connection that it is about, if it is about one.
    #[must_use]
    pub fn about(&self) -> Option<u32> {
        match self {
            Self::Open { connection, .. }
            | Self::Message { connection, .. }
            | Self::Drained { connection }
            | Self::Closed { connection } => Some(*connection),
            Self::Wake | Self::Request { .. } | Self::Resume { .. } => None,
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
