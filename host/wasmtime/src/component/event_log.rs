//! The `event-log` import: the store's log, through the shard's storage.

use std::time::Instant;

use super::State;
use crate::component::turn::Effect;
use crate::contract::bindings::syncline::backend::event_log::{
    Event, Host, LogInfo, StorageError, StoredEvent,
};
use crate::storage::event_log::Storage;
use crate::telemetry::meters::{Operation, error_name};
use crate::telemetry::traces::Stored;

impl State {
    /// Asks storage for something, about so many events.
    fn ask<T>(
        &mut self,
        operation: Operation,
        events: Option<usize>,
        call: impl FnOnce(&mut dyn Storage, &str) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let Self {
            turn, telemetry, ..
        } = self;
        let turn = turn.as_mut().ok_or_else(|| {
            StorageError::Unavailable("the event log is for rooms only".to_owned())
        })?;
        if !telemetry.is_on() {
            return turn.with_storage(call);
        }
        let begun = Instant::now();
        let result = turn.with_storage(call);
        let took = begun.elapsed();
        let error = result.as_ref().err();
        if let Some(meters) = telemetry.meters() {
            meters.stored(operation, took, error);
        }
        if telemetry.traces().is_some() {
            turn.add(Effect::Stored(Box::new(Stored {
                operation,
                begun,
                took,
                events,
                error: error.map(error_name),
            })));
        }
        result
    }
}

/// The text of events, in bytes.
fn text_bytes(events: &[Event]) -> u64 {
    let bytes = events.iter().map(|event| {
        let args = event.args.as_ref().map_or(0, String::len);
        event.name.len() + args + event.client_id.len() + event.session_id.len()
    });
    u64::try_from(bytes.sum::<usize>()).unwrap_or(u64::MAX)
}

impl Host for State {
    fn open(&mut self, _new_backend_id: String) -> Result<LogInfo, StorageError> {
        self.ask(Operation::Open, None, |storage, store| storage.open(store))
    }

    fn append(
        &mut self,
        expected_head: u64,
        batch: Vec<Event>,
        created_at: String,
    ) -> Result<(), StorageError> {
        self.ask(Operation::Append, Some(batch.len()), |storage, store| {
            storage.append(store, expected_head, &batch, &created_at)
        })?;
        if let Some(turn) = self.turn.as_mut().filter(|_| self.telemetry.is_on()) {
            turn.add(Effect::Appended {
                events: u64::try_from(batch.len()).unwrap_or(u64::MAX),
                bytes: text_bytes(&batch),
            });
        }
        Ok(())
    }

    fn read(
        &mut self,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>, StorageError> {
        let max_events = max_events.min(self.bounds.read_events_max);
        let max_bytes = max_bytes.min(self.bounds.read_bytes_max);
        self.ask(Operation::Read, None, |storage, store| {
            storage.read(store, after, max_events, max_bytes)
        })
    }

    fn reset(&mut self, new_backend_id: String) -> Result<(), StorageError> {
        self.ask(Operation::Reset, None, |storage, store| {
            storage.reset(store, &new_backend_id)
        })
    }
}
