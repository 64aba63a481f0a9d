//! The log as the oracle keeps it: replayed from what was committed, one
//! epoch for each backend id.

use std::collections::HashSet;
use std::rc::Rc;

use syncline_guest::imports::StoredEvent;

use super::coverage::seen;

/// A log between two resets.
#[derive(Debug)]
pub struct Epoch {
    pub backend_id: String,
    pub events: Vec<Rc<StoredEvent>>,
    authored: HashSet<(String, String)>,
}

impl Epoch {
    pub fn new(backend_id: String) -> Self {
        Self {
            backend_id,
            events: Vec::new(),
            authored: HashSet::new(),
        }
    }

    pub fn head(&self) -> u64 {
        self.events.last().map_or(0, |event| event.seq_num)
    }

    pub fn event(&self, seq_num: u64) -> Option<&StoredEvent> {
        // The log may begin with a jump, and has none after that.
        let first = self.events.first()?.seq_num;
        let index = usize::try_from(seq_num.checked_sub(first)?).ok()?;
        self.events.get(index).map(Rc::as_ref)
    }

    /// What follows an event.
    pub fn next_after(&self, seq_num: u64) -> Option<&StoredEvent> {
        let first = self.events.first()?;
        self.event(first.seq_num.max(seq_num + 1))
    }

    /// I4: the log is one chain. And no client's event is in it twice.
    pub fn append(&mut self, batch: &[Rc<StoredEvent>]) {
        for event in batch {
            assert_eq!(event.parent_seq_num, self.head(), "I4: the chain");
            if self.events.is_empty() && event.seq_num > 1 {
                seen("a log that begins with a jump");
            } else {
                assert_eq!(event.seq_num, self.head() + 1, "I4: the chain");
            }
            assert!(
                self.authored
                    .insert((event.client_id.clone(), event.name.clone())),
                "{}'s {} is in the log twice",
                event.client_id,
                event.name
            );
            self.events.push(Rc::clone(event));
        }
    }

    /// Whether the log holds the batch where it says it is, to the byte.
    pub fn holds(&self, batch: &[StoredEvent]) -> bool {
        batch.iter().all(|pushed| {
            self.event(pushed.seq_num)
                .is_some_and(|stored| is_same(stored, pushed))
        })
    }
}

/// Whether they are one event; when it was committed only one of them knows.
pub fn is_same(stored: &StoredEvent, pushed: &StoredEvent) -> bool {
    stored.event() == pushed.event()
}
