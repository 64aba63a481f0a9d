//! How a pull begins, whoever makes it: whether the store and the log are the
//! ones that it means, and where it starts.

use super::Room;
use super::fault::Fault;
use crate::imports::{Imports, LogInfo};
use crate::protocol::{Pull, Reply};

/// What a client asks for that pulls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The store that it names, if it names one.
    pub store_id: Option<&'a str>,
    /// The last event that it has, and the incarnation of the log which that
    /// is of, as far as it knows of such.
    pub after: u64,
    /// See [`Asked::after`].
    pub backend_id: Option<&'a str>,
}

impl<'a> From<&'a Pull<'_>> for Asked<'a> {
    fn from(pull: &'a Pull<'_>) -> Self {
        let cursor = pull.cursor.as_ref();
        Self {
            store_id: pull.store_id.as_deref(),
            after: cursor.map_or(0, |cursor| cursor.after),
            backend_id: cursor.and_then(|cursor| cursor.backend_id.as_deref()),
        }
    }
}

/// Where a pull begins.
#[derive(Debug)]
pub(super) struct Beginning {
    /// The last event that its client has. Who is ahead of the log is served
    /// as one at its head.
    pub after: u64,
    /// The log as it is now.
    pub info: LogInfo,
}

/// Why a pull does not begin.
#[derive(Debug)]
pub(super) enum NotBegun {
    /// The client means another incarnation of the log.
    BackendIdMismatch {
        /// The log's.
        expected: String,
        /// The client's.
        received: String,
    },
    /// Anything else.
    Fault(Fault),
}

impl NotBegun {
    /// What its client is told.
    pub fn reply(&self) -> Reply<'_> {
        match self {
            Self::BackendIdMismatch { expected, received } => {
                Reply::BackendIdMismatch { expected, received }
            }
            Self::Fault(fault) => fault.reply(),
        }
    }
}

impl From<Fault> for NotBegun {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Room {
    /// Finds out where a pull begins. Upstream's order of checks: the store,
    /// then the backend id.
    pub(super) fn begin_pull(
        &mut self,
        imports: &mut impl Imports,
        asked: Asked<'_>,
    ) -> Result<Beginning, NotBegun> {
        if asked.store_id.is_some_and(|id| id != self.store_id) {
            return Err(Fault::store_mismatch().into());
        }
        self.look_again(imports, asked.after)?;
        let info = self.log.info(imports)?;
        if let Some(received) = asked.backend_id.filter(|id| *id != info.backend_id) {
            return Err(NotBegun::BackendIdMismatch {
                expected: info.backend_id,
                received: received.to_owned(),
            });
        }
        if asked.after > info.head {
            self.log.report_ahead(imports, info.head, asked.after);
        }
        Ok(Beginning {
            after: asked.after.min(info.head),
            info,
        })
    }
}
