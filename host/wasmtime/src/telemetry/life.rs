//! A WebSocket's life, as the log tells it: one line when it is over.

use std::sync::Arc;
use std::time::Instant;

use tracing::debug;

use crate::flow::outbox::End;
use crate::telemetry::peer::Peer;
use crate::telemetry::refusals::{Refusals, millis};

/// A WebSocket that was let in.
pub struct Life {
    refusals: Arc<Refusals>,
    peer: Peer,
    store: Arc<str>,
    since: Instant,
}

impl Life {
    /// One that begins now.
    #[must_use]
    pub fn new(refusals: Arc<Refusals>, peer: Peer, store: Arc<str>) -> Self {
        Self {
            refusals,
            peer,
            store,
            since: Instant::now(),
        }
    }

    /// It is over. That this server ended it is for whoever runs it; all else
    /// is how connections are.
    pub fn ended(&self, end: Option<End>) {
        let Self {
            refusals,
            peer,
            store,
            since,
        } = self;
        let lived = since.elapsed();
        let code = match end {
            Some(End::Server(code, reason)) => {
                return refusals.closed(peer, store, code, &reason, lived);
            }
            Some(End::Client(code)) => Some(code),
            None => None,
        };
        debug!(
            code,
            store = &**store,
            by = if code.is_some() { "client" } else { "network" },
            lived_ms = millis(lived),
            origin = peer.origin.as_deref(),
            address = %peer.address,
            forwarded_for = peer.forwarded_for.as_deref(),
            "ended"
        );
    }
}
