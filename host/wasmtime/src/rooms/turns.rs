//! Events that wait for their turn in a shard. Its stores take turns: next is
//! the store that has been served the least, in time, of those that wait. So
//! one that asks for much waits for itself, and a neighbour for one turn.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::rooms::event::Event;

/// What a store's turns may take of one commit: those of others share it, and
/// wait for it. As much as a few commits take.
const TIME_PER_COMMIT_MAX: Duration = Duration::from_millis(1);

/// Places for stores that are kept when none waits.
const LINES_KEPT: usize = 64;

/// How often a shard that is never idle forgets stores that are.
const SWEEP_COMMITS: u64 = 1_024;

/// The events of a shard's stores.
pub struct Turns<E = Event> {
    lines: HashMap<Arc<str>, Line<E>>,
    /// Stores that have events, each once: by what they were served, and then
    /// in the order in which they came.
    next: BinaryHeap<Reverse<(Duration, u64, Arc<str>)>>,
    /// Those that have had their part of this commit.
    put_off: Vec<Reverse<(Duration, u64, Arc<str>)>>,
    /// What the store was served that had its turn last: nobody who comes now
    /// has more to claim.
    served: Duration,
    count: u64,
    commits: u64,
}

/// A store's events.
struct Line<E> {
    events: VecDeque<E>,
    served: Duration,
    /// What it was served in which commit.
    lately: (u64, Duration),
}

impl<E> Default for Turns<E> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            next: BinaryHeap::new(),
            put_off: Vec::new(),
            served: Duration::ZERO,
            count: 0,
            commits: 1,
        }
    }
}

impl<E> Turns<E> {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next.is_empty() && self.put_off.is_empty()
    }

    /// Adds an event, behind those of its store.
    pub fn push(&mut self, store: Arc<str>, event: E) {
        let line = self.lines.entry(Arc::clone(&store)).or_insert(Line {
            events: VecDeque::new(),
            served: self.served,
            lately: (0, Duration::ZERO),
        });
        line.events.push_back(event);
        if line.events.len() == 1 {
            line.served = line.served.max(self.served);
            self.count += 1;
            self.next.push(Reverse((line.served, self.count, store)));
        }
    }

    /// The event whose turn it is; `None` when nothing waits that may be a
    /// part of this commit. It ends with [`Turns::end`].
    pub fn begin(&mut self) -> Option<(Arc<str>, E)> {
        loop {
            let Reverse((served, count, store)) = self.next.pop()?;
            let line = self.lines.get_mut(&store)?;
            let (commit, time) = line.lately;
            if commit == self.commits && time >= TIME_PER_COMMIT_MAX {
                self.put_off.push(Reverse((served, count, store)));
                continue;
            }
            self.served = self.served.max(served);
            if let Some(event) = line.events.pop_front() {
                return Some((store, event));
            }
        }
    }

    /// The turn that was begun took so long.
    pub fn end(&mut self, store: Arc<str>, time: Duration) {
        let Some(line) = self.lines.get_mut(&store) else {
            return;
        };
        line.served += time;
        let (commit, before) = line.lately;
        let before = if commit == self.commits {
            before
        } else {
            Duration::ZERO
        };
        line.lately = (self.commits, before + time);
        if !line.events.is_empty() {
            self.count += 1;
            self.next.push(Reverse((line.served, self.count, store)));
        }
    }

    /// The next events are another commit's.
    pub fn end_commit(&mut self) {
        self.commits += 1;
        self.next.extend(self.put_off.drain(..));
        if self.next.is_empty() {
            // Nobody waited: whatever anybody was served, nobody lacked it.
            self.lines.clear();
            self.lines.shrink_to(LINES_KEPT);
        } else if self.commits.is_multiple_of(SWEEP_COMMITS) {
            let served = self.served;
            self.lines
                .retain(|_, line| !line.events.is_empty() || line.served > served);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_micros(10);

    /// Runs turns until nothing waits, each as long as its store's are; which
    /// stores had their turn, in order.
    fn run(turns: &mut Turns<u32>, time: impl Fn(&str) -> Duration) -> Vec<(String, u32)> {
        let mut order = Vec::new();
        while !turns.is_empty() {
            while let Some((store, event)) = turns.begin() {
                order.push((store.to_string(), event));
                let time = time(&store);
                turns.end(store, time);
            }
            turns.end_commit();
        }
        order
    }

    fn push(turns: &mut Turns<u32>, store: &str, events: std::ops::Range<u32>) {
        for event in events {
            turns.push(store.into(), event);
        }
    }

    #[test]
    fn a_stores_events_keep_their_order() {
        let mut turns = Turns::default();
        push(&mut turns, "a", 0..1_000);
        let order = run(&mut turns, |_| TURN);
        assert!(order.iter().map(|(_, event)| *event).eq(0..1_000));
    }

    #[test]
    fn i7_a_neighbour_waits_for_one_turn_however_much_a_store_asks() {
        let mut turns = Turns::default();
        push(&mut turns, "flood", 0..10_000);
        for _ in 0..100 {
            assert_eq!(
                turns.begin().map(|(store, _)| store).as_deref(),
                Some("flood")
            );
            turns.end("flood".into(), TURN);
        }
        push(&mut turns, "victim", 0..1);
        assert_eq!(turns.begin(), Some(("victim".into(), 0)));
    }

    #[test]
    fn stores_are_served_the_same_time_and_not_as_many_turns() {
        let mut turns = Turns::default();
        push(&mut turns, "large", 0..100);
        push(&mut turns, "small", 0..100);
        let order = run(
            &mut turns,
            |store| if store == "large" { 10 * TURN } else { TURN },
        );
        let large_before = order
            .iter()
            .take_while(|(store, event)| store != "small" || *event < 99)
            .filter(|(store, _)| store == "large");
        assert!(large_before.count() <= 11);
    }

    #[test]
    fn i7_a_commit_does_not_wait_for_all_that_one_store_asks() {
        let mut turns = Turns::default();
        push(&mut turns, "flood", 0..10_000);
        push(&mut turns, "victim", 0..1);
        let mut time = Duration::ZERO;
        while let Some((store, _)) = turns.begin() {
            time += TURN;
            turns.end(store, TURN);
        }
        assert!(time <= TIME_PER_COMMIT_MAX + 2 * TURN);
        turns.end_commit();
        assert!(turns.begin().is_some(), "the rest is the next one's");
    }

    #[test]
    fn i7_stores_that_have_nothing_to_do_leave_nothing() {
        let mut turns = Turns::default();
        for store in 0..1_000 {
            push(&mut turns, &store.to_string(), 0..2);
        }
        run(&mut turns, |_| TURN);
        assert!(turns.lines.is_empty());
    }
}
