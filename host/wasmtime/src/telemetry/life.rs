//! A WebSocket's life, as the log tells it: one line when it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing::debug;

use crate::flow::outbox::End;
use crate::telemetry::Telemetry;
use crate::telemetry::ids::shown;
use crate::telemetry::peer::Peer;
use crate::telemetry::refusals::{Refusals, millis};

/// What a connection brought and took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames from its client.
    pub frames_in: u64,
    /// Their payload, in bytes.
    pub bytes_in: u64,
    /// Frames that its client has taken.
    pub frames_out: u64,
    /// Their payload, in bytes.
    pub bytes_out: u64,
    /// Frames that waited for it when its end began, and were not taken yet.
    pub unsent_frames: u64,
    /// Their text, in bytes.
    pub unsent_bytes: u64,
}

/// Counts it. One task writes.
#[derive(Debug, Default)]
struct Counts {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
}

/// Adds, where nobody else does.
fn add(to: &AtomicU64, more: usize) {
    let more = u64::try_from(more).unwrap_or(u64::MAX);
    let sum = to.load(Ordering::Relaxed).saturating_add(more);
    to.store(sum, Ordering::Relaxed);
}

/// A WebSocket that was let in.
pub struct Life {
    refusals: Arc<Refusals>,
    peer: Peer,
    store: Arc<str>,
    since: Instant,
    counts: Counts,
}

impl Life {
    /// One that begins now.
    #[must_use]
    pub fn new(refusals: Arc<Refusals>, peer: Peer, store: Arc<str>) -> Self {
        if let Some(meters) = refusals.telemetry().meters() {
            meters.connected();
        }
        debug!(
            event = "opened",
            store = &*shown(&store),
            origin = peer.origin.as_deref(),
            address = %peer.address,
            forwarded_for = peer.forwarded_for.as_deref(),
            request_id = peer.request_id(),
            "opened"
        );
        Self {
            refusals,
            peer,
            store,
            since: Instant::now(),
            counts: Counts::default(),
        }
    }

    /// The metrics and traces that it is a part of.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        self.refusals.telemetry()
    }

    /// A frame has come.
    pub fn heard(&self, bytes: usize) {
        add(&self.counts.frames_in, 1);
        add(&self.counts.bytes_in, bytes);
    }

    /// Its client has taken so many frames.
    pub fn taken(&self, frames: usize, bytes: usize) {
        add(&self.counts.frames_out, frames);
        add(&self.counts.bytes_out, bytes);
        if let Some(meters) = self.telemetry().meters() {
            let number = |value| u64::try_from(value).unwrap_or(u64::MAX);
            meters.delivered(number(frames), number(bytes));
        }
    }

    fn traffic(&self, (unsent_frames, unsent_bytes): (usize, usize)) -> Traffic {
        let number = |value| u64::try_from(value).unwrap_or(u64::MAX);
        let get = |from: &AtomicU64| from.load(Ordering::Relaxed);
        Traffic {
            frames_in: get(&self.counts.frames_in),
            bytes_in: get(&self.counts.bytes_in),
            frames_out: get(&self.counts.frames_out),
            bytes_out: get(&self.counts.bytes_out),
            unsent_frames: number(unsent_frames),
            unsent_bytes: number(unsent_bytes),
        }
    }

    /// It is over, and so many frames, and bytes of theirs, wait to be taken.
    /// That this server ended it is for whoever runs it; all else
    /// is how connections are.
    pub fn ended(&self, end: Option<End>, unsent: (usize, usize)) {
        let Self {
            refusals,
            peer,
            store,
            since,
            counts: _,
        } = self;
        if let Some(meters) = self.telemetry().meters() {
            meters.closed(end.as_ref());
        }
        let (lived, traffic) = (since.elapsed(), self.traffic(unsent));
        let code = match end {
            Some(End::Server(code, reason)) => {
                return refusals.closed(peer, store, (code, &reason), (lived, traffic));
            }
            Some(End::Client(code)) => Some(code),
            None => None,
        };
        debug!(
            event = "ended",
            code,
            store = &*shown(store),
            by = if code.is_some() { "client" } else { "network" },
            lived_ms = millis(lived),
            frames_in = traffic.frames_in,
            bytes_in = traffic.bytes_in,
            frames_out = traffic.frames_out,
            bytes_out = traffic.bytes_out,
            unsent_frames = traffic.unsent_frames,
            unsent_bytes = traffic.unsent_bytes,
            origin = peer.origin.as_deref(),
            address = %peer.address,
            forwarded_for = peer.forwarded_for.as_deref(),
            request_id = peer.request_id(),
            "ended"
        );
    }
}
