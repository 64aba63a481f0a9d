//! What the oracle knows of one 0.3 socket (I3): where its client is, and
//! whether the room knows that too, and so has to keep it at the head.

use syncline_guest::imports::StoredEvent;
use syncline_guest::limits::CHUNK_BYTES_MAX;

use super::coverage::seen;
use super::history::Epoch;
use super::subscription::{check_events, check_limits};

/// One 0.3 socket.
#[derive(Debug)]
pub struct Feed {
    /// The last event that the client has, once it has taken all frames.
    cursor: u64,
    /// The pull under way, and the head when it began.
    pull: Option<(String, u64)>,
    /// The room has shown that it knows where the client is.
    is_fed: bool,
    /// The rest follows in another turn.
    is_draining: bool,
    /// The client is ahead of the log: someone has emptied it. 0.3 clients
    /// cannot be told so, and nothing is promised to them.
    is_astray: bool,
}

impl Feed {
    pub fn new(cursor: u64) -> Self {
        Self {
            cursor,
            pull: None,
            is_fed: false,
            is_draining: false,
            is_astray: false,
        }
    }

    pub fn pull_heard(&mut self, id: &str, cursor: u64, head: u64) {
        self.is_astray |= cursor > head;
        self.pull = Some((id.to_owned(), head));
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
    }

    /// A storage fault: the room may not know any more where the client is.
    pub fn faulted(&mut self) {
        self.is_fed = false;
    }

    /// The push that was acknowledged showed the room where the client is.
    pub fn acknowledged(&mut self) {
        self.is_fed = true;
    }

    /// Checks a PullRes.
    pub fn pull_res(
        &mut self,
        log: &Epoch,
        bytes: usize,
        is_pull: bool,
        request: &str,
        events: &[StoredEvent],
        remaining: u64,
    ) {
        self.is_fed = true;
        if self.is_astray {
            return;
        }
        let until = match (&self.pull, is_pull) {
            (Some((id, until)), true) if id == request => *until,
            (_, true) => panic!("a PullRes for a pull that nobody made"),
            (_, false) => 0,
        };
        if events.is_empty() {
            assert!(is_pull && self.cursor >= log.head(), "I3: an empty PullRes");
        } else {
            check_events(log, &mut self.cursor, events);
        }
        if is_pull {
            check_limits(bytes, events.len());
        } else {
            assert!(bytes <= CHUNK_BYTES_MAX || events.len() == 1, "its size");
        }
        assert_eq!(remaining, until.saturating_sub(self.cursor), "`remaining`");
    }

    /// I4: a client that pushed from behind, and whose place the room knows
    /// by that, is given what it lacks.
    pub fn fell_behind(&mut self) {
        seen("a 0.3 client caught up by its push");
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
