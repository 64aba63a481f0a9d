//! What a shard does when more waits for clients to take it than may: those
//! that take the least are closed.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;

use super::Shard;
use crate::rooms::room::Room;

/// What is left to a socket when others wait for less, in bytes.
const BACKLOG_BYTES_MIN: usize = 64 * 1024;

impl Shard {
    /// Closes sockets that hold most of what waits to be taken, as far as
    /// their rooms, or all of this shard's, hold more than they may.
    pub(super) fn shed_output(&mut self) {
        let held = |rooms: &HashMap<Arc<str>, Room>| -> usize {
            rooms.values().map(|room| room.output().bytes()).sum()
        };
        let shard_excess = if self.output.is_over() {
            held(&self.rooms).saturating_sub(self.output_bytes_max)
        } else {
            0
        };
        let mut backlogs = Vec::new();
        for (store, room) in &self.rooms {
            let output = room.output();
            let excess = output.bytes().saturating_sub(output.bytes_max());
            if excess.max(shard_excess) == 0 {
                continue;
            }
            for (&connection, socket) in &room.sockets {
                let bytes = socket.outbox.bytes();
                if bytes > BACKLOG_BYTES_MIN {
                    backlogs.push((bytes, Arc::clone(store), connection));
                }
            }
        }
        backlogs.sort_unstable_by(|one, other| other.cmp(one));
        let mut left: HashMap<Arc<str>, usize> = HashMap::new();
        let mut shard_left = shard_excess;
        let mut closed = 0_usize;
        for (bytes, store, connection) in backlogs {
            let Some(room) = self.rooms.get(&store) else {
                continue;
            };
            let output = room.output();
            let room_left = left
                .entry(store)
                .or_insert_with(|| output.bytes().saturating_sub(output.bytes_max()));
            if *room_left == 0 && shard_left == 0 {
                continue;
            }
            *room_left = room_left.saturating_sub(bytes);
            shard_left = shard_left.saturating_sub(bytes);
            if let Some(socket) = room.sockets.get(&connection) {
                // Those that are closing are on their way out already.
                closed += usize::from(socket.outbox.overflow());
            }
        }
        if closed > 0 {
            warn!(
                event = "output_full",
                sockets = closed,
                "more waits for clients to take it than the server may hold: those that take the least are closed with 1013 TOO_SLOW"
            );
        }
    }
}
