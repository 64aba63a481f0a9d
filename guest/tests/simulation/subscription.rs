//! What the oracle knows of one 0.4 pull over WebSocket, and what each Chunk
//! of it has to be (I3, I7, design D4).

use std::collections::VecDeque;

use syncline_guest::imports::StoredEvent;
use syncline_guest::limits::{
    CHUNK_BYTES_MAX, CHUNK_ENVELOPE_BYTES, CHUNK_EVENTS_MAX, JOINED_EVENTS_MAX, PULLS_MAX,
    WINDOW_BYTES_MAX, WINDOW_CHUNKS_MAX, WINDOW_LIVE_CHUNKS_MAX,
};

use super::conduct::{Conduct, Moment};
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
    /// Its client edits, and is told later.
    Waiting {
        until: u64,
        since_ms: u64,
        /// It had room for what it was not told. Else it may as well have
        /// fallen back, and goes on with an Ack.
        had_room: bool,
    },
    /// All is sent; the Exit follows the last Ack.
    Ended,
}

/// How a client waited for what it is told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    Awake,
    /// Through the room's sleep.
    ThroughSleep,
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
    pub is_called: bool,
    has_slept: bool,
    /// It was live here when the room learnt of another writer in this turn.
    overtaken_at: Option<u64>,
    has_waited_through_sleep: bool,
    /// It is given what it was not told for a while.
    is_told_late: bool,
    /// Its client started it again: what was in flight is still.
    is_restarted: bool,
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
            overtaken_at: None,
            has_waited_through_sleep: false,
            is_told_late: false,
            is_restarted: false,
        }
    }

    /// The pull started again by its client.
    pub fn restarted(self, live: bool, cursor: u64) -> Self {
        if self.waits() {
            seen("a pull that waited was started again");
        }
        Self {
            live,
            cursor,
            at: At::Starting,
            fell_back: false,
            overtaken_at: None,
            has_waited_through_sleep: false,
            is_told_late: false,
            is_restarted: true,
            ..self
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
    pub fn woke(&mut self, log: Option<&Epoch>) {
        // If it was told, and had no room, it goes on with an Ack.
        let had_room_now = log.is_some_and(|log| self.has_room(log, WINDOW_CHUNKS_MAX));
        if let At::Waiting { had_room, .. } = &mut self.at {
            *had_room &= had_room_now;
        }
        self.window.clear();
        self.has_slept = true;
        self.has_waited_through_sleep |= self.waits();
        self.is_deaf = self.is_unheard && !self.is_called;
        self.is_heard = false;
    }

    /// The room has learnt that another writer moved the log on to `head`.
    pub fn overtaken(&mut self, head: u64) {
        if self.at == At::Live {
            self.at = At::Catching { until: head };
            self.overtaken_at = Some(self.cursor);
        }
    }

    /// Whether its client is told later, as far as can be seen.
    pub fn waits(&self) -> bool {
        matches!(self.at, At::Waiting { .. })
    }

    /// Whether it is told later, and not by its own Ack.
    pub fn has_to_be_told(&self, log: &Epoch) -> bool {
        let is_certain = match self.at {
            At::Waiting { had_room, .. } => had_room || self.unacknowledged == 0,
            _ => false,
        };
        is_certain && self.has_room(log, WINDOW_CHUNKS_MAX)
    }

    /// Whether its window takes what comes next, whatever that is.
    fn has_room(&self, log: &Epoch, chunks_max: usize) -> bool {
        let first = log.next_after(self.cursor).map_or(0, |event| {
            event.args.as_ref().map_or(0, String::len) + 2 * event.name.len() + 1_000
        });
        let next_bytes = CHUNK_BYTES_MAX.max(first + CHUNK_ENVELOPE_BYTES);
        let in_flight: usize = self.window.iter().sum();
        !self.is_deaf
            && (self.window.is_empty()
                || (self.window.len() < chunks_max && in_flight + next_bytes <= WINDOW_BYTES_MAX))
    }

    /// Checks a Chunk. `head` is the log's as far as the room can know.
    /// Returns how its client waited for it, if it did.
    pub fn chunk(
        &mut self,
        log: &Epoch,
        head: u64,
        bytes: usize,
        events: &[StoredEvent],
        remaining: Option<u64>,
    ) -> Option<Waited> {
        let mut waited = None;
        if let At::Waiting { until, .. } = self.at {
            waited = Some(if std::mem::take(&mut self.has_waited_through_sleep) {
                Waited::ThroughSleep
            } else {
                Waited::Awake
            });
            self.at = At::Catching { until };
            self.is_told_late = true;
        }
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
                // However often a pull is started again, this one is sent.
                if self.is_restarted {
                    self.note_sent(bytes);
                } else {
                    self.sent(bytes, WINDOW_CHUNKS_MAX);
                }
                return None;
            }
            self.at = At::Catching { until: head };
        }
        check_events(log, &mut self.cursor, events);
        let events_max = if self.is_told_late {
            JOINED_EVENTS_MAX
        } else {
            CHUNK_EVENTS_MAX
        };
        check_limits(bytes, events.len(), events_max);
        match self.at {
            At::Catching { until } => {
                let due = until.checked_sub(self.cursor).filter(|&more| more > 0);
                // One that is called does not ask for it. One that was not
                // told for a while is told as if it were at once.
                assert!(
                    remaining == due || self.is_called || self.is_told_late && remaining.is_none(),
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
            At::Starting | At::Waiting { .. } | At::Ended => {
                panic!("I3: a Chunk after the last one")
            }
        }
        waited
    }

    /// Checks a turn's end. A subscriber is told at once, but one that a fault
    /// has left behind goes on in a later turn.
    pub fn turn_ended_called(&mut self, head: u64, is_excused: bool) {
        if is_excused && self.window.is_empty() && self.cursor < head {
            self.at = At::Catching { until: head };
            return;
        }
        if self.at == At::Live && self.cursor < head {
            assert!(
                !self.window.is_empty(),
                "I3: a subscriber with nothing in flight was not shown a push"
            );
            self.falls_back(head);
        }
        self.check_goes_on(head);
    }

    /// Checks a turn's end.
    pub fn turn_ended(
        &mut self,
        log: &Epoch,
        head: u64,
        conduct: &Conduct,
        (moment, is_farewell): (Moment, bool),
    ) {
        let overtaken_at = self.overtaken_at.take();
        self.is_told_late &= self.cursor < head;
        match self.at {
            At::Starting if self.is_restarted && !self.has_room(log, WINDOW_CHUNKS_MAX) => {
                self.at = At::Catching { until: head };
            }
            At::Starting => panic!("D4: a pull was started without a Chunk: its client waits"),
            At::Live if self.cursor < head => {
                // A pull besides others has a narrower window.
                let has_room = self.has_room(log, WINDOW_LIVE_CHUNKS_MAX / PULLS_MAX);
                self.was_not_told(head, has_room, conduct, moment);
            }
            At::Catching { until } if overtaken_at == Some(self.cursor) => {
                let has_room = self.has_room(log, WINDOW_CHUNKS_MAX);
                self.was_not_told(until, has_room, conduct, moment);
            }
            At::Waiting {
                until, since_ms, ..
            } if !is_farewell && conduct.has_waited(since_ms, moment) => {
                assert!(
                    !self.has_to_be_told(log),
                    "I3: a client was not told of what it has waited for since {since_ms}: {conduct:?} {moment:?}"
                );
                seen("a client that edits was told, and its window was full");
                self.at = At::Catching { until };
            }
            _ => {}
        }
        self.check_goes_on(head);
    }

    /// I3: a live pull was not shown a push: its client edits, or it has no
    /// room for it.
    fn was_not_told(&mut self, until: u64, has_room: bool, conduct: &Conduct, moment: Moment) {
        if !conduct.may_wait(moment) {
            assert!(
                !has_room,
                "I3: a quiet client was not told in the turn of a push: {conduct:?} {moment:?}"
            );
            return self.falls_back(until);
        }
        if has_room {
            seen("a client that edits was not told at once");
        }
        self.fell_back |= !has_room;
        self.is_told_late = true;
        self.at = At::Waiting {
            until,
            since_ms: moment.now_ms,
            had_room: has_room,
        };
    }

    fn falls_back(&mut self, head: u64) {
        seen("a live pull fell back");
        self.fell_back = true;
        self.at = At::Catching { until: head };
    }

    /// Whoever has more to get gets it with an Ack that is still to come.
    fn check_goes_on(&self, head: u64) {
        match self.at {
            At::Catching { .. } => assert!(
                self.unacknowledged > 0,
                "D4: a pull at {} of {head} stopped although all is acknowledged",
                self.cursor
            ),
            At::Ended => assert!(self.unacknowledged > 0, "a pull at its end has no Exit"),
            At::Starting | At::Live | At::Waiting { .. } => {}
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
        self.note_sent(bytes);
    }

    fn note_sent(&mut self, bytes: usize) {
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
pub fn check_limits(bytes: usize, events: usize, events_max: usize) {
    if bytes > CHUNK_BYTES_MAX {
        seen("a Chunk larger than the limit, alone");
    }
    assert!(events <= events_max, "a Chunk with {events} events");
    assert!(
        bytes <= CHUNK_BYTES_MAX || events == 1,
        "a Chunk of {bytes} bytes with {events} events"
    );
}
