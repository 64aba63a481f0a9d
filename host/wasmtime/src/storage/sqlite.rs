//! Logs in SQLite files. A file holds the stores of one shard, as a D1
//! database holds those of an upstream worker: then one commit makes many
//! stores' pushes durable. Where in it a log is, `logs.rs` says.

#[cfg(test)]
mod full_tests;
pub mod logs;
mod place;

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, MAIN_DB};
use tracing::error;

use self::logs::{Log, Logs, SCHEMA};
use self::place::Place;
use super::secret::Secret;
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

/// What the write-ahead log keeps on disk when it was moved into the file, in
/// bytes: twice what it has when it is moved. A large push makes it grow.
const WAL_BYTES_KEPT: i64 = 8 * 1024 * 1024;

/// Logs that are known to be damaged. Beyond them no push of the file is
/// taken that begins nothing new.
const DAMAGED_MAX: usize = 10_000;

/// The logs of a shard's stores.
pub struct Sqlite {
    file: PathBuf,
    place: Place,
    connection: Connection,
    secret: Secret,
    logs: Logs,
    /// Logs that cannot be read, and from which number on.
    damaged: HashMap<String, i64>,
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
    /// Opens a shard's file, creating what is absent. Backend ids of stores
    /// that nobody has pushed to follow from `secret`.
    ///
    /// # Errors
    /// When nothing could be pushed to it: why, and what to do.
    pub fn open_file(file: &Path, secret: &Secret) -> std::result::Result<Self, OpenError> {
        Self::new(file, connect(file)?, secret)
    }

    /// The same of a file to which there is a connection, made by [`connect`].
    ///
    /// # Errors
    /// When the file is gone.
    pub fn new(
        file: &Path,
        connection: Connection,
        secret: &Secret,
    ) -> std::result::Result<Self, OpenError> {
        let place = Place::of(file).map_err(|source| OpenError::Gone {
            file: file.to_owned(),
            source,
        })?;
        Ok(Self {
            file: file.to_owned(),
            place,
            connection,
            secret: secret.clone(),
            logs: Logs::default(),
            damaged: HashMap::new(),
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
                self.place.check()?;
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

    fn log(&mut self, store: &str) -> Result<Option<Arc<Log>>> {
        self.checked(|this| this.logs.find(&this.connection, store))
    }

    /// Notes that a log cannot be read after `after`, or that it can.
    fn note_read(&mut self, store: &str, after: i64, is_damaged: bool) {
        if is_damaged {
            if self.damaged.len() < DAMAGED_MAX || self.damaged.contains_key(store) {
                let from = self.damaged.entry(store.to_owned()).or_insert(after);
                *from = after.min(*from);
            }
        } else if self.damaged.get(store).is_some_and(|from| after <= *from) {
            self.damaged.remove(store);
        }
    }

    /// What nobody can read must not grow: its clients would learn of it when
    /// all the others are gone.
    fn refuse_damaged(&self, store: &str) -> Result<()> {
        if self.damaged.contains_key(store) || self.damaged.len() >= DAMAGED_MAX {
            return Err(StorageError::Unavailable(format!(
                "{}: the log cannot be read, so nothing is added to it: the file is damaged",
                self.file.display()
            )));
        }
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
                self.logs.clear();
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
        self.logs.clear();
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
        self.logs.clear();
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

/// Opens a file, creating what is absent.
///
/// # Errors
/// When nothing could be pushed to it: why, and what to do.
pub fn connect(file: &Path) -> std::result::Result<Connection, OpenError> {
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
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<String> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    let journal =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    // An acknowledged push survives a power cut, not only a crash (I1); on
    // macOS fsync alone leaves it in the disk's cache.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    // SQLite answers with what it has set.
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
    connection.wal_hook(Some(checkpoint));
    Ok(journal)
}

impl Storage for Sqlite {
    fn open(&mut self, store: &str, _new_backend_id: &str) -> Result<LogInfo> {
        let Some(log) = self.log(store)? else {
            return Ok(LogInfo {
                head: 0,
                backend_id: self.secret.backend_id(store),
            });
        };
        self.checked(|this| {
            Ok(LogInfo {
                head: log.head(&this.connection)?,
                backend_id: log.backend_id(&this.connection, store)?,
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
        let Some(first) = batch.first() else {
            return Ok(());
        };
        self.refuse_damaged(store)?;
        // In the transaction of the write, or it would be one more.
        let head = self.write(|this| {
            let found = this.logs.find(&this.connection, store)?;
            let head = match &found {
                Some(log) => log.head(&this.connection)?,
                None => 0,
            };
            if head == expected_head {
                let log = match found {
                    Some(log) if head > 0 => log,
                    _ => {
                        let backend_id = this.secret.backend_id(store);
                        let connection = &this.connection;
                        this.logs
                            .begin(connection, store, &backend_id, first.seq_num)?
                    }
                };
                log.insert(&this.connection, store, batch, created_at)?;
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
        let Some(log) = self.log(store)? else {
            return Ok(Vec::new());
        };
        let mut is_damaged = false;
        let read = self.checked(|this| {
            let read = log.read(&this.connection, after, max_events, |rows| {
                take_within(rows, max_bytes)
            });
            read.inspect_err(|error| {
                is_damaged = error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt);
            })
        });
        if is_damaged || (read.is_ok() && !self.damaged.is_empty()) {
            self.note_read(store, after, is_damaged);
        }
        read
    }

    fn reset(&mut self, store: &str, new_backend_id: &str) -> Result<()> {
        self.write(|this| {
            let connection = &this.connection;
            // A row is left, so that no old id comes back.
            match this.logs.find(connection, store)? {
                Some(log) => log.reset(connection, store, new_backend_id)?,
                None => drop(this.logs.begin(connection, store, new_backend_id, 1)?),
            }
            this.logs.forget(store);
            this.is_written = true;
            Ok(())
        })
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.words()
    }

    fn probe(&mut self) {
        if self.trouble.is_met() && self.group == Group::Clean {
            let probed = self.write(|this| {
                this.run(r#"UPDATE "syncline_directory" SET "probes" = "probes" + 1"#)?;
                this.is_written = true;
                Ok(())
            });
            // What it found, the operator has been told.
            drop(probed);
            self.end_turn(true);
        }
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

fn lost() -> StorageError {
    StorageError::Unavailable("SQLite has given the transaction up".to_owned())
}
