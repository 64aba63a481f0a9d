//! What a storage has to do: the `event-log` import, for all stores of a shard.

use crate::contract::{Event, LogInfo, StorageError, StoredEvent};

/// The result of a storage call.
pub type Result<T> = std::result::Result<T, StorageError>;

/// The logs of a shard's stores. Calls come from the shard's thread only.
///
/// Turns follow one another; several share a commit (design D2):
/// `(calls… end_turn)… commit`. What a turn wrote is visible to the calls
/// after it at once.
pub trait Storage: Send {
    /// Head and backend id. Writes nothing: a store that nobody ever pushed
    /// to has an empty log, and a backend id that is derived
    /// ([`Secret`](super::identity::Secret)) and becomes its own with its first event.
    ///
    /// # Errors
    /// What the storage reports.
    fn open(&mut self, store: &str) -> Result<LogInfo>;

    /// Appends the batch, whole or not at all; the first of a store creates
    /// it.
    ///
    /// # Errors
    /// `Conflict` when the head is not `expected_head`; what the storage
    /// reports.
    fn append(
        &mut self,
        store: &str,
        expected_head: u64,
        batch: &[Event],
        created_at: &str,
    ) -> Result<()>;

    /// The events after `after`, at most `max_events`, up to the one that
    /// crosses `max_bytes`; but one at least, if there is one.
    ///
    /// # Errors
    /// What the storage reports.
    fn read(
        &mut self,
        store: &str,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>>;

    /// Deletes the log's events and replaces its backend id.
    ///
    /// # Errors
    /// What the storage reports.
    fn reset(&mut self, store: &str, new_backend_id: &str) -> Result<()>;

    /// Ends a turn. If not to be kept, what it wrote is undone. Returns
    /// whether it wrote anything.
    fn end_turn(&mut self, keep: bool) -> bool;

    /// Makes everything since the last commit durable. On an error all of it
    /// is undone.
    ///
    /// # Errors
    /// What the storage reports.
    fn commit(&mut self) -> Result<()>;

    /// Why nothing can be written now, as far as is known, and what to do;
    /// `None` when the last write worked. Memory always can be written.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Finds out whether writing works, while nobody pushes: after a write
    /// that failed it writes a little and makes it durable, otherwise it only
    /// looks whether what is open is still what is on the disk. To be called
    /// between commits; what it finds, [`trouble`](Self::trouble) says, and
    /// the log. Costs a commit at most.
    fn probe(&mut self) {}
}

/// The text of a stored event, in bytes: what `max_bytes` counts.
pub fn text_bytes(event: &StoredEvent) -> usize {
    let StoredEvent { event, created_at } = event;
    event.name.len()
        + event.args.as_ref().map_or(0, String::len)
        + event.client_id.len()
        + event.session_id.len()
        + created_at.len()
}

/// Takes events from `events` until the next would cross `max_bytes`.
pub fn take_within<E>(
    events: impl Iterator<Item = std::result::Result<StoredEvent, E>>,
    max_bytes: u32,
) -> std::result::Result<Vec<StoredEvent>, E> {
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let mut taken = Vec::new();
    let mut bytes = 0;
    for event in events {
        let event = event?;
        bytes += text_bytes(&event);
        if bytes > max_bytes && !taken.is_empty() {
            break;
        }
        taken.push(event);
    }
    Ok(taken)
}
