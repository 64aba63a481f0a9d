//! Logs in memory: for tests and trying things out. Nothing outlives the
//! process.

use std::collections::HashMap;
use std::io;

use super::event_log::{Result, Storage, take_within};
use super::identity::Secret;
use crate::contract::{Event, LogInfo, StorageError, StoredEvent};

/// The logs of a shard's stores: of those that were pushed to, or reset.
pub struct Memory {
    secret: Secret,
    logs: HashMap<String, Log>,
    /// How to undo what the turn under way has done, in order.
    undo: Vec<(String, Undo)>,
}

struct Log {
    backend_id: String,
    events: Vec<StoredEvent>,
}

enum Undo {
    Created,
    Appended { length_before: usize },
    Replaced(Log),
}

impl Memory {
    /// No logs yet.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            secret: Secret::random()?,
            logs: HashMap::new(),
            undo: Vec::new(),
        })
    }

    fn head(&self, store: &str) -> u64 {
        let events = self.logs.get(store).map(|log| &log.events);
        events
            .and_then(|events| events.last())
            .map_or(0, |stored| stored.event.seq_num)
    }
}

impl Storage for Memory {
    fn open(&mut self, store: &str) -> Result<LogInfo> {
        let log = self.logs.get(store);
        Ok(LogInfo {
            head: self.head(store),
            backend_id: log.map_or_else(
                || self.secret.backend_id(store),
                |log| log.backend_id.clone(),
            ),
        })
    }

    fn append(
        &mut self,
        store: &str,
        expected_head: u64,
        batch: &[Event],
        created_at: &str,
    ) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let head = self.head(store);
        if head != expected_head {
            return Err(StorageError::Conflict(head));
        }
        let log = self.logs.entry(store.to_owned()).or_insert_with(|| {
            self.undo.push((store.to_owned(), Undo::Created));
            Log {
                backend_id: self.secret.backend_id(store),
                events: Vec::new(),
            }
        });
        let length_before = log.events.len();
        log.events.extend(batch.iter().map(|event| StoredEvent {
            event: event.clone(),
            created_at: created_at.to_owned(),
        }));
        self.undo
            .push((store.to_owned(), Undo::Appended { length_before }));
        Ok(())
    }

    fn read(
        &mut self,
        store: &str,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>> {
        let Some(Log { events, .. }) = self.logs.get(store) else {
            return Ok(Vec::new());
        };
        let start = events.partition_point(|stored| stored.event.seq_num <= after);
        let page = events
            .iter()
            .skip(start)
            .take(usize::try_from(max_events).unwrap_or(usize::MAX))
            .cloned()
            .map(Ok);
        take_within(page, max_bytes)
    }

    fn reset(&mut self, store: &str, new_backend_id: &str) -> Result<()> {
        let fresh = Log {
            backend_id: new_backend_id.to_owned(),
            events: Vec::new(),
        };
        let undo = match self.logs.insert(store.to_owned(), fresh) {
            Some(before) => Undo::Replaced(before),
            None => Undo::Created,
        };
        self.undo.push((store.to_owned(), undo));
        Ok(())
    }

    fn end_turn(&mut self, keep: bool) -> bool {
        let wrote = !self.undo.is_empty();
        for (store, undo) in self.undo.drain(..).rev() {
            if keep {
                continue;
            }
            match undo {
                Undo::Created => drop(self.logs.remove(&store)),
                Undo::Appended { length_before } => {
                    if let Some(log) = self.logs.get_mut(&store) {
                        log.events.truncate(length_before);
                    }
                }
                Undo::Replaced(log) => drop(self.logs.insert(store, log)),
            }
        }
        wrote
    }

    fn commit(&mut self) -> Result<()> {
        Ok(())
    }
}
