//! What a shard carries, as it counts it whenever it looks its rooms over.

use std::sync::atomic::{AtomicU64, Ordering};

/// A shard's load. Others read it at any time, each number for itself.
#[derive(Debug, Default)]
pub struct Load {
    rooms_awake: AtomicU64,
    rooms_asleep: AtomicU64,
    guest_bytes: AtomicU64,
    live: AtomicU64,
    catching: AtomicU64,
    held: AtomicU64,
}

/// The numbers of a [`Load`], or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Rooms with an instance.
    pub rooms_awake: u64,
    /// Rooms without, that have sockets.
    pub rooms_asleep: u64,
    /// The instances' memory, in bytes.
    pub guest_bytes: u64,
    /// Subscriptions at the head.
    pub live: u64,
    /// Subscriptions behind it.
    pub catching: u64,
    /// Subscriptions that are not told for now.
    pub held: u64,
}

impl Load {
    /// This is what the shard carries now.
    pub fn set(&self, carried: Carried) {
        let set = |to: &AtomicU64, value| to.store(value, Ordering::Relaxed);
        set(&self.rooms_awake, carried.rooms_awake);
        set(&self.rooms_asleep, carried.rooms_asleep);
        set(&self.guest_bytes, carried.guest_bytes);
        set(&self.live, carried.live);
        set(&self.catching, carried.catching);
        set(&self.held, carried.held);
    }

    /// What it carried when it looked last.
    #[must_use]
    pub fn get(&self) -> Carried {
        let get = |from: &AtomicU64| from.load(Ordering::Relaxed);
        Carried {
            rooms_awake: get(&self.rooms_awake),
            rooms_asleep: get(&self.rooms_asleep),
            guest_bytes: get(&self.guest_bytes),
            live: get(&self.live),
            catching: get(&self.catching),
            held: get(&self.held),
        }
    }
}
