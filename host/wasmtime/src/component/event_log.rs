//! The `event-log` import: the store's log, through the shard's storage.

use super::State;
use crate::component::turn::Turn;
use crate::contract::bindings::syncline::backend::event_log::{
    Event, Host, LogInfo, StorageError, StoredEvent,
};

impl State {
    fn turn(&mut self) -> Result<&mut Turn, StorageError> {
        self.turn
            .as_mut()
            .ok_or_else(|| StorageError::Unavailable("the event log is for rooms only".to_owned()))
    }
}

impl Host for State {
    fn open(&mut self, _new_backend_id: String) -> Result<LogInfo, StorageError> {
        self.turn()?
            .with_storage(|storage, store| storage.open(store))
    }

    fn append(
        &mut self,
        expected_head: u64,
        batch: Vec<Event>,
        created_at: String,
    ) -> Result<(), StorageError> {
        self.turn()?.with_storage(|storage, store| {
            storage.append(store, expected_head, &batch, &created_at)
        })
    }

    fn read(
        &mut self,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>, StorageError> {
        let max_events = max_events.min(self.bounds.read_events_max);
        let max_bytes = max_bytes.min(self.bounds.read_bytes_max);
        self.turn()?
            .with_storage(|storage, store| storage.read(store, after, max_events, max_bytes))
    }

    fn reset(&mut self, new_backend_id: String) -> Result<(), StorageError> {
        self.turn()?
            .with_storage(|storage, store| storage.reset(store, &new_backend_id))
    }
}
