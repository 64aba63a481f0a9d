//! Broadcasts on their way out. A frame for many sockets does not go to all
//! of them at once: between some and the next, the shard looks for turns that
//! wait. So pushes go on while the broadcast of the last one is under way, and
//! a socket whose time has come is written all that is due to it by then, in
//! one system call.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::flow::outbox::{Nudge, Outbox};
use crate::flow::output::TextFrame;

/// Parts that a broadcast goes out in. Before each but the first the shard
/// looks for turns, and what it finds may take as long as a commit.
const PARTS: usize = 6;

/// Sockets that are written to between two looks, at least: a look is a
/// system call.
const SOCKETS_MIN: usize = 4;

/// How long a socket waits, whatever else there is to do; it is looked at
/// between commits.
const WAIT_MAX: Duration = Duration::from_millis(25);

/// A broadcast, as the sum of its sockets' shares.
const WHOLE: usize = 1 << 20;

/// A socket that has frames and has not been told.
struct Delivery {
    nudge: Nudge,
    /// Its share of the broadcast for which it waits.
    share: usize,
    since: Instant,
}

/// Sockets that wait, each once.
#[derive(Default)]
pub struct Deliveries(VecDeque<Delivery>);

impl Deliveries {
    /// Queues a frame, which is for so many sockets, for one of them.
    pub fn hold(&mut self, outbox: &Outbox, frame: TextFrame, sockets: usize, since: Instant) {
        let share = WHOLE / sockets.max(1);
        let nudge = outbox.hold(frame);
        self.0.extend(nudge.map(|nudge| Delivery {
            nudge,
            share,
            since,
        }));
    }

    /// Whether no socket waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets the next ones write, before a look.
    pub fn let_some_go(&mut self, now: Instant) {
        let (mut gone, mut shares) = (0, 0);
        while let Some(first) = self.0.front() {
            let is_due = now.saturating_duration_since(first.since) >= WAIT_MAX;
            if !is_due && gone >= SOCKETS_MIN && shares >= WHOLE / PARTS {
                break;
            }
            if let Some(next) = self.0.pop_front()
                && next.nudge.give()
            {
                gone += 1;
                shares += next.share;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::flow::outbox::{Inlet, outbox};
    use crate::flow::output::tests::frame;

    fn crowd(count: usize) -> (Vec<Outbox>, Vec<Inlet>) {
        (0..count).map(|_| outbox()).unzip()
    }

    fn broadcast(deliveries: &mut Deliveries, crowd: &[Outbox], now: Instant) {
        for outbox in crowd {
            deliveries.hold(outbox, frame("frame"), crowd.len(), now);
        }
    }

    /// What the sockets' tasks do once they were told.
    fn taken(inlets: &mut [Inlet]) -> usize {
        let told = inlets.iter_mut().filter(|inlet| !inlet.is_held());
        told.map(|inlet| std::iter::from_fn(|| inlet.next_now()).count())
            .sum()
    }

    #[test]
    fn a_broadcast_goes_out_in_parts_of_its_size() {
        let (outboxes, mut inlets) = crowd(600);
        let mut deliveries = Deliveries::default();
        let now = Instant::now();
        broadcast(&mut deliveries, &outboxes, now);
        let mut parts = 0;
        while !deliveries.is_empty() {
            deliveries.let_some_go(now);
            let part = taken(&mut inlets);
            assert!(part <= 600 / PARTS + 1, "{part}");
            parts += 1;
        }
        assert_eq!(parts, PARTS);
    }

    #[test]
    fn i7_nobody_waits_long_however_much_comes_behind() {
        let mut deliveries = Deliveries::default();
        let mut now = Instant::now();
        // More than may go between two looks comes between two looks.
        let mut rooms: Vec<_> = (0..100).map(|_| crowd(3)).collect();
        for _ in 0..50 {
            now += Duration::from_millis(1);
            for (outboxes, _) in &rooms {
                broadcast(&mut deliveries, outboxes, now);
            }
            deliveries.let_some_go(now);
            assert!(deliveries.0.len() <= 300, "a socket waits twice");
            let oldest = deliveries.0.front().map(|it| now - it.since);
            assert!(oldest.is_none_or(|waited| waited < WAIT_MAX));
        }
        deliveries.let_some_go(now + WAIT_MAX);
        assert!(deliveries.is_empty());
        let frames: usize = rooms.iter_mut().map(|(_, inlets)| taken(inlets)).sum();
        assert_eq!(frames, 50 * 300, "and gets everything");
    }

    #[test]
    fn who_was_told_already_takes_nobodys_place() {
        let (outboxes, mut inlets) = crowd(40);
        let mut deliveries = Deliveries::default();
        let now = Instant::now();
        broadcast(&mut deliveries, &outboxes, now);
        // An answer to each but the last takes the frame with it.
        let (_, others) = outboxes.split_last().unwrap();
        for outbox in others {
            outbox.send(frame("answer"));
        }
        assert_eq!(taken(&mut inlets), 2 * others.len());
        deliveries.let_some_go(now);
        assert_eq!(taken(&mut inlets), 1);
        assert!(deliveries.is_empty());
    }
}
