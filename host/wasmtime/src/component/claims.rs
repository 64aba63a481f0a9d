//! The `claims` import: current claims versions from a JSON file.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::State;
use crate::contract::bindings::syncline::backend::claims::Host;

/// The prefix of the keys, as Workers KV has them.
const KEY_PREFIX: &str = "workspace-claims-version:";

/// The file is read again after this at the latest, as the contract has it:
/// two changes within a tick of the file system's clock look like one.
const AGE_MAX: Duration = Duration::from_secs(60);

/// The file of `--claims-versions`: a JSON object of versions, by
/// `workspace-claims-version:<user-id>` or the bare user id. Read again when
/// it changes, so a revocation takes effect at once.
pub struct ClaimsFile {
    path: Option<PathBuf>,
    read: Mutex<Option<Read>>,
}

struct Read {
    version: FileVersion,
    at: Instant,
    versions: HashMap<String, u64>,
}

/// What changes when a file does: written in place, or replaced by another.
#[derive(PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

impl FileVersion {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            bytes: metadata.len(),
        }
    }
}

/// A version as KV would hold it, too: text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Version {
    Number(u64),
    Text(String),
}

impl ClaimsFile {
    /// The claims of `path`; without one, no user has an entry.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            read: Mutex::new(None),
        }
    }

    /// The user's current version.
    ///
    /// # Errors
    /// Why the file cannot be read, in words for the operator.
    pub fn current_version(&self, user_id: &str) -> Result<Option<u64>, String> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let metadata = fs::metadata(path).map_err(|error| named(&error))?;
        let version = FileVersion::of(&metadata);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let unchanged = read
            .as_ref()
            .is_some_and(|read| read.version == version && read.at.elapsed() < AGE_MAX);
        if !unchanged {
            let text = fs::read_to_string(path).map_err(|error| named(&error))?;
            let versions: HashMap<String, Version> =
                serde_json::from_str(&text).map_err(|error| named(&error))?;
            let versions = versions
                .into_iter()
                .map(|(key, version)| {
                    let version = match version {
                        Version::Number(version) => Ok(version),
                        Version::Text(text) => text
                            .trim()
                            .parse()
                            .map_err(|_| named(&"a version is no number")),
                    };
                    version.map(|version| (key, version))
                })
                .collect::<Result<_, _>>()?;
            *read = Some(Read {
                version,
                at: Instant::now(),
                versions,
            });
        }
        Ok(read.as_ref().and_then(|read| {
            read.versions
                .get(&format!("{KEY_PREFIX}{user_id}"))
                .or_else(|| read.versions.get(user_id))
                .copied()
        }))
    }
}

impl Host for State {
    fn current_version(&mut self, user_id: String) -> Result<Option<u64>, String> {
        let found = self.claims.current_version(&user_id);
        if let Some(meters) = self.telemetry.meters() {
            meters.looked_up(found.is_err());
        }
        found
    }
}
