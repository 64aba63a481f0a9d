//! The logs on the disk: whether the files belong together, are whole, and
//! hold every event. Nothing is written, not even a file beside them.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags};

use super::report::Report;
use crate::storage::Location;
use crate::storage::layout::{self, LAYOUT};
use crate::storage::sqlite::directory::{self, ShardFile};
use crate::storage::sqlite::open_error::OpenError;
use crate::storage::sqlite::{chain, connection, record};
use crate::storage::trouble::{Failure, storage_error};

const CHECK: &str = "storage";

/// Faults of one kind that are shown of one file.
const SHOWN_MAX: usize = 3;

/// A file's time may be so far ahead: a disk's clock ticks by itself.
const AHEAD_SECONDS_MAX: u64 = 60;

const BACKUP: &str = "With no server running, put a backup of the whole directory in its place and run `syncline restored` on it; or save what can be read with `sqlite3 FILE .recover`";

/// An error with what it comes from.
fn words(error: OpenError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// Whose a directory is.
enum Holder {
    /// Nobody's.
    Nobody,
    /// A server's.
    Server,
    /// It cannot be told.
    Unknown(String),
}

/// Whether a server runs on a directory, as far as can be told.
#[must_use]
pub fn is_served(dir: &Path) -> bool {
    matches!(holder(dir).0, Holder::Server)
}

/// Looks whose it is, and makes nothing. As long as the file is kept, a server
/// that starts is told that another has it.
fn holder(dir: &Path) -> (Holder, Option<File>) {
    let file = match File::open(dir.join("syncline.lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Holder::Nobody, None),
        Err(error) => return (Holder::Unknown(error.to_string()), None),
    };
    match file.try_lock_shared() {
        Ok(()) => (Holder::Nobody, Some(file)),
        Err(TryLockError::WouldBlock) => (Holder::Server, None),
        Err(TryLockError::Error(error)) => (Holder::Unknown(error.to_string()), None),
    }
}

/// Looks at the logs.
pub fn check(storage: &Location, report: &mut Report) {
    let Location::Sqlite(dir) = storage else {
        return;
    };
    let files: Vec<PathBuf> = (0..layout::SHARDS)
        .map(|shard| layout::file(dir, shard))
        .collect();
    let present = files
        .iter()
        .filter(|file| directory::has_content(file).unwrap_or(true))
        .count();
    if present == 0 {
        report.ok(CHECK, format!("{} has no logs yet", dir.display()));
        return;
    }
    let (holder, _kept) = holder(dir);
    let is_quiet = match &holder {
        Holder::Nobody => true,
        Holder::Server => {
            report.ok(
                CHECK,
                format!(
                    "a server runs on {}: its files are looked at, and not read through, which would hold it up. For that stop it, or name a copy with --storage",
                    dir.display()
                ),
            );
            false
        }
        Holder::Unknown(words) => {
            report.warn(
                CHECK,
                format!(
                    "whether a server runs on {} cannot be told: {words}",
                    dir.display()
                ),
                "Run the doctor as the server's user",
            );
            false
        }
    };
    let mut shards = Vec::new();
    for file in files {
        match open(&file, is_quiet) {
            Ok(Some(shard)) => shards.push(shard),
            Ok(None) => report.fail(CHECK, OpenError::Missing(file).to_string(), ""),
            Err(error) => report.fail(CHECK, words(error), ""),
        }
    }
    together(dir, &shards, report);
    if is_quiet {
        for shard in &shards {
            look_through(&shard.file, &shard.connection, report);
        }
        quotas(dir, report);
    }
    times(dir, report);
}

/// Opens a file to read; `None` when it is absent.
fn open(file: &Path, is_quiet: bool) -> Result<Option<ShardFile>, OpenError> {
    if !directory::has_content(file)? {
        return Ok(None);
    }
    let failed = |source| OpenError::Sqlite {
        file: file.to_owned(),
        source,
    };
    let connection = open_file(file, is_quiet).map_err(failed)?;
    connection::check_layout(&connection, file)?;
    let mut shard = ShardFile {
        file: file.to_owned(),
        connection,
        record: None,
    };
    if shard.with(|connection| connection.table_exists(None, "syncline_directory"))? {
        shard.record = shard.with(record::read)?;
    }
    Ok(Some(shard))
}

fn open_file(file: &Path, is_quiet: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut wal = OsString::from(file);
    wal.push("-wal");
    // A server that was stopped leaves none: then nobody else is there, and
    // SQLite need not make one to see that.
    let is_whole = fs::metadata(&wal).map_or(true, |it| it.len() == 0);
    if is_quiet
        && is_whole
        && let Ok(mut url) = fs::canonicalize(file).map(url::Url::from_file_path)
        && let Ok(url) = &mut url
    {
        url.set_query(Some("immutable=1"));
        return Connection::open_with_flags(url.as_str(), flags | OpenFlags::SQLITE_OPEN_URI);
    }
    Connection::open_with_flags(file, flags)
}

/// Whether the files are of one directory and one time.
fn together(dir: &Path, shards: &[ShardFile], report: &mut Report) {
    match directory::check_together(shards) {
        Ok(starts) if shards.len() == layout::SHARDS => report.ok(
            CHECK,
            format!("the files belong together: layout {LAYOUT}, served {starts} times"),
        ),
        Ok(_) => {}
        Err(error) => report.fail(CHECK, words(error), ""),
    }
    match directory::moved(dir, shards) {
        Ok(None) => {}
        Ok(Some(words)) => report.warn(CHECK, words, ""),
        Err(error) => report.fail(CHECK, words(error), ""),
    }
}

/// Reads every page and every event of a file.
fn look_through(file: &Path, connection: &Connection, report: &mut Report) {
    match pages(connection) {
        Ok(faults) if faults.is_empty() => {}
        Ok(faults) => {
            report.fail(
                CHECK,
                format!("{} is damaged: {}", file.display(), faults.join("; ")),
                BACKUP,
            );
            return;
        }
        Err(error) => {
            report.fail(CHECK, storage_error(file, &error.into()).to_string(), "");
            return;
        }
    }
    match chain::all(connection, SHOWN_MAX) {
        Ok(chains) if chains.breaks == 0 => report.ok(
            CHECK,
            format!(
                "{} is whole: {} stores, {} events without a gap",
                file.display(),
                chains.stores,
                chains.events
            ),
        ),
        Ok(chains) => report.fail(
            CHECK,
            format!(
                "{} has {} gaps in its logs: {}",
                file.display(),
                chains.breaks,
                chains.shown.join("; ")
            ),
            "Clients that pull across a gap diverge. Put a backup of the whole directory in place and run `syncline restored` on it; or give such a store up with `syncline delete`",
        ),
        Err(error) => report.fail(CHECK, storage_error(file, &error).to_string(), ""),
    }
}

/// What SQLite says against its own pages.
fn pages(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({SHOWN_MAX})"))?;
    let rows = check.query_map([], |row| row.get::<_, String>(0))?;
    let mut faults = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    faults.retain(|it| it != "ok");
    Ok(faults)
}

/// What users have used, where it is counted.
fn quotas(dir: &Path, report: &mut Report) {
    let file = dir.join("quotas.db");
    if !directory::has_content(&file).unwrap_or(false) {
        return;
    }
    let faults = open_file(&file, true).and_then(|connection| pages(&connection));
    match faults {
        Ok(faults) if faults.is_empty() => report.ok(CHECK, format!("{} is whole", file.display())),
        Ok(faults) => report.fail(
            CHECK,
            format!("{} is damaged: {}", file.display(), faults.join("; ")),
            "With no server running, delete it: what users have used is counted anew",
        ),
        Err(error) => {
            let words = storage_error(&file, &Failure::from(error)).to_string();
            report.fail(CHECK, words, "");
        }
    }
}

/// Whether the clock was ahead when something was written, or is behind now.
fn times(dir: &Path, report: &mut Report) {
    let now = SystemTime::now();
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let newest = entries
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max();
    let ahead = newest.and_then(|newest| newest.duration_since(now).ok());
    if let Some(ahead) = ahead.filter(|it| it.as_secs() > AHEAD_SECONDS_MAX) {
        report.warn(
            "clock",
            format!(
                "a file of {} was written {} s from now: this machine's clock was ahead then, or is behind",
                dir.display(),
                ahead.as_secs()
            ),
            "See that the machine keeps its time (`timedatectl`): tokens are judged by it",
        );
    }
}
