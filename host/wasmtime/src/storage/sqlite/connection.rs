//! A connection to a shard's file, as the server needs it.

use std::cell::Cell;
use std::ffi::c_int;
use std::path::Path;
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, MAIN_DB};

use super::open_error::OpenError;
use crate::storage::layout::LAYOUT;

/// Statements kept prepared: a few for each store that has a table of its own
/// and is in use.
const STATEMENTS_CACHED: usize = 512;

/// How long somebody else's lock on the file is waited for: nobody but an
/// operator with a tool should have one, and a shard waits meanwhile.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The write-ahead log's length from which it is moved into the file, in
/// pages of 4 KiB: SQLite's own.
const CHECKPOINT_PAGES: c_int = 1_000;

/// What the write-ahead log is cut back to once it has been moved into the
/// file, in bytes: twice what it has then as a rule, so that it is cut after
/// an unusual commit only.
const WAL_BYTES_KEPT_MAX: i64 = 8 * 1024 * 1024;

/// Opens a shard's file, creating it if it is absent.
///
/// # Errors
/// When nothing could be pushed to it: why, and what to do.
pub fn open(file: &Path) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Sqlite {
        file: file.to_owned(),
        source,
    };
    let connection = Connection::open(file).map_err(failed)?;
    check_layout(&connection, file)?;
    let journal = prepare(&connection).map_err(failed)?;
    // SQLite opens what it may not write as if nothing were wrong.
    if connection.is_readonly(MAIN_DB).map_err(failed)? {
        return Err(OpenError::ReadOnly(file.to_owned()));
    }
    if journal != "wal" {
        return Err(OpenError::NoWal(file.to_owned()));
    }
    Ok(connection)
}

/// Sees that this server knows the file's layout.
///
/// # Errors
/// When it does not, or the file cannot be read.
pub fn check_layout(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let layout = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    match layout {
        Ok(0..=LAYOUT) => Ok(()),
        Ok(layout) => Err(OpenError::Newer {
            file: file.to_owned(),
            layout,
        }),
        Err(source) => Err(OpenError::Sqlite {
            file: file.to_owned(),
            source,
        }),
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<String> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    let journal =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    // An acknowledged push survives a power cut, not only a crash (I1). macOS
    // has two ways to ask for that, and only one is true.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection
        .pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT_MAX, |_| Ok(()))?;
    connection.wal_hook(Some(checkpoint));
    Ok(journal)
}

thread_local! {
    /// How the checkpoint ended that the last commit brought about.
    static CHECKPOINT: Cell<Option<rusqlite::Result<()>>> = const { Cell::new(None) };
}

/// How the checkpoint ended that the last commit on this thread brought about;
/// `None` when it brought none about.
pub fn take_checkpoint() -> Option<rusqlite::Result<()>> {
    CHECKPOINT.take()
}

/// Moves the write-ahead log into the file when it is long enough. Without
/// this SQLite does the same and tells nobody when it fails.
fn checkpoint(wal: &Wal, pages: c_int) -> rusqlite::Result<()> {
    if pages >= CHECKPOINT_PAGES {
        match wal.checkpoint() {
            // Somebody makes a backup: the next one will do.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
            result => CHECKPOINT.set(Some(result)),
        }
    }
    Ok(())
}
