//! What SQLite's errors mean to whoever runs the server, and how often they
//! are told.

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{ErrorCode, ffi};
use thiserror::Error;
use tracing::{error, info};

use crate::component::StorageError;

/// How long a trouble that comes and goes is not mentioned again: each push
/// meets it anew.
const QUIET: Duration = Duration::from_secs(60);

/// Why a file cannot be served from.
#[derive(Debug, Error)]
pub enum OpenError {
    /// SQLite cannot work with it.
    #[error("cannot use {}: {} ({source}). {}", .file.display(), meaning(.source).what, meaning(.source).to_do)]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// It can be read, but nothing could be pushed.
    #[error("cannot use {}: it may only be read. {}", .0.display(), READ_ONLY.to_do)]
    ReadOnly(PathBuf),
    /// It was there a moment ago.
    #[error("cannot use {}: it is gone ({source}). Let nothing but the server write to its directory", .file.display())]
    Gone {
        /// The file.
        file: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Without its write-ahead log SQLite would be slow, and its files would
    /// not be what the documents say.
    #[error(
        "cannot use {}: SQLite keeps no write-ahead log there. Name a directory on a local disk with --storage sqlite:DIR",
        .0.display()
    )]
    NoWal(PathBuf),
}

/// What an error says to people.
struct Meaning {
    what: &'static str,
    to_do: &'static str,
}

const READ_ONLY: Meaning = Meaning {
    what: "it may not be written",
    to_do: "Let the server's user write the file and its directory",
};

/// [`super::sqlite`] finds another file, or none, where its own was.
pub const MOVED: c_int = ffi::SQLITE_READONLY_DBMOVED;

fn meaning(error: &rusqlite::Error) -> Meaning {
    if error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == MOVED)
    {
        return Meaning {
            what: "the file, or its write-ahead log, was deleted or replaced while the server runs",
            to_do: "What is read still comes from the deleted one. Put it back (then pushes are taken again), or save what can be saved from here (`/proc/PID/fd` on Linux), stop the server, and see `syncline restored` if you bring back a backup",
        };
    }
    const DAMAGED: &str = "While no server runs, put a backup in its place, without the -wal and -shm beside it, or save what can be read with `sqlite3 FILE .recover`";
    let (what, to_do) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ("the disk is full", "Free some space on it"),
        Some(ErrorCode::SystemIoFailure) => (
            "the disk reports an error",
            "Look into the system's log; if the disk is failing, stop the server and move the directory to another",
        ),
        Some(ErrorCode::DatabaseCorrupt) => ("the file is damaged", DAMAGED),
        Some(ErrorCode::NotADatabase) => {
            ("it is no SQLite file, or its beginning is damaged", DAMAGED)
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => return READ_ONLY,
        Some(ErrorCode::CannotOpen) => (
            "the file, or one beside it, cannot be opened",
            "Let the server's user write the file and its directory, and see that it may open enough files",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            "another program has locked it",
            "Let nothing but the server write to it",
        ),
        _ => ("SQLite has failed", "Look whether SQLite's words help"),
    };
    Meaning { what, to_do }
}

/// An error as the guest is told, and the operator by the guest's log line.
pub fn storage_error(file: &Path, error: &rusqlite::Error) -> StorageError {
    let file = file.display();
    let Meaning { what, to_do } = meaning(error);
    let words = format!("{file}: {what} ({error}). {to_do}");
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageError::Full(words),
        Some(ErrorCode::TooBig) => StorageError::TooLarge(words),
        _ => StorageError::Unavailable(words),
    }
}

/// Whether an error is the file's or its disk's, and not of what was asked.
pub fn is_of_disk(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        None | Some(
            ErrorCode::ConstraintViolation
                | ErrorCode::TooBig
                | ErrorCode::TypeMismatch
                | ErrorCode::Unknown
        )
    )
}

/// What cannot be done, in words.
pub struct Action {
    fails: &'static str,
    meanwhile: &'static str,
    works_again: &'static str,
}

/// Making pushes durable.
pub const WRITES: Action = Action {
    fails: "cannot write",
    meanwhile: "Pushes to the stores in this file are refused until it can be written again; nothing acknowledged is lost",
    works_again: "the file can be written again: pushes are taken",
};

/// Moving the write-ahead log into the file.
pub const CHECKPOINTS: Action = Action {
    fails: "cannot move the write-ahead log into the file",
    meanwhile: "Pushes are taken all the same, but the -wal beside it grows; nothing is lost",
    works_again: "the write-ahead log was moved into the file",
};

/// Whether something can be done to a file, as far as is known.
pub struct Trouble {
    file: PathBuf,
    action: &'static Action,
    is_met: bool,
    /// What it is, while it is met.
    words: String,
    /// What was said of late, and when.
    said: Vec<(Option<ErrorCode>, Instant)>,
    /// Whether its end is to be said.
    is_said: bool,
}

impl Trouble {
    /// None so far.
    pub fn none(file: &Path, action: &'static Action) -> Self {
        Self {
            file: file.to_owned(),
            action,
            is_met: false,
            words: String::new(),
            said: Vec::new(),
            is_said: false,
        }
    }

    /// Whether it failed the last time.
    pub fn is_met(&self) -> bool {
        self.is_met
    }

    /// What it is, if it failed the last time.
    pub fn words(&self) -> Option<&str> {
        self.is_met.then_some(&*self.words)
    }

    /// It failed. Said once, not for each push that meets it.
    pub fn meet(&mut self, error: &rusqlite::Error) {
        self.is_met = true;
        let Meaning { what, to_do } = meaning(error);
        self.words = format!("{}: {what} ({error}). {to_do}", self.file.display());
        let code = error.sqlite_error_code();
        self.said.retain(|(_, at)| at.elapsed() < QUIET);
        if !self.said.iter().any(|(said, _)| *said == code) {
            self.said.push((code, Instant::now()));
            self.is_said = true;
            let Action {
                fails, meanwhile, ..
            } = self.action;
            error!(
                file = %self.file.display(),
                "{fails}: {what} ({error}). {meanwhile}. {to_do}"
            );
        }
    }

    /// It worked.
    pub fn end(&mut self) {
        if self.is_met && std::mem::take(&mut self.is_said) {
            let Action { works_again, .. } = self.action;
            info!(file = %self.file.display(), "{works_again}");
        }
        self.is_met = false;
    }
}
