//! The `claims` import: current claims versions from a JSON file.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;

use super::State;
use super::bindings::syncline::backend::claims::Host;

/// The prefix of the keys, as Workers KV has them.
const KEY_PREFIX: &str = "workspace-claims-version:";

/// The file of `--claims-versions`: a JSON object of versions, by
/// `workspace-claims-version:<user-id>` or the bare user id. Read again when
/// it changes, so a revocation takes effect at once.
pub struct ClaimsFile {
    path: Option<PathBuf>,
    read: Mutex<Option<Read>>,
}

struct Read {
    modified: SystemTime,
    bytes: u64,
    versions: HashMap<String, u64>,
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
        let modified = metadata.modified().map_err(|error| named(&error))?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let unchanged = read
            .as_ref()
            .is_some_and(|read| read.modified == modified && read.bytes == metadata.len());
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
                            .map_err(|_| named(&format!("the version of `{key}` is no number"))),
                    };
                    version.map(|version| (key, version))
                })
                .collect::<Result<_, _>>()?;
            *read = Some(Read {
                modified,
                bytes: metadata.len(),
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
        self.claims.current_version(&user_id)
    }
}
