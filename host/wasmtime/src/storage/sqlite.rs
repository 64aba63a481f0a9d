//! Logs in SQLite files.
//!
//! A file holds the stores of one shard, as a D1 database holds those of an
//! upstream worker: then one commit makes many stores' pushes durable.

pub(crate) mod chain;
pub(crate) mod connection;
pub mod directory;
#[cfg(test)]
mod directory_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod full_tests;
pub(crate) mod logs;
pub mod open_error;
pub(crate) mod record;
#[cfg(test)]
mod seeded_tests;
pub(crate) mod tables;
mod unreadable;
mod witness;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tracing::error;

use self::connection::take_checkpoint;
use self::logs::Logs;
use self::unreadable::Unreadable;
use self::witness::Witness;
use super::event_log::{Result, Storage};
use super::identity::Secret;
use super::trouble::{CHECKPOINTS, Failure, Trouble, WRITES, is_of_disk, storage_error};
use crate::contract::{Event, LogInfo, StorageError, StoredEvent};

/// The logs of a shard's stores.
pub struct Sqlite {
    file: PathBuf,
    connection: Connection,
    witness: Witness,
    secret: Secret,
    logs: Logs,
    unreadable: Unreadable,
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
    /// Logs in a file that is open and has all its tables.
    fn new(file: &Path, connection: Connection, witness: Witness, secret: Secret) -> Self {
        Self {
            file: file.to_owned(),
            connection,
            witness,
            secret,
            logs: Logs::default(),
            unreadable: Unreadable::default(),
            group: Group::Clean,
            is_written: false,
            was_written: false,
            turn: Writes::None,
            trouble: Trouble::none(file, &WRITES),
            checkpoints: Trouble::none(file, &CHECKPOINTS),
        }
    }

    /// Runs `call`; notices when SQLite has given the transaction up.
    fn checked<T>(
        &mut self,
        call: impl FnOnce(&mut Self) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
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
    fn begin(&mut self) -> std::result::Result<(), Failure> {
        match (self.group, self.turn) {
            (Group::Clean, _) => {
                self.witness.check()?;
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

    /// Runs a write, whole or not at all: the turn's other writes stay.
    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
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
        write: impl FnOnce(&mut Self) -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
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
        if let Err(error) = ended.map_err(Failure::from) {
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
            error!(event = "storage_failed", file = %self.file.display(), "SQLite cannot roll back: {error}");
        }
    }
}

impl Storage for Sqlite {
    fn open(&mut self, store: &str) -> Result<LogInfo> {
        self.checked(|this| {
            let Some(log) = this.logs.find(&this.connection, store)? else {
                return Ok(LogInfo {
                    head: 0,
                    backend_id: this.secret.backend_id(store),
                });
            };
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
        self.checked(|this| this.unreadable.check(store))?;
        // In the transaction of the write, or it would be one more.
        let head = self.write(|this| {
            let connection = &this.connection;
            let known = this.logs.find(connection, store)?;
            let head = match &known {
                Some(log) => log.head(connection)?,
                None => 0,
            };
            if head != expected_head {
                return Ok(head);
            }
            let log = match known {
                Some(log) if head > 0 => log,
                empty => this
                    .logs
                    .begin(connection, store, empty, first.seq_num, || {
                        this.secret.backend_id(store)
                    })?,
            };
            log.append(connection, store, batch, created_at)?;
            this.is_written = true;
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
        let Ok(first) = i64::try_from(after) else {
            return Ok(Vec::new());
        };
        self.checked(|this| {
            let Some(log) = this.logs.find(&this.connection, store)? else {
                return Ok(Vec::new());
            };
            let mut last = after;
            let result = log.read(&this.connection, first, max_events, max_bytes, &mut last);
            match &result {
                Ok(_) => this.unreadable.read(store, after, last),
                Err(error) if error.is_damage() => this.unreadable.found(store, last),
                Err(_) => {}
            }
            result
        })
    }

    fn reset(&mut self, store: &str, new_backend_id: &str) -> Result<()> {
        self.write(|this| {
            this.logs.reset(&this.connection, store, new_backend_id)?;
            this.is_written = true;
            Ok(())
        })?;
        self.unreadable.cleared(store);
        Ok(())
    }

    fn end_turn(&mut self, keep: bool) -> bool {
        let wrote = self.turn != Writes::None;
        if wrote && self.group == Group::Open {
            let ended = match self.turn {
                Writes::Some if keep => self.run("RELEASE turn"),
                _ if keep => Ok(()),
                _ => self.undo_turn(),
            };
            if let Err(error) = ended.map_err(Failure::from) {
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
                let error = Failure::from(error);
                self.trouble.meet(&error);
                storage_error(&self.file, &error)
            }),
        };
        self.group = Group::Clean;
        if result.is_err() {
            self.roll_back();
        } else if std::mem::take(&mut self.is_written) {
            self.trouble.end();
            match take_checkpoint() {
                Some(Err(error)) => self.checkpoints.meet(&error.into()),
                Some(Ok(())) => self.checkpoints.end(),
                None => {}
            }
        }
        result
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.met()
    }

    fn probe(&mut self) {
        if self.group != Group::Clean {
            return;
        }
        if self.trouble.met().is_some() {
            // Committed on its own, as every write is then. Pushes still are
            // until one has worked: they are larger.
            if self
                .write(|this| Ok(record::probe(&this.connection)?))
                .is_ok()
            {
                self.trouble.seems_over();
            }
        } else if let Err(error) = self.witness.check() {
            self.trouble.meet(&error);
        }
    }
}

fn lost() -> StorageError {
    StorageError::Unavailable("SQLite has given the transaction up".to_owned())
}
