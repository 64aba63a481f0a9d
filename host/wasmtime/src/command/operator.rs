//! What an operator does to a data directory, beside serving it.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};
use thiserror::Error;

use crate::storage::identity::Secret;
use crate::storage::layout;
use crate::storage::sqlite::directory::{self, ShardFile};
use crate::storage::sqlite::logs::{self, Log, Logs};
use crate::storage::sqlite::open_error::OpenError;
use crate::storage::sqlite::tables::{CONTEXT, Table};
use crate::storage::sqlite::{connection, record};
use crate::storage::trouble::{Failure, storage_error};

/// Events and stores that are worked on at a time.
const PAGE_ROWS: u32 = 1_000;

/// Text of events that is read at a time, in bytes, beyond the first.
const PAGE_BYTES: u32 = 4 * 1024 * 1024;

/// Why a command did not do as it was told. Then it has changed nothing, but
/// where its documentation says what.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The directory cannot be worked with.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// There is no such directory.
    #[error("{} is no data directory of Syncline's: no shard-N.db in it has any content", .0.display())]
    NoDirectory(PathBuf),
    /// Nobody has ever pushed to the store.
    #[error("{} has no store `{store}`: nobody has ever pushed to it", .dir.display())]
    NoStore {
        /// The directory.
        dir: PathBuf,
        /// The store's id.
        store: String,
    },
    /// A file cannot be read or written.
    #[error("{}", storage_error(.file, .source))]
    Failed {
        /// The file.
        file: PathBuf,
        /// What it is about.
        source: Failure,
    },
    /// The file of an export cannot be made.
    #[error("cannot make {}: exports go into new files only", .file.display())]
    NoExport {
        /// The file.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// No secret can be made.
    #[error("the system has no randomness")]
    Randomness(#[source] io::Error),
}

type Result<T> = std::result::Result<T, OperatorError>;

/// Makes the directory's content what its clients have to follow, after a
/// backup was put back: every store gets a new backend id, those that nobody
/// has pushed to included. Clients start anew when they see it; events that
/// they have not pushed yet are lost (PROTOCOL.md). Files that are missing or
/// of different times become one directory. No server may run. Returns how
/// many stores have a new id.
///
/// If it is interrupted, servers refuse the directory until it was run again.
///
/// # Errors
/// When a server runs, or a file cannot be used.
pub fn restored(dir: &Path) -> Result<u64> {
    let _lock = take(dir)?;
    let shards = (0..layout::SHARDS)
        .map(|shard| ShardFile::open(layout::file(dir, shard)))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let records = shards.iter().filter_map(|shard| shard.record.as_ref());
    let newest = records.map(|record| record.starts_begun).max();
    let start = newest.unwrap_or(0).saturating_add(1);
    // Until all have the same, no server serves them.
    for shard in &shards {
        let secret = random()?;
        shard.with(|connection| record::begin_start(connection, &secret, start))?;
    }
    let secret = random()?;
    let mut stores = 0;
    for shard in &shards {
        stores += shard.with(|connection| give_ids(connection, &secret, start))?;
    }
    directory::note_start(&shards, &secret, start)?;
    Ok(stores)
}

/// Gives all stores of a file new ids, or none; how many it has.
fn give_ids(connection: &Connection, secret: &Secret, start: i64) -> rusqlite::Result<u64> {
    let transaction = connection.unchecked_transaction()?;
    let mut stores = 0;
    for table in ["syncline_logs", "context_7"] {
        let mut select = connection.prepare(&format!(
            r#"SELECT rowid, "storeId" FROM "{table}" WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"#
        ))?;
        let mut update = connection.prepare(&format!(
            r#"UPDATE "{table}" SET "backendId" = ?1 WHERE rowid = ?2"#
        ))?;
        let mut last = 0;
        loop {
            let rows = select.query_map(params![last, PAGE_ROWS], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })?;
            let page = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let Some((page_last, _)) = page.last() else {
                break;
            };
            last = *page_last;
            for (row, store) in &page {
                update.execute(params![secret.backend_id(store), row])?;
                stores += 1;
            }
        }
    }
    record::begin_start(connection, secret, start)?;
    transaction.commit()?;
    Ok(stores)
}

/// Writes one store as an SQLite file in upstream's format (design D8): a
/// table `eventlog_7_<store>` and a row in `context_7`. A server may run; the
/// copy is the log of one moment. Returns how many events it has.
///
/// # Errors
/// When there is no such store, or a file cannot be used; then the new file is
/// deleted again.
pub fn export(dir: &Path, store: &str, into: &Path) -> Result<u64> {
    let source = layout::file(dir, layout::shard_of(store));
    let connection = open_to_read(dir, &source)?;
    let failed = |source_error| failed(&source, source_error);
    // One moment of the log, whatever is pushed meanwhile.
    let _moment = connection
        .unchecked_transaction()
        .map_err(|error| failed(error.into()))?;
    let Some(log) = find(&connection, store).map_err(failed)? else {
        return Err(no_store(dir, store));
    };
    File::create_new(into).map_err(|source| OperatorError::NoExport {
        file: into.to_owned(),
        source,
    })?;
    write_copy(&connection, &log, store, into)
        .map_err(|(is_source, error)| {
            let file = if is_source { &source } else { into };
            self::failed(file, error)
        })
        .inspect_err(|_| {
            let _ = fs::remove_file(into);
        })
}

/// Copies a log. An error comes with whether it is the source's.
fn write_copy(
    source: &Connection,
    log: &Log,
    store: &str,
    into: &Path,
) -> std::result::Result<u64, (bool, Failure)> {
    let of_source = |error| (true, error);
    let of_copy = |error: Failure| (false, error);
    let of_sqlite = |error: rusqlite::Error| (false, error.into());
    let backend_id = log.backend_id(source, store).map_err(of_source)?;
    let copy = Connection::open(into).map_err(of_sqlite)?;
    let transaction = copy.unchecked_transaction().map_err(of_sqlite)?;
    copy.execute_batch(CONTEXT).map_err(of_sqlite)?;
    let table = Table::create(&copy, store, &backend_id).map_err(of_copy)?;
    let mut head = 0;
    let mut events = 0;
    loop {
        let after = i64::try_from(head).unwrap_or(i64::MAX);
        let page = log
            .read(source, after, PAGE_ROWS, PAGE_BYTES, &mut 0)
            .map_err(of_source)?;
        let Some(last) = page.last() else {
            break;
        };
        head = last.event.seq_num;
        for stored in &page {
            table
                .insert(&copy, &stored.event, &stored.created_at)
                .map_err(of_copy)?;
            events += 1;
        }
    }
    Table::set_head(&copy, store, head).map_err(of_copy)?;
    transaction.commit().map_err(of_sqlite)?;
    Ok(events)
}

/// Deletes a store's events and gives it a new backend id, which is all that
/// is left of it: clients that come back find another log, and start anew. No
/// server may run. The file keeps its size: what is free is used again.
///
/// # Errors
/// When a server runs, there is no such store, or the file cannot be used.
pub fn delete(dir: &Path, store: &str) -> Result<()> {
    let _lock = take(dir)?;
    let file = layout::file(dir, layout::shard_of(store));
    if !directory::has_content(&file)? {
        return Err(OpenError::Missing(file).into());
    }
    let shard = ShardFile::open(file)?;
    let backend_id = random()?.backend_id(store);
    let deleted = delete_from(&shard.connection, store, &backend_id);
    if deleted.map_err(|error| failed(&shard.file, error))? {
        Ok(())
    } else {
        Err(no_store(dir, store))
    }
}

/// Whether there was something to delete.
fn delete_from(
    connection: &Connection,
    store: &str,
    backend_id: &str,
) -> std::result::Result<bool, Failure> {
    let transaction = connection.unchecked_transaction()?;
    let Some(log) = logs::find(connection, store)? else {
        return Ok(false);
    };
    if let Log::Own(table) = &log {
        table.drop(connection, store)?;
    }
    Logs::default().reset(connection, store, backend_id)?;
    transaction.commit()?;
    Ok(true)
}

/// Takes a directory that is there.
fn take(dir: &Path) -> Result<File> {
    // Not even a lock file is made where nothing was served from.
    for shard in 0..layout::SHARDS {
        if directory::has_content(&layout::file(dir, shard))? {
            return Ok(directory::lock(dir)?);
        }
    }
    Err(OperatorError::NoDirectory(dir.to_owned()))
}

fn open_to_read(dir: &Path, file: &Path) -> Result<Connection> {
    if !directory::has_content(file)? {
        return Err(OperatorError::NoDirectory(dir.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(file, flags).map_err(|source| OpenError::Sqlite {
            file: file.to_owned(),
            source,
        })?;
    connection::check_layout(&connection, file)?;
    Ok(connection)
}

/// A store's log, also in a file that no server of this version has opened.
fn find(connection: &Connection, store: &str) -> std::result::Result<Option<Log>, Failure> {
    if connection.table_exists(None, "syncline_logs")? {
        logs::find(connection, store)
    } else {
        Ok(Table::find(connection, store)?.map(Log::Own))
    }
}

fn random() -> Result<Secret> {
    Secret::random().map_err(OperatorError::Randomness)
}

fn no_store(dir: &Path, store: &str) -> OperatorError {
    OperatorError::NoStore {
        dir: dir.to_owned(),
        store: store.to_owned(),
    }
}

fn failed(file: &Path, source: Failure) -> OperatorError {
    OperatorError::Failed {
        file: file.to_owned(),
        source,
    }
}
