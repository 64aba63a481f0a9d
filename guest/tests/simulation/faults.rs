//! What goes wrong with a room.

use fastrand::Rng;

use super::super::coverage::seen;
use super::super::network::{Meaning, Owner, Subscriber};
use super::super::world::ADMIN_SECRET;
use super::Run;

/// How often: one in so many turns; 0 for never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub trap: u32,
    pub commit: u32,
    pub sleep: u32,
    pub reset: u32,
    pub writer: u32,
    pub clock: u32,
    /// One in so many storage calls.
    pub storage: u32,
}

impl Faults {
    /// Some, but seldom all of them.
    pub fn some(rng: &mut Rng) -> Self {
        let mut one_in = |from: u32| match rng.bool() {
            true => rng.u32(from..from * 8),
            false => 0,
        };
        Self {
            trap: one_in(30),
            commit: one_in(30),
            sleep: one_in(4),
            reset: one_in(40),
            storage: one_in(8),
            writer: one_in(20),
            clock: one_in(60),
        }
    }
}

impl Run {
    pub(super) fn happens(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.rng.u32(0..one_in) == 0
    }

    pub(super) fn ask_for_reset(&mut self) {
        let network = &mut self.world.network;
        let id = network.connect(Owner::Admin);
        let text = format!(
            r#"{{"_tag":"WSMessage.AdminResetRoomReq","requestId":"r","adminSecret":"{ADMIN_SECRET}"}}"#
        );
        network.say(id, text, Meaning::AdminReset);
    }

    /// Another writer appends to the log, and tells nobody. A room that has
    /// not opened the log would not notice: it keeps no head while it sleeps.
    pub(super) fn write_elsewhere(&mut self) {
        self.commit();
        if self.room.is_some() && self.world.log_is_open {
            let count = self.rng.u64(1..=20);
            let stored = self.world.storage.write_elsewhere(count);
            self.oracle.intruded(&stored);
        }
    }

    /// Somebody sets the machine's clock.
    pub(super) fn set_clock(&mut self) {
        self.commit();
        seen("the clock was set");
        self.world.set_clock();
        self.oracle.clock_was_set(self.world.elapsed_ms);
    }

    /// The room has been idle for long. For what another writer did it has to
    /// stay awake: see [`Run::write_elsewhere`].
    pub(super) fn fall_asleep(&mut self) {
        let network = &self.world.network;
        if !self.oracle.is_misled()
            && network.let_go.is_empty()
            && !network.subscribers.values().any(Subscriber::is_busy)
        {
            seen("a room slept");
            self.room = None;
            // Hosts keep its timer, and need not (`wit/timer.wit`).
            if self.world.timer_ms.is_some() && self.rng.u32(0..4) == 0 {
                seen("a timer was lost");
                self.world.timer_ms = None;
                self.world.timer_is_lost = true;
            }
        }
    }

    /// The room is thrown away, and its sockets are closed.
    pub(super) fn crash(&mut self) {
        self.room = None;
        // What was set before may still arrive.
        if self.rng.bool() {
            self.world.timer_ms = None;
        }
        self.world.network.crash();
        self.oracle.crashed(&self.world.network.subscribers);
    }
}
