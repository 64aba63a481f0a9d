//! What the oracle knows of one 0.4 pull over WebSocket, and what each Chunk
//! of it has to be (I3, I7, design D4).

use std::collections::VecDeque;

use syncline_guest::imports::StoredEvent;
use syncline_guest::limits::{
    CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, WINDOW_BYTES_MAX, WINDOW_CHUNKS_MAX, WINDOW_LIVE_CHUNKS_MAX,
};

use super::coverage::seen;
use super::history::Epoch;

/// How far a pull is, as the rules of design D4 have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing was sent yet.
    Starting,
    /// `remaining` counts to `until`.
    Catching { until: u64 },
    /// A committed push is sent in its own turn.
    Live,
    /// All is sent; the Exit follows the last Ack.
    Ended,
}

/// One pull.
#[derive(Debug)]
pub struct Subscription {
    pub live: bool,
    cursor: u64,
    at: At,
    /// Sizes of the Chunks that this room instance sent and that were not
    /// acknowledged to it: what it can know. Acks answer in order.
    window: VecDeque<usize>,
    /// An Ack has come since the room woke.
    is_heard: bool,
    /// A Chunk was sent and no Ack has come since the room woke.
    is_unheard: bool,
    /// The same of an earlier instance, and still no Ack: nothing may be sent.
    is_deaf: bool,
    fell_back: bool,
    /// Chunks that were not acknowledged, whoever sent them.
    unacknowledged: usize,
    /// It is another Durable Object's, which is called. What it has taken is
    /// kept, so a room that wakes knows what is in flight: nothing.
    is_called: bool,
    has_slept: bool,
}

impl Subscription {
    pub fn new(live: bool, cursor: u64) -> Self {
        Self {
            live,
            cursor,
            at: At::Starting,
            window: VecDeque::new(),
            is_heard: false,
            is_unheard: false,
            is_deaf: false,
            fell_back: false,
            unacknowledged: 0,
            is_called: false,
            has_slept: false,
        }
    }

    /// Of an object that has everything up to `cursor`.
    pub fn of_subscriber(cursor: u64) -> Self {
        Self {
            at: At::Live,
            is_called: true,
            ..Self::new(true, cursor)
        }
    }

    /// The room has heard an Ack.
    pub fn acknowledged(&mut self) {
        if self.is_deaf {
            seen("the first Ack of a pull that was unheard when the room slept");
        } else if self.window.is_empty() && self.unacknowledged > 0 {
            seen("an Ack to a room that remembers nothing in flight");
        }
        self.window.pop_front();
        self.is_heard = true;
        (self.is_unheard, self.is_deaf) = (false, false);
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// Another instance of the room goes on. All it knows of what is in
    /// flight is whether the one before was acknowledged anything.
    pub fn woke(&mut self) {
        self.window.clear();
        self.has_slept = true;
        self.is_deaf = self.is_unheard && !self.is_called;
        self.is_heard = false;
    }

    /// The room has learnt that another writer moved the log on to `head`.
    pub fn overtaken(&mut self, head: u64) {
        if self.at == At::Live {
            self.at = At::Catching { until: head };
        }
    }

    /// Checks a Chunk. `head` is the log's as far as the room can know.
    pub fn chunk(
        &mut self,
        log: &Epoch,
        head: u64,
        bytes: usize,
        events: &[StoredEvent],
        remaining: Option<u64>,
    ) {
        if self.at == At::Starting {
            if self.cursor > head {
                // It is served as one at the head.
                seen("a pull from beyond the head");
                self.cursor = head;
            }
            if self.cursor >= head {
                assert!(
                    events.is_empty() && remaining.is_none(),
                    "D4: a pull at the head begins with an empty Chunk that says NoMore"
                );
                self.at = self.at_head();
                self.sent(bytes, WINDOW_CHUNKS_MAX);
                return;
            }
            self.at = At::Catching { until: head };
        }
        check_events(log, &mut self.cursor, events);
        check_limits(bytes, events.len());
        match self.at {
            At::Catching { until } => {
                let due = until.checked_sub(self.cursor).filter(|&more| more > 0);
                // One that is called does not ask for it.
                assert!(
                    remaining == due || self.is_called,
                    "D4: `remaining` {remaining:?} at {} when catching up began at a head of {until}",
                    self.cursor
                );
                if self.has_slept && self.is_called {
                    seen("a subscriber was called after the room slept");
                }
                self.sent(bytes, WINDOW_CHUNKS_MAX);
                if self.cursor > until {
                    seen("a Chunk past the head that catching up began at");
                }
                if self.cursor >= head {
                    if std::mem::take(&mut self.fell_back) {
                        seen("a live pull turned live after falling back");
                    }
                    self.at = self.at_head();
                }
            }
            At::Live => {
                assert!(
                    remaining.is_none() || self.is_called,
                    "D4: a live Chunk says NoMore"
                );
                seen("a live Chunk");
                self.sent(bytes, WINDOW_LIVE_CHUNKS_MAX);
            }
            At::Starting | At::Ended => panic!("I3: a Chunk after the last one"),
        }
    }

    /// Checks a turn's end.
    /// A subscriber that a fault has left behind goes on in a later turn.
    pub fn turn_ended(&mut self, head: u64, is_excused: bool) {
        if self.is_called && is_excused && self.window.is_empty() && self.cursor < head {
            self.at = At::Catching { until: head };
            return;
        }
        match self.at {
            At::Starting => panic!("D4: a pull was started without a Chunk: its client waits"),
            At::Live if self.cursor < head => {
                assert!(
                    self.is_deaf || !self.window.is_empty(),
                    "I3: a live pull with nothing in flight was not shown a push"
                );
                seen("a live pull fell back");
                self.fell_back = true;
                self.at = At::Catching { until: head };
            }
            At::Catching { .. } => assert!(
                self.unacknowledged > 0,
                "D4: a pull at {} of {head} stopped although all is acknowledged",
                self.cursor
            ),
            At::Ended => assert!(self.unacknowledged > 0, "a pull at its end has no Exit"),
            At::Live => {}
        }
    }

    /// Checks that the pull may end with a success.
    pub fn succeeded(&self) {
        assert!(!self.live, "D10: a live pull was ended with a success");
        assert_eq!(self.at, At::Ended, "a pull ended before the head");
        seen("a pull that was not live ended");
    }

    fn at_head(&self) -> At {
        if self.live { At::Live } else { At::Ended }
    }

    /// I7: what is in flight is bounded, but for one frame that is larger.
    fn sent(&mut self, bytes: usize, chunks_max: usize) {
        let in_flight: usize = self.window.iter().sum();
        if in_flight > WINDOW_BYTES_MAX / 2 {
            seen("a Chunk with the window half full");
        }
        assert!(
            self.window.is_empty() || in_flight + bytes <= WINDOW_BYTES_MAX,
            "I7: {bytes} bytes were sent to a pull with {in_flight} unacknowledged"
        );
        assert!(
            self.window.len() < chunks_max,
            "I7: a Chunk was sent to a pull with {} unacknowledged",
            self.window.len()
        );
        assert!(
            !self.is_deaf,
            "I7: a Chunk was sent to a pull that has acknowledged none since the room slept"
        );
        self.window.push_back(bytes);
        self.is_unheard |= !self.is_heard;
        self.unacknowledged += 1;
    }
}

/// I1, I3: events follow `cursor` without gap or duplicate, and are those of
/// the durable log, to the byte.
pub fn check_events(log: &Epoch, cursor: &mut u64, events: &[StoredEvent]) {
    assert!(!events.is_empty(), "I3: a frame without events at {cursor}");
    for event in events {
        // Nothing is before a log's first event, whatever its number.
        let is_first = event.parent_seq_num == 0 && event.seq_num > *cursor;
        assert!(
            event.parent_seq_num == *cursor || is_first,
            "I3: at {cursor} came {}",
            event.seq_num
        );
        assert!(
            log.event(event.seq_num) == Some(event),
            "I1: event {} is not the durable log's: {event:.300?}",
            event.seq_num
        );
        *cursor = event.seq_num;
    }
}

/// A Chunk's limits.
pub fn check_limits(bytes: usize, events: usize) {
    if bytes > CHUNK_BYTES_MAX {
        seen("a Chunk larger than the limit, alone");
    }
    assert!(events <= CHUNK_EVENTS_MAX, "a Chunk with {events} events");
    assert!(
        bytes <= CHUNK_BYTES_MAX || events == 1,
        "a Chunk of {bytes} bytes with {events} events"
    );
}
