//! What the oracle knows of one 0.3 socket (I3): where its client is, and
//! whether the room knows that too, and so has to keep it at the head.

use syncline_guest::imports::StoredEvent;
use syncline_guest::limits::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX};

use super::coverage::seen;
use super::history::Epoch;
use super::subscription::{check_events, check_limits};

/// A PullRes.
#[derive(Debug)]
pub struct Shown<'a> {
    pub bytes: usize,
    pub is_pull: bool,
    pub request: &'a str,
    pub events: &'a [StoredEvent],
    pub remaining: u64,
}

/// A client's one pull.
#[derive(Debug)]
struct Pull {
    id: String,
    cursor: u64,
    /// The head when it began.
    until: u64,
    is_answered: bool,
}

/// One 0.3 socket.
#[derive(Debug)]
pub struct Feed {
    /// The last event that the client was shown. The answer to its pull
    /// begins where it says, whatever was shown before.
    cursor: u64,
    pull: Option<Pull>,
    /// The last event that was acknowledged on this socket.
    acknowledged: u64,
    /// The room has shown that it knows where the client is.
    is_fed: bool,
    /// The rest follows in another turn.
    is_draining: bool,
    /// The client is ahead of the log: someone has emptied it. 0.3 clients
    /// cannot be told so, and nothing is promised to them.
    is_astray: bool,
    /// The log was emptied, and the client has not said anything since.
    is_unheard: bool,
}

impl Feed {
    pub fn new(cursor: u64) -> Self {
        Self {
            cursor,
            pull: None,
            acknowledged: 0,
            is_fed: false,
            is_draining: false,
            is_astray: false,
            is_unheard: false,
        }
    }

    pub fn pull_heard(&mut self, id: &str, cursor: u64, head: u64) {
        self.is_unheard = false;
        self.is_astray |= cursor > head;
        self.pull = Some(Pull {
            id: id.to_owned(),
            cursor,
            until: head,
            is_answered: false,
        });
    }

    pub fn is_pulling(&self, request: &str) -> bool {
        self.pull.as_ref().is_some_and(|pull| pull.id == request)
    }

    /// Storage failed: the room does not tell the client more, until it shows
    /// that it waits. Where nothing of the answer was sent, all is as before.
    pub fn pull_failed(&mut self) {
        if self.pull.take().is_some_and(|pull| pull.is_answered) {
            self.is_fed = false;
        }
    }

    pub fn drain_asked(&mut self) {
        self.is_draining = true;
    }

    pub fn drained(&mut self) {
        seen("a 0.3 answer of several turns");
        self.is_draining = false;
    }

    pub fn went_astray(&mut self) {
        self.is_astray = true;
        self.is_unheard = true;
    }

    /// The push that was acknowledged showed the room where the client is.
    pub fn acknowledged(&mut self, last: u64) {
        self.is_unheard = false;
        self.acknowledged = self.acknowledged.max(last);
        self.is_fed = true;
    }

    /// Checks a PullRes. `head` is the log's as far as the room can know.
    pub fn pull_res(&mut self, log: &Epoch, head: u64, shown: &Shown<'_>) {
        let &Shown {
            bytes,
            is_pull,
            request,
            events,
            remaining,
        } = shown;
        assert!(
            !self.is_unheard,
            "I3: a 0.3 client that has the log from before a reset is shown the new one"
        );
        self.is_fed = true;
        if self.is_astray {
            return;
        }
        let until = match (&mut self.pull, is_pull) {
            (Some(pull), true) if pull.id == request => {
                if !std::mem::replace(&mut pull.is_answered, true) {
                    self.cursor = pull.cursor;
                }
                pull.until
            }
            (_, true) => panic!("a PullRes for a pull that nobody made"),
            (_, false) => 0,
        };
        if events.is_empty() {
            assert!(is_pull && self.cursor >= head, "I3: an empty PullRes");
        } else {
            check_events(log, &mut self.cursor, events);
        }
        if is_pull {
            check_limits(bytes, events.len(), CHUNK_EVENTS_MAX);
        } else {
            assert!(bytes <= CHUNK_BYTES_MAX || events.len() == 1, "its size");
        }
        assert_eq!(remaining, until.saturating_sub(self.cursor), "`remaining`");
    }

    /// I1: a push that landed, and whose acknowledgement was lost with another
    /// socket, is acknowledged when its client repeats it.
    pub fn refused(&mut self, log: &Epoch, batch: &[StoredEvent]) {
        self.is_unheard = false;
        let is_new_here = batch[0].seq_num > self.acknowledged;
        assert!(
            self.is_astray || !is_new_here || !log.holds(batch),
            "I1: a repeated 0.3 push was refused: its client waits for ever"
        );
    }

    /// I4: a client that pushed from behind, and whose place the room knows
    /// by that, is given what it lacks.
    pub fn fell_behind(&mut self) {
        seen("a 0.3 push was refused from behind");
        assert!(
            self.is_fed || self.is_astray,
            "I4: a refused 0.3 push, and what its client lacks does not come"
        );
    }

    /// Checks a turn's end.
    pub fn turn_ended(&self, head: u64) {
        if self.is_fed && !self.is_draining && !self.is_astray {
            assert_eq!(self.cursor, head, "I3: a 0.3 client was not shown a push");
        }
    }
}
