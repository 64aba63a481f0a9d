//! Broadcasts on their way out. A frame for many sockets does not go to all
//! of them at once: between some and the next, the shard looks for turns that
//! wait. So a push is answered while the broadcast of the last one is under
//! way, and a socket whose time has come is written all that is due to it by
//! then, in one system call.

use std::collections::VecDeque;

use tungstenite::Utf8Bytes;

use crate::outbox::{Nudge, Outbox};

/// Sockets that are written to between two looks for turns, at least: a look
/// that finds a push takes as long as a commit.
const SOCKETS_MIN: usize = 16;

/// Looks for turns during a broadcast to a crowd, at most: each may put the
/// rest of it off by a commit.
const LOOKS_MAX: usize = 16;

/// Sockets that have frames and have not been told.
#[derive(Default)]
pub struct Deliveries(VecDeque<Nudge>);

impl Deliveries {
    /// Queues a frame for a socket whose time will come.
    pub fn hold(&mut self, outbox: &Outbox, frame: Utf8Bytes) {
        self.0.extend(outbox.hold(frame));
    }

    /// Whether no socket waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets the next ones write.
    pub fn let_some_go(&mut self) {
        let count = self.0.len().div_ceil(LOOKS_MAX).max(SOCKETS_MIN);
        for nudge in self.0.drain(..count.min(self.0.len())) {
            nudge.give();
        }
    }
}
