//! The simulated event log: what is durable, what the turns since the last
//! commit have made of it, and the point a trapped turn is undone to.

use std::rc::Rc;

use syncline_guest::imports::{Event, LogInfo, StorageError, StoredEvent};
use syncline_guest::limits::{READ_BYTES_MAX, READ_EVENTS_MAX};

/// A log at one moment.
#[derive(Debug, Clone, Default)]
struct State {
    backend_id: Option<String>,
    events: Vec<Rc<StoredEvent>>,
}

impl State {
    fn head(&self) -> u64 {
        self.events.last().map_or(0, |event| event.seq_num)
    }
}

/// The log. States are shared until one of them is written to, so that a
/// savepoint costs nothing.
#[derive(Debug, Default)]
pub struct Storage {
    durable: Rc<State>,
    savepoint: Rc<State>,
    current: Rc<State>,
}

impl Storage {
    /// A log from before the run: long enough for pulls of many pages.
    /// It begins at `first`.
    pub fn found(&mut self, first: u64, count: u64) -> (String, Vec<Rc<StoredEvent>>) {
        let (info, _) = self.open("founded");
        (info.backend_id, self.write(first - 1, count))
    }

    /// Another writer appends, and commits.
    pub fn write_elsewhere(&mut self, count: u64) -> Vec<Rc<StoredEvent>> {
        self.write(self.current.head(), count)
    }

    fn write(&mut self, before: u64, count: u64) -> Vec<Rc<StoredEvent>> {
        let args = format!("[\"{}\"]", "y".repeat(300));
        let head = self.current.head();
        let names: Vec<_> = (0..count)
            .map(|n| format!("v1.Elsewhere{}", before + n))
            .collect();
        let events = names.iter().zip(before..);
        let batch: Vec<_> = events
            .map(|(name, previous)| Event {
                seq_num: previous + 1,
                parent_seq_num: if previous == before { head } else { previous },
                name,
                args: previous.is_multiple_of(2).then_some(args.as_str()),
                client_id: "elsewhere",
                session_id: "session",
            })
            .collect();
        let stored = self
            .append(head, &batch, "2020-01-01T00:00:00.000Z")
            .unwrap();
        self.commit();
        stored
    }

    /// A turn begins: [`Storage::undo_turn`] comes back to here.
    pub fn begin_turn(&mut self) {
        self.savepoint = Rc::clone(&self.current);
    }

    /// The turn trapped.
    pub fn undo_turn(&mut self) {
        self.current = Rc::clone(&self.savepoint);
    }

    /// What the turns have written is durable.
    pub fn commit(&mut self) {
        self.durable = Rc::clone(&self.current);
    }

    /// The commit failed.
    pub fn roll_back(&mut self) {
        self.current = Rc::clone(&self.durable);
    }

    /// What a crash leaves.
    pub fn durable_events(&self) -> &[Rc<StoredEvent>] {
        &self.durable.events
    }

    /// As `event-log.open`, and whether the log was created by it.
    pub fn open(&mut self, new_backend_id: &str) -> (LogInfo, bool) {
        let is_new = self.current.backend_id.is_none();
        if is_new {
            Rc::make_mut(&mut self.current).backend_id = Some(new_backend_id.to_owned());
        }
        let info = LogInfo {
            head: self.current.head(),
            backend_id: self.current.backend_id.clone().unwrap(),
        };
        (info, is_new)
    }

    /// As `event-log.append`; returns what was stored.
    pub fn append(
        &mut self,
        expected_head: u64,
        batch: &[Event<'_>],
        created_at: &str,
    ) -> Result<Vec<Rc<StoredEvent>>, StorageError> {
        if self.current.head() != expected_head {
            return Err(StorageError::Conflict(self.current.head()));
        }
        let stored: Vec<_> = batch
            .iter()
            .map(|event| {
                Rc::new(StoredEvent {
                    seq_num: event.seq_num,
                    parent_seq_num: event.parent_seq_num,
                    name: event.name.to_owned(),
                    args: event.args.map(str::to_owned),
                    client_id: event.client_id.to_owned(),
                    session_id: event.session_id.to_owned(),
                    created_at: created_at.to_owned(),
                })
            })
            .collect();
        Rc::make_mut(&mut self.current)
            .events
            .extend(stored.iter().cloned());
        Ok(stored)
    }

    /// As `event-log.read`.
    pub fn read(&self, after: u64, max_events: u32, max_bytes: u32) -> Vec<StoredEvent> {
        let max_bytes = max_bytes.min(READ_BYTES_MAX) as usize;
        let mut bytes = 0;
        self.current
            .events
            .iter()
            .skip_while(|event| event.seq_num <= after)
            .take(max_events.min(READ_EVENTS_MAX) as usize)
            .enumerate()
            .take_while(|(index, event)| {
                bytes += event.name.len()
                    + event.args.as_ref().map_or(0, String::len)
                    + event.client_id.len()
                    + event.session_id.len()
                    + event.created_at.len();
                *index == 0 || bytes <= max_bytes
            })
            .map(|(_, event)| StoredEvent::clone(event))
            .collect()
    }

    /// As `event-log.reset`.
    pub fn reset(&mut self, new_backend_id: &str) {
        self.current = Rc::new(State {
            backend_id: Some(new_backend_id.to_owned()),
            events: Vec::new(),
        });
    }
}
