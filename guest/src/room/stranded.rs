//! Clients that reconnected and never pull again.
//!
//! A 0.4.0 client that slept for longer than its own time-outs keeps its pull
//! of the socket before, which nobody answers (seen with SIGSTOP; PROTOCOL.md,
//! "What real clients do"). It goes on pushing; once others were first, its push
//! is refused, and it waits for ever for a Chunk that no pull of its would
//! bring: its app says that it is in sync. A closed socket brings it back: it
//! reconnects and pulls.
//!
//! So a connection that has never pulled, and whose push was refused because
//! others were first, is closed, once it had its answer and the time to pull:
//! a client may push before it pulls; and one that pushes again by itself does
//! not wait for a pull. Each close that was not needed doubles a
//! client's reconnect delay.

use std::collections::BTreeMap;

use super::connection::Pulling;
use super::{Room, editor};
use crate::clock;
use crate::code::Code;
use crate::imports::{ConnectionId, Imports};

/// How long a client may take to pull after the first sign, in milliseconds: a
/// client that reconnects pulls within a round trip.
const PULL_WAIT_MS: u64 = 1_000;

/// Connections that have never pulled and should have, and until when they may
/// still.
#[derive(Debug, Default)]
pub struct Stranded(BTreeMap<ConnectionId, u64>);

impl Stranded {
    /// One that may pull until then.
    pub fn doubted(&mut self, id: ConnectionId, until_ms: u64) {
        self.0.insert(id, until_ms);
    }

    /// A connection is gone, or pulls.
    pub fn gone(&mut self, id: ConnectionId) {
        self.0.remove(&id);
    }

    /// When somebody has to be looked at.
    pub fn deadlines_ms(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.values().copied()
    }
}

impl Room {
    /// A connection pulls.
    pub(super) fn pulls_now(&mut self, id: ConnectionId) {
        self.stranded.gone(id);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        // Also of a pull that is refused, and starts nothing.
        if std::mem::replace(&mut connection.pulling, Pulling::Pulls) != Pulling::Pulls {
            self.mark_dirty(id);
        }
    }

    /// A connection did what only one does that has pulled: others were first
    /// where it pushed, or it acknowledged a pull. After an ordinary reconnect
    /// an Ack that waited may come before the Pull.
    pub(super) fn doubt(&mut self, imports: &mut impl Imports, id: ConnectionId, refused: bool) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.pulling != Pulling::Never {
            return;
        }
        let until_ms = clock::milliseconds(imports).saturating_add(PULL_WAIT_MS);
        connection.pulling = Pulling::Doubted { until_ms, refused };
        self.mark_dirty(id);
        self.stranded.doubted(id, until_ms);
    }

    /// A connection pushes: whoever is refused and tries again by itself does
    /// not wait for a pull.
    pub(super) fn pushes_again(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if let Pulling::Doubted { refused: true, .. } = connection.pulling {
            connection.pulling = Pulling::Never;
            self.stranded.gone(id);
            self.mark_dirty(id);
        }
    }

    /// Closes those that have had their time to pull.
    pub(super) fn close_stranded(&mut self, imports: &mut impl Imports) {
        if self.stranded.0.is_empty() {
            return;
        }
        let now_ms = clock::milliseconds(imports);
        let over = self.stranded.0.iter();
        let over: Vec<ConnectionId> = over
            .filter(|&(_, &until_ms)| editor::wait_ms(until_ms, now_ms).is_none())
            .map(|(&id, _)| id)
            .collect();
        for id in over {
            self.close(imports, id, Code::NeverPulled);
        }
    }
}
