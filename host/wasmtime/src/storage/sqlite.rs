//! Logs in SQLite files, in upstream's format (design D8): a table
//! `eventlog_7_<store>` for each log and a row in `context_7`.
//!
//! A file holds the stores of one shard, as a D1 database holds those of an
//! upstream worker: then one commit makes many stores' pushes durable.

#[cfg(test)]
mod full_tests;
mod tables;

use std::cell::Cell;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, MAIN_DB, params};
use tracing::error;

use self::tables::{SCHEMA, Table, Tables};
use super::trouble::{CHECKPOINTS, OpenError, Trouble, WRITES, is_of_disk, storage_error};
use super::{Result, Storage, take_within};
use crate::component::{Event, LogInfo, StorageError, StoredEvent};

/// Statements kept prepared: a few for each store in use.
const STATEMENTS_CACHED: usize = 512;

/// How long somebody else's lock on the file is waited for: nobody but an
/// operator with a tool should have one, and a shard waits meanwhile.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The write-ahead log's length from which it is moved into the file, in
/// pages of 4 KiB: SQLite's own.
const CHECKPOINT_PAGES: c_int = 1_000;

/// The logs of a shard's stores.
pub struct Sqlite {
    file: PathBuf,
    connection: Connection,
    tables: Tables,
    group: Group,
    /// Whether the transaction holds anything; and whether it did at the
    /// turn's savepoint.
    is_written: bool,
    was_written: bool,
    turn: Writes,
    /// While it is met, a write is committed on its own: then its client is
    /// answered with what storage says, and the others of its store keep
    /// their sockets.
    trouble: Trouble,
    checkpoints: Trouble,
}

/// What has been written since the last commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    /// Nothing.
    Clean,
    /// A transaction is open.
    Open,
    /// SQLite gave the transaction up on its own: nothing of it is left.
    Lost,
}

/// What the turn under way has written, and what would undo it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// Nothing.
    None,
    /// Something, and the transaction has nothing else.
    All,
    /// Something, since its savepoint.
    Some,
}

impl Sqlite {
    /// Opens a shard's file, creating what is absent.
    ///
    /// # Errors
    /// When nothing could be pushed to it: why, and what to do.
    pub fn open_file(file: &Path) -> std::result::Result<Self, OpenError> {
        let failed = |source| OpenError::Sqlite {
            file: file.to_owned(),
            source,
        };
        let connection = Connection::open(file).map_err(failed)?;
        let journal = prepare(&connection).map_err(failed)?;
        // SQLite opens what it may not write as if nothing were wrong.
        if connection.is_readonly(MAIN_DB).map_err(failed)? {
            return Err(OpenError::ReadOnly(file.to_owned()));
        }
        if journal != "wal" {
            return Err(OpenError::NoWal(file.to_owned()));
        }
        connection.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Self {
            file: file.to_owned(),
            connection,
            tables: Tables::default(),
            group: Group::Clean,
            is_written: false,
            was_written: false,
            turn: Writes::None,
            trouble: Trouble::none(file, &WRITES),
            checkpoints: Trouble::none(file, &CHECKPOINTS),
        })
    }

    /// Runs `call`; notices when SQLite has given the transaction up.
    fn checked<T>(&mut self, call: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> Result<T> {
        if self.group == Group::Lost {
            return Err(lost());
        }
        let result = call(self);
        if self.group == Group::Open && self.connection.is_autocommit() {
            self.group = Group::Lost;
            if let Err(error) = &result {
                self.trouble.meet(error);
            }
        }
        result.map_err(|error| storage_error(&self.file, &error))
    }

    /// Begins what is needed for a write of this turn.
    fn begin(&mut self) -> rusqlite::Result<()> {
        match (self.group, self.turn) {
            (Group::Clean, _) => {
                self.run("BEGIN IMMEDIATE")?;
                self.group = Group::Open;
                self.turn = Writes::All;
            }
            (_, Writes::None) => {
                self.run("SAVEPOINT turn")?;
                self.turn = Writes::Some;
                self.was_written = self.is_written;
            }
            _ => {}
        }
        Ok(())
    }

    /// Runs a statement that is run often: it is parsed once.
    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(statement)?
            .execute([])
            .map(drop)
    }

    fn opened(&mut self, store: &str) -> rusqlite::Result<Arc<Table>> {
        self.tables
            .find(&self.connection, store)?
            .ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    fn head(&self, table: &Table) -> rusqlite::Result<u64> {
        let head: Option<i64> = self
            .connection
            .prepare_cached(&table.head)?
            .query_row([], |row| row.get(0))?;
        Ok(head.and_then(|head| u64::try_from(head).ok()).unwrap_or(0))
    }

    fn backend_id(&self, store: &str) -> rusqlite::Result<String> {
        self.connection
            .prepare_cached(r#"SELECT "backendId" FROM "context_7" WHERE "storeId" = ?1"#)?
            .query_row([store], |row| row.get(0))
    }

    fn insert(
        &mut self,
        store: &str,
        table: &Table,
        batch: &[Event],
        created_at: &str,
    ) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(&table.insert)?;
        let mut head = 0;
        for event in batch {
            head = signed(event.seq_num)?;
            insert.execute(params![
                head,
                signed(event.parent_seq_num)?,
                event.name,
                event.args,
                created_at,
                event.client_id,
                event.session_id,
            ])?;
        }
        self.connection
            .prepare_cached(r#"UPDATE "context_7" SET "currentHead" = ?1 WHERE "storeId" = ?2"#)?
            .execute(params![head, store])?;
        Ok(())
    }

    /// Runs a write, whole or not at all: the turn's other writes stay.
    fn write<T>(&mut self, write: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> Result<T> {
        // What other turns have written may not depend on this one.
        let is_alone = self.trouble.is_met() && self.group == Group::Clean;
        let result = self.checked(|this| {
            this.try_write(write).inspect_err(|error| {
                if is_of_disk(error) {
                    this.trouble.meet(error);
                }
            })
        });
        if is_alone {
            self.turn = Writes::None;
            if result.is_ok() {
                self.commit()?;
            } else {
                self.roll_back();
                self.group = Group::Clean;
            }
        }
        result
    }

    fn try_write<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // What undoes the turn's first write undoes the turn.
        let is_first = self.turn == Writes::None;
        self.begin()?;
        if !is_first {
            self.run("SAVEPOINT write")?;
        }
        let result = write(self);
        if self.connection.is_autocommit() {
            return result;
        }
        let ended = match (&result, is_first) {
            (Ok(_), true) => return result,
            (Ok(_), false) => self.run("RELEASE write"),
            (Err(_), true) => self.undo_turn(),
            (Err(_), false) => {
                self.tables.clear();
                self.connection
                    .execute_batch("ROLLBACK TO write; RELEASE write")
            }
        };
        if let Err(error) = ended {
            // A part of it may be left (I2).
            self.group = Group::Lost;
            self.trouble.meet(&error);
            return result.and(Err(error));
        }
        result
    }

    /// Undoes what the turn under way has written.
    fn undo_turn(&mut self) -> rusqlite::Result<()> {
        self.tables.clear();
        match std::mem::replace(&mut self.turn, Writes::None) {
            Writes::None => Ok(()),
            Writes::All => {
                self.is_written = false;
                self.group = Group::Clean;
                self.connection.execute_batch("ROLLBACK")
            }
            Writes::Some => {
                self.is_written = self.was_written;
                self.connection
                    .execute_batch("ROLLBACK TO turn; RELEASE turn")
            }
        }
    }

    /// Ends the transaction, so that nothing of it reaches the next one.
    fn roll_back(&mut self) {
        self.is_written = false;
        self.tables.clear();
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            error!(file = %self.file.display(), "SQLite cannot roll back: {error}");
        }
    }
}

thread_local! {
    /// How the checkpoint ended that the last commit brought about.
    static CHECKPOINT: Cell<Option<rusqlite::Result<()>>> = const { Cell::new(None) };
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

fn prepare(connection: &Connection) -> rusqlite::Result<String> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    let journal =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    // An acknowledged push survives a power cut, not only a crash (I1).
    connection.pragma_update(None, "synchronous", "full")?;
    connection.wal_hook(Some(checkpoint));
    Ok(journal)
}

impl Storage for Sqlite {
    fn open(&mut self, store: &str, new_backend_id: &str) -> Result<LogInfo> {
        let table = self.checked(|this| this.tables.find(&this.connection, store))?;
        if table.is_none() {
            self.write(|this| {
                tables::create(&this.connection, store, new_backend_id)?;
                this.is_written = true;
                Ok(())
            })?;
        }
        self.checked(|this| {
            let table = this.opened(store)?;
            Ok(LogInfo {
                head: this.head(&table)?,
                backend_id: this.backend_id(store)?,
            })
        })
    }

    fn append(
        &mut self,
        store: &str,
        expected_head: u64,
        batch: &[Event],
        created_at: &str,
    ) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        // In the transaction of the write, or it would be one more.
        let head = self.write(|this| {
            let table = this.opened(store)?;
            let head = this.head(&table)?;
            if head == expected_head {
                this.insert(store, &table, batch, created_at)?;
                this.is_written = true;
            }
            Ok(head)
        })?;
        if head == expected_head {
            Ok(())
        } else {
            Err(StorageError::Conflict(head))
        }
    }

    fn read(
        &mut self,
        store: &str,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>> {
        let Ok(after) = i64::try_from(after) else {
            return Ok(Vec::new());
        };
        self.checked(|this| {
            let table = this.opened(store)?;
            let mut select = this.connection.prepare_cached(&table.read)?;
            let rows = select.query_map(params![after, max_events], |row| {
                Ok(StoredEvent {
                    event: Event {
                        seq_num: unsigned(row.get(0)?),
                        parent_seq_num: unsigned(row.get(1)?),
                        name: row.get(2)?,
                        args: row.get(3)?,
                        client_id: row.get(4)?,
                        session_id: row.get(5)?,
                    },
                    created_at: row.get(6)?,
                })
            })?;
            take_within(rows, max_bytes)
        })
    }

    fn reset(&mut self, store: &str, new_backend_id: &str) -> Result<()> {
        self.write(|this| {
            let table = this.opened(store)?;
            this.connection.execute(&table.clear, [])?;
            this.connection.execute(
                r#"UPDATE "context_7" SET "currentHead" = 0, "backendId" = ?1 WHERE "storeId" = ?2"#,
                params![new_backend_id, store],
            )?;
            this.is_written = true;
            Ok(())
        })
    }

    fn end_turn(&mut self, keep: bool) -> bool {
        let wrote = self.turn != Writes::None;
        if wrote && self.group == Group::Open {
            let ended = match self.turn {
                Writes::Some if keep => self.run("RELEASE turn"),
                _ if keep => Ok(()),
                _ => self.undo_turn(),
            };
            if let Err(error) = ended {
                self.trouble.meet(&error);
                self.group = Group::Lost;
            }
        }
        self.turn = Writes::None;
        wrote
    }

    fn commit(&mut self) -> Result<()> {
        let result = match self.group {
            Group::Clean => return Ok(()),
            Group::Lost => Err(lost()),
            Group::Open => self.run("COMMIT").map_err(|error| {
                self.trouble.meet(&error);
                storage_error(&self.file, &error)
            }),
        };
        self.group = Group::Clean;
        if result.is_err() {
            self.roll_back();
        } else if std::mem::take(&mut self.is_written) {
            self.trouble.end();
            match CHECKPOINT.take() {
                Some(Err(error)) => self.checkpoints.meet(&error),
                Some(Ok(())) => self.checkpoints.end(),
                None => {}
            }
        }
        result
    }
}

/// SQLite's integers are signed; sequence numbers end at 2^53 − 1.
fn signed(number: u64) -> rusqlite::Result<i64> {
    i64::try_from(number).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Numbers below zero, which upstream can have stored, count as zero.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn lost() -> StorageError {
    StorageError::Unavailable("SQLite has given the transaction up".to_owned())
}
