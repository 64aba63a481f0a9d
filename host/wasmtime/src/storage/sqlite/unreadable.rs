//! Logs that were found damaged: pushes to them are refused, since nobody
//! could ever read what they continue.

use std::collections::HashMap;

use crate::storage::trouble::Failure;

/// Stores that are remembered, well under a kilobyte each. Beyond it all are
/// forgotten: whoever pulls such a store has it remembered again.
const STORES_MAX: usize = 1_000;

/// Damaged logs: each with the event behind which the first one is that
/// cannot be read.
#[derive(Default)]
pub struct Unreadable(HashMap<String, u64>);

impl Unreadable {
    /// Whether a store may be pushed to.
    ///
    /// # Errors
    /// When its log was found damaged, and no read of that part worked since.
    pub fn check(&self, store: &str) -> Result<(), Failure> {
        match self.0.get(store) {
            Some(after) => Err(Failure::Unreadable(*after)),
            None => Ok(()),
        }
    }

    /// A read found damage behind this event.
    pub fn found(&mut self, store: &str, after: u64) {
        if self.0.len() >= STORES_MAX {
            self.0.clear();
        }
        self.0.insert(store.to_owned(), after);
    }

    /// The events after `after` were read, up to `last`.
    pub fn read(&mut self, store: &str, after: u64, last: u64) {
        if let Some(damaged) = self.0.get(store)
            && (after..last).contains(damaged)
        {
            self.0.remove(store);
        }
    }

    /// The log was emptied.
    pub fn cleared(&mut self, store: &str) {
        self.0.remove(store);
    }
}
