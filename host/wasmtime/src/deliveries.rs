//! Broadcasts on their way out. A frame for many sockets does not go to all
//! of them at once: between some and the next, the shard looks for turns that
//! wait. So pushes go on while the broadcast of the last one is under way, and
//! a socket whose time has come is written all that is due to it by then, in
//! one system call.

use std::collections::VecDeque;

use tungstenite::Utf8Bytes;

use crate::outbox::{Nudge, Outbox};

/// Looks for turns during a broadcast, at most: each may put the rest of it
/// off by a commit.
const LOOKS_MAX: usize = 6;

/// Sockets that are written to between two looks, at least: a look is a
/// system call.
const SOCKETS_MIN: usize = 4;

/// A broadcast, as the sum of its sockets' shares.
const WHOLE: usize = 1 << 20;

/// Sockets that have frames and have not been told, each with its share of the
/// broadcast for which it waits.
#[derive(Default)]
pub struct Deliveries(VecDeque<(Nudge, usize)>);

impl Deliveries {
    /// Queues a frame, which is for so many sockets, for one of them.
    pub fn hold(&mut self, outbox: &Outbox, frame: Utf8Bytes, sockets: usize) {
        let nudge = outbox.hold(frame);
        self.0
            .extend(nudge.map(|nudge| (nudge, WHOLE / sockets.max(1))));
    }

    /// Whether no socket waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets the next ones write.
    pub fn let_some_go(&mut self) {
        let (mut gone, mut shares) = (0, 0);
        while (gone < SOCKETS_MIN || shares < WHOLE / LOOKS_MAX)
            && let Some((nudge, share)) = self.0.pop_front()
        {
            nudge.give();
            gone += 1;
            shares += share;
        }
    }
}
