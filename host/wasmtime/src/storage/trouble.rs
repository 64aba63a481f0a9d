//! What SQLite's errors mean to whoever runs the server, and how often they
//! are told.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use thiserror::Error;
use tracing::{error, info};

use crate::contract::StorageError;

/// How long a trouble that comes and goes is not mentioned again: each push
/// meets it anew.
const QUIET: Duration = Duration::from_secs(60);

/// Why a call of a file's storage failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// SQLite's error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// What is open is not what is at its path.
    #[error("{} was deleted or replaced while it was open", .0.display())]
    Replaced(PathBuf),
    /// The log was found damaged behind this event, and nothing was read
    /// from there since.
    #[error("what follows event {0} of this store cannot be read")]
    Unreadable(u64),
    /// Nothing more of this kind can be numbered.
    #[error("it has all the {0} it can have")]
    Full(&'static str),
    /// An event that is not behind the log's beginning.
    #[error("event {0} is not behind the beginning of its log")]
    BeforeBeginning(u64),
}

impl Failure {
    /// SQLite's code, if it is SQLite's.
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        }
    }

    /// Whether the file, or what it is on, gives something else back than was
    /// written.
    pub fn is_damage(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure)
        )
    }
}

/// What an error says to people.
pub(super) struct Meaning {
    /// What has happened.
    pub what: &'static str,
    /// What to do.
    pub to_do: &'static str,
}

pub(super) const READ_ONLY: Meaning = Meaning {
    what: "it may not be written",
    to_do: "Let the server's user write the file and its directory",
};

const DAMAGED: &str = "While no server runs, put a backup in its place, without the -wal and -shm beside it, and run `syncline restored` on the directory; or save what can be read with `sqlite3 FILE .recover`";

/// What an error means.
pub(super) fn meaning(error: &Failure) -> Meaning {
    let (what, to_do) = match error {
        Failure::Sqlite(error) => return sqlite_meaning(error),
        Failure::Replaced(_) => (
            "the file that is open is not there any more",
            "If it was moved, move it back: pushes are then taken again. If only a -wal was deleted, stop the server with SIGTERM: it moves what it has into the file. Otherwise let clients pull what only this server still has, stop it, put a backup of the whole directory in place and run `syncline restored` on it",
        ),
        Failure::Unreadable(_) => ("the file is damaged", DAMAGED),
        Failure::Full(_) => (
            "no more fit into it",
            "Delete stores that nobody needs, or move some to another server",
        ),
        Failure::BeforeBeginning(_) => (
            "the component does not number events in order",
            "Serve the built-in one",
        ),
    };
    Meaning { what, to_do }
}

/// What an error of SQLite's means.
pub(super) fn sqlite_meaning(error: &rusqlite::Error) -> Meaning {
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
pub fn storage_error(file: &Path, error: &Failure) -> StorageError {
    let words = format!("{}: {}", file.display(), words(error));
    match (error, error.code()) {
        (Failure::Full(_), _) | (_, Some(ErrorCode::DiskFull)) => StorageError::Full(words),
        (_, Some(ErrorCode::TooBig)) => StorageError::TooLarge(words),
        _ => StorageError::Unavailable(words),
    }
}

fn words(error: &Failure) -> String {
    let Meaning { what, to_do } = meaning(error);
    format!("{what} ({error}). {to_do}")
}

/// Whether an error is the file's or its disk's, and not of what was asked.
pub fn is_of_disk(error: &Failure) -> bool {
    match (error, error.code()) {
        (Failure::Replaced(_), _) => true,
        (_, code) => !matches!(
            code,
            None | Some(
                ErrorCode::ConstraintViolation
                    | ErrorCode::TooBig
                    | ErrorCode::TypeMismatch
                    | ErrorCode::Unknown
            )
        ),
    }
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
    /// Why it failed the last time.
    met: Option<String>,
    /// Whether it looked since as if it were over. What was written then was
    /// little: it is over when a push works.
    looks_over: bool,
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
            met: None,
            looks_over: false,
            said: Vec::new(),
            is_said: false,
        }
    }

    /// Whether it failed the last time.
    pub fn is_met(&self) -> bool {
        self.met.is_some()
    }

    /// A look has found nothing wrong.
    pub fn seems_over(&mut self) {
        self.looks_over = true;
    }

    /// Why it failed the last time, and what to do; `None` when it did not, or
    /// looks over.
    pub fn met(&self) -> Option<String> {
        let reason = self.met.as_ref().filter(|_| !self.looks_over)?;
        Some(format!("{}: {reason}", self.file.display()))
    }

    /// It failed. Said once, not for each push that meets it.
    pub fn meet(&mut self, error: &Failure) {
        let Action {
            fails, meanwhile, ..
        } = self.action;
        self.met = Some(format!("{fails}: {}", words(error)));
        self.looks_over = false;
        let code = error.code();
        self.said.retain(|(_, at)| at.elapsed() < QUIET);
        if !self.said.iter().any(|(said, _)| *said == code) {
            self.said.push((code, Instant::now()));
            self.is_said = true;
            let Meaning { what, to_do } = meaning(error);
            error!(
                event = "storage_failed",
                file = %self.file.display(),
                "{fails}: {what} ({error}). {meanwhile}. {to_do}"
            );
        }
    }

    /// It worked.
    pub fn end(&mut self) {
        if self.met.is_some() && std::mem::take(&mut self.is_said) {
            let Action { works_again, .. } = self.action;
            info!(event = "storage_works", file = %self.file.display(), "{works_again}");
        }
        self.met = None;
    }
}
