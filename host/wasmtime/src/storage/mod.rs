//! Storage behind the `event-log` import: SQLite files and memory, and where
//! it is. Both pass the same tests.

pub mod event_log;
pub mod identity;
pub mod layout;
pub mod memory;
pub mod quotas;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod tests;
pub mod trouble;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use self::event_log::Storage;
use self::memory::Memory;
use self::sqlite::directory;
use self::sqlite::open_error::OpenError;

/// Opens the storage of every shard, in order.
///
/// # Errors
/// When one of them could not be pushed to, or may not be what its clients
/// have seen: why, and what to do.
pub fn open(location: &Location) -> Result<Vec<Box<dyn Storage>>, OpenError> {
    match location {
        Location::Sqlite(dir) => {
            let shards = directory::open(dir)?.into_iter();
            Ok(shards.map(|shard| Box::new(shard) as _).collect())
        }
        Location::Memory => (0..layout::SHARDS)
            .map(|_| Ok(Box::new(Memory::new().map_err(OpenError::Randomness)?) as _))
            .collect(),
    }
}

/// Where the logs are kept: `--storage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `sqlite:DIR`: SQLite files in a directory.
    Sqlite(PathBuf),
    /// `memory`: gone with the process.
    Memory,
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", dir)) if !dir.is_empty() => Ok(Self::Sqlite(dir.into())),
            _ => Err("use `sqlite:DIR` or `memory`".to_owned()),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(dir) => write!(formatter, "SQLite in {}", dir.display()),
            Self::Memory => formatter.write_str("memory (nothing outlives the process)"),
        }
    }
}
