//! Where a store's log is in its shard's file. Logs share two tables, so that
//! a store more costs a row: SQLite looks at all tables there are to make
//! another. Logs that were begun before this was so have a table each, in
//! upstream's format (design D8), and keep it.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::tables::{Table, signed, unsigned};
use crate::contract::{Event, StoredEvent};
use crate::storage::event_log::take_within;
use crate::storage::trouble::Failure;

/// The tables that logs share. An event's id is its log's number and its
/// place in the log, so that a log is one range of a table that is sorted by
/// its rowid: as fast as a table of its own, and no index beside it.
pub const SCHEMA: &str = r#"
CREATE TABLE IF NOT EXISTS "syncline_logs" (
    "number" integer primary key,
    "storeId" text not null unique,
    "offset" integer not null,
    "backendId" text not null
) STRICT;
CREATE TABLE IF NOT EXISTS "syncline_events" (
    "id" integer primary key,
    "seqNum" integer not null,
    "parentSeqNum" integer not null,
    "name" text not null,
    "args" text,
    "createdAt" text not null,
    "clientId" text not null,
    "sessionId" text not null
) STRICT;
"#;

/// Events that a log can have: places are numbered from 1, in 32 bits.
pub const EVENTS_MAX: i64 = u32::MAX as i64;

/// Logs that a file can have: an id has 63 bits, without its sign.
const LOGS_MAX: i64 = i32::MAX as i64;

/// A store's log.
pub enum Log {
    /// In the tables that logs share.
    Shared(Shared),
    /// In a table of its own.
    Own(Table),
}

/// A log in the tables that logs share.
pub struct Shared {
    /// Which one it is in its file, from 1.
    number: i64,
    /// What its events' sequence numbers are more than their places: the
    /// first one's is free, the others are dense.
    offset: i64,
}

impl Log {
    /// The last event's number, 0 without one.
    ///
    /// # Errors
    /// SQLite's.
    pub fn head(&self, connection: &Connection) -> Result<u64, Failure> {
        let log = match self {
            Self::Own(table) => return table.head(connection),
            Self::Shared(log) => log,
        };
        let head = connection
            .prepare_cached(
                r#"SELECT "seqNum" FROM "syncline_events" WHERE "id" BETWEEN ?1 AND ?2
                   ORDER BY "id" DESC LIMIT 1"#,
            )?
            .query_row(log.ids_after(0), |row| row.get(0))
            .optional()?;
        Ok(unsigned(head.unwrap_or(0)))
    }

    /// The store's backend id.
    ///
    /// # Errors
    /// SQLite's.
    pub fn backend_id(&self, connection: &Connection, store: &str) -> Result<String, Failure> {
        let (select, key) = match self {
            Self::Own(_) => return Table::backend_id(connection, store),
            Self::Shared(log) => (
                r#"SELECT "backendId" FROM "syncline_logs" WHERE "number" = ?1"#,
                log.number,
            ),
        };
        Ok(connection
            .prepare_cached(select)?
            .query_row([key], |row| row.get(0))?)
    }

    /// Adds events, of which the first has to be behind the head.
    ///
    /// # Errors
    /// SQLite's; when the log cannot number them.
    pub fn append(
        &self,
        connection: &Connection,
        store: &str,
        batch: &[Event],
        created_at: &str,
    ) -> Result<(), Failure> {
        let log = match self {
            Self::Own(table) => return table.append(connection, store, batch, created_at),
            Self::Shared(log) => log,
        };
        let mut insert = connection.prepare_cached(
            r#"INSERT INTO "syncline_events"
               ("id", "seqNum", "parentSeqNum", "name", "args", "createdAt", "clientId", "sessionId")
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"#,
        )?;
        for event in batch {
            let seq_num = signed(event.seq_num)?;
            insert.execute(params![
                log.id(seq_num)?,
                seq_num,
                signed(event.parent_seq_num)?,
                event.name,
                event.args,
                created_at,
                event.client_id,
                event.session_id,
            ])?;
        }
        Ok(())
    }

    /// The events after `after`, at most `max_events`, up to the one that
    /// crosses `max_bytes`. Whatever happens, `last` is the last that could be
    /// read, if one could.
    ///
    /// # Errors
    /// SQLite's.
    pub fn read(
        &self,
        connection: &Connection,
        after: i64,
        max_events: u32,
        max_bytes: u32,
        last: &mut u64,
    ) -> Result<Vec<StoredEvent>, Failure> {
        let (first, end) = match self {
            Self::Own(_) => (after.saturating_add(1), i64::MAX),
            Self::Shared(log) => log.ids_after(after),
        };
        let mut select = match self {
            Self::Own(table) => connection.prepare_cached(table.read())?,
            Self::Shared(_) => connection.prepare_cached(
                r#"SELECT "seqNum", "parentSeqNum", "name", "args", "clientId", "sessionId", "createdAt"
                   FROM "syncline_events" WHERE "id" BETWEEN ?1 AND ?2 ORDER BY "id" LIMIT ?3"#,
            )?,
        };
        let rows = select.query_map(params![first, end, max_events], stored_event)?;
        let rows = rows.inspect(|row| {
            if let Ok(stored) = row {
                *last = stored.event.seq_num;
            }
        });
        Ok(take_within(rows, max_bytes)?)
    }

    /// Deletes every event.
    ///
    /// # Errors
    /// SQLite's.
    pub fn clear(&self, connection: &Connection) -> Result<(), Failure> {
        match self {
            Self::Own(table) => table.clear(connection),
            Self::Shared(log) => {
                connection.execute(
                    r#"DELETE FROM "syncline_events" WHERE "id" BETWEEN ?1 AND ?2"#,
                    log.ids_after(0),
                )?;
                Ok(())
            }
        }
    }

    /// Whether the log, if it is empty, can have a first event of this number.
    fn can_begin_with(&self, seq_num: u64) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Shared(log) => signed(seq_num).is_ok_and(|number| number - 1 == log.offset),
        }
    }
}

impl Shared {
    /// The id of the event with this number.
    fn id(&self, seq_num: i64) -> Result<i64, Failure> {
        let place = seq_num.saturating_sub(self.offset);
        // Beyond these it would be another log's (I5).
        if place < 1 {
            return Err(Failure::BeforeBeginning(unsigned(seq_num)));
        }
        if place > EVENTS_MAX {
            return Err(Failure::Full("events of one log"));
        }
        Ok((self.number << 32) | place)
    }

    /// The first and the last id that events after `seq_num` can have.
    fn ids_after(&self, seq_num: i64) -> (i64, i64) {
        let place = seq_num.saturating_sub(self.offset).clamp(0, EVENTS_MAX);
        let base = self.number << 32;
        ((base | place).saturating_add(1), base | EVENTS_MAX)
    }
}

/// Logs that are remembered, some hundred bytes each: more than the
/// statements that are kept prepared are for.
const REMEMBERED_MAX: usize = 1_000;

/// The logs of stores that were used of late.
#[derive(Default)]
pub struct Logs(HashMap<String, Arc<Log>>);

impl Logs {
    /// Forgets all: a write was undone, which may have begun a log.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A store's log; `None` when the store is unknown here.
    ///
    /// # Errors
    /// SQLite's.
    pub fn find(
        &mut self,
        connection: &Connection,
        store: &str,
    ) -> Result<Option<Arc<Log>>, Failure> {
        if let Some(log) = self.0.get(store) {
            return Ok(Some(Arc::clone(log)));
        }
        let log = find(connection, store)?;
        Ok(log.map(|log| self.remember(store, log)))
    }

    /// The log that a first event of this number is appended to: `log`, which
    /// is the store's and empty, or one that is made, with this backend id.
    ///
    /// # Errors
    /// SQLite's; when the file cannot number another log.
    pub fn begin(
        &mut self,
        connection: &Connection,
        store: &str,
        log: Option<Arc<Log>>,
        seq_num: u64,
        backend_id: impl FnOnce() -> String,
    ) -> Result<Arc<Log>, Failure> {
        if let Some(log) = log.as_ref().filter(|log| log.can_begin_with(seq_num)) {
            return Ok(Arc::clone(log));
        }
        let offset = signed(seq_num)?.saturating_sub(1);
        let backend_id = match log {
            Some(log) => log.backend_id(connection, store)?,
            None => backend_id(),
        };
        let number = upsert(connection, store, offset, &backend_id)?;
        Ok(self.remember(store, Log::Shared(Shared { number, offset })))
    }

    /// Empties a store's log and gives it another backend id; for a store that
    /// is unknown here, too: its id must not be the derived one any more.
    ///
    /// # Errors
    /// SQLite's; when the file cannot number another log.
    pub fn reset(
        &mut self,
        connection: &Connection,
        store: &str,
        backend_id: &str,
    ) -> Result<(), Failure> {
        let log = self.find(connection, store)?;
        if let Some(log) = &log {
            log.clear(connection)?;
        }
        if let Some(Log::Own(_)) = log.as_deref() {
            return Table::reset(connection, store, backend_id);
        }
        self.0.remove(store);
        upsert(connection, store, 0, backend_id)?;
        Ok(())
    }

    fn remember(&mut self, store: &str, log: Log) -> Arc<Log> {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        let log = Arc::new(log);
        self.0.insert(store.to_owned(), Arc::clone(&log));
        log
    }
}

/// A store's log; `None` when the store is unknown here.
///
/// # Errors
/// SQLite's.
pub fn find(connection: &Connection, store: &str) -> Result<Option<Log>, Failure> {
    let shared = connection
        .prepare_cached(r#"SELECT "number", "offset" FROM "syncline_logs" WHERE "storeId" = ?1"#)?
        .query_row([store], |row| {
            Ok(Shared {
                number: row.get(0)?,
                offset: row.get(1)?,
            })
        })
        .optional()?;
    match shared {
        Some(log) => Ok(Some(Log::Shared(log))),
        None => Ok(Table::find(connection, store)?.map(Log::Own)),
    }
}

/// Makes or changes a store's row: the log's number.
fn upsert(
    connection: &Connection,
    store: &str,
    offset: i64,
    backend_id: &str,
) -> Result<i64, Failure> {
    let number = connection
        .prepare_cached(
            r#"INSERT INTO "syncline_logs" ("storeId", "offset", "backendId") VALUES (?1, ?2, ?3)
               ON CONFLICT ("storeId") DO UPDATE
               SET "offset" = excluded."offset", "backendId" = excluded."backendId"
               RETURNING "number""#,
        )?
        .query_row(params![store, offset, backend_id], |row| row.get(0))?;
    if number > LOGS_MAX {
        return Err(Failure::Full("stores"));
    }
    Ok(number)
}

fn stored_event(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
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
}
