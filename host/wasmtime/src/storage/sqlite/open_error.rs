//! Why a directory, or a file of it, is not served, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::storage::layout::LAYOUT;
use crate::storage::trouble::{READ_ONLY, sqlite_meaning};

/// Why a data directory cannot be worked with.
#[derive(Debug, Error)]
pub enum OpenError {
    /// SQLite cannot work with a file.
    #[error("cannot use {}: {} ({source}). {}", .file.display(), sqlite_meaning(.source).what, sqlite_meaning(.source).to_do)]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// A file cannot be looked at.
    #[error("cannot use {}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It can be read, but nothing could be pushed.
    #[error("cannot use {}: it may only be read. {}", .0.display(), READ_ONLY.to_do)]
    ReadOnly(PathBuf),
    /// Without its write-ahead log SQLite would be slow, and its files would
    /// not be what the documents say.
    #[error(
        "cannot use {}: SQLite keeps no write-ahead log there. Name a directory on a local disk with --storage sqlite:DIR",
        .0.display()
    )]
    NoWal(PathBuf),
    /// A later version has written it.
    #[error(
        "cannot use {}: a later Syncline has written it (layout {layout}, this one knows up to {LAYOUT}). Use that version, or a backup from before",
        .file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its layout.
        layout: i64,
    },
    /// A file is missing, or has no content, beside others that were served.
    #[error(
        "cannot use {}: it is missing or empty, and the files beside it have been served with it. Start nothing on it: SQLite would delete a -wal that is left of it. Put the file back; or a backup of the whole directory, or, if its stores may be lost, nothing, and run `syncline restored {}`",
        .0.display(), parent(.0).display()
    )]
    Missing(PathBuf),
    /// A file is of another directory, or `syncline restored` did not finish.
    #[error(
        "cannot use {} with {}: they are of different directories, or `syncline restored` was interrupted. Put files together that belong together, or run `syncline restored {}`, again if need be",
        .0.display(), .1.display(), parent(.0).display()
    )]
    Mixed(PathBuf, PathBuf),
    /// A file is from before the others were last served.
    #[error(
        "cannot use {}: it is older than the files beside it, so clients have seen events that it does not have. Put the file back as it was, or run `syncline restored {}` to serve it as it is",
        .0.display(), parent(.0).display()
    )]
    Older(PathBuf),
    /// Another process has the directory.
    #[error(
        "another syncline is running on {}: stop it, or name another directory",
        .0.display()
    )]
    InUse(PathBuf),
    /// The directory, or the file that it is locked by, cannot be made.
    #[error(
        "cannot write {}: let this user write the directory and see that the disk is not full, or name another with --storage sqlite:DIR",
        .what.display()
    )]
    NotWritable {
        /// What.
        what: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// No secret can be made.
    #[error("the system has no randomness")]
    Randomness(#[source] io::Error),
}

fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}
