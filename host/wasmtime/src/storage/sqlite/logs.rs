//! Where a file keeps the logs of its stores. New stores share a table, so
//! that one more costs no table, of which SQLite can hold thousands and not
//! millions; nor anything at all before its first push. Logs that have a table
//! of their own, as upstream has them (design D8), are read and written where
//! they are.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::ffi::{self, ErrorCode};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::component::{Event, StoredEvent};

/// What every file has. `context_7` and `syncline_stores` are of logs that
/// have a table of their own; upstream's first, ours the second.
pub const SCHEMA: &str = r#"
CREATE TABLE IF NOT EXISTS "context_7" (
    "storeId" text primary key,
    "currentHead" integer not null,
    "backendId" text not null
) STRICT;
CREATE TABLE IF NOT EXISTS "syncline_stores" (
    "storeId" text primary key,
    "tableName" text not null unique collate nocase
) STRICT;
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

/// Bits of an event's id that are its place in its log; the others are its
/// log's number. So a log's events are beside one another, in order, under an
/// integer, which costs SQLite less than a key of two columns.
const PLACE_BITS: u32 = 32;

/// The last place of a log, and the last number of one.
const PLACE_MAX: i64 = (1 << PLACE_BITS) - 1;
const NUMBER_MAX: i64 = (1 << (63 - PLACE_BITS)) - 1;

const COLUMNS: &str =
    r#""seqNum", "parentSeqNum", "name", "args", "clientId", "sessionId", "createdAt""#;

/// A store's log.
pub enum Log {
    /// In a table of its own.
    Own(OwnTable),
    /// In the table that new stores share.
    Shared(SharedLog),
}

/// A log's own table: what is asked of it, in SQL.
pub struct OwnTable {
    head: String,
    insert: String,
    read: String,
    clear: String,
}

/// A log in the shared table.
pub struct SharedLog {
    number: i64,
    /// The sequence number before the event at place 1: a log may begin at any
    /// number, and has no holes.
    offset: i64,
    backend_id: String,
}

impl OwnTable {
    fn new(name: &str) -> Self {
        Self {
            head: format!(r#"SELECT max("seqNum") FROM "{name}""#),
            insert: format!(
                r#"INSERT INTO "{name}" ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"#
            ),
            read: format!(
                r#"SELECT {COLUMNS} FROM "{name}" WHERE "seqNum" > ?1 ORDER BY "seqNum" LIMIT ?2"#
            ),
            clear: format!(r#"DELETE FROM "{name}""#),
        }
    }
}

impl SharedLog {
    /// The ids before the first event's, and of the last there could be.
    fn ids(&self) -> (i64, i64) {
        let before = self.number << PLACE_BITS;
        (before, before | PLACE_MAX)
    }

    /// The id of the event with this number, as far as a log can hold it.
    fn id(&self, seq_num: i64) -> i64 {
        let (before, last) = self.ids();
        let place = seq_num.saturating_sub(self.offset).max(0);
        before.saturating_add(place).min(last)
    }
}

impl Log {
    /// The last event's number, 0 when there is none.
    pub fn head(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let head: Option<i64> = match self {
            Self::Own(table) => connection
                .prepare_cached(&table.head)?
                .query_row([], |row| row.get(0))?,
            Self::Shared(log) => connection
                .prepare_cached(
                    r#"SELECT "seqNum" FROM "syncline_events" WHERE "id" > ?1 AND "id" <= ?2
                       ORDER BY "id" DESC LIMIT 1"#,
                )?
                .query_row(log.ids(), |row| row.get(0))
                .optional()?,
        };
        Ok(head.map_or(0, unsigned))
    }

    /// The id of this incarnation of it.
    pub fn backend_id(&self, connection: &Connection, store: &str) -> rusqlite::Result<String> {
        match self {
            Self::Own(_) => connection
                .prepare_cached(r#"SELECT "backendId" FROM "context_7" WHERE "storeId" = ?1"#)?
                .query_row([store], |row| row.get(0)),
            Self::Shared(log) => Ok(log.backend_id.clone()),
        }
    }

    /// Adds events behind the last.
    pub fn insert(
        &self,
        connection: &Connection,
        store: &str,
        batch: &[Event],
        created_at: &str,
    ) -> rusqlite::Result<()> {
        match self {
            Self::Own(table) => {
                let mut insert = connection.prepare_cached(&table.insert)?;
                let mut head = 0;
                for event in batch {
                    head = signed(event.seq_num)?;
                    insert.execute(params![
                        head,
                        signed(event.parent_seq_num)?,
                        event.name,
                        event.args,
                        event.client_id,
                        event.session_id,
                        created_at,
                    ])?;
                }
                connection
                    .prepare_cached(
                        r#"UPDATE "context_7" SET "currentHead" = ?1 WHERE "storeId" = ?2"#,
                    )?
                    .execute(params![head, store])?;
            }
            Self::Shared(log) => {
                let mut insert = connection.prepare_cached(
                    r#"INSERT INTO "syncline_events" ("id", "seqNum", "parentSeqNum", "name", "args", "clientId", "sessionId", "createdAt")
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"#,
                )?;
                let (before, _) = log.ids();
                for event in batch {
                    let seq_num = signed(event.seq_num)?;
                    let place = seq_num.saturating_sub(log.offset);
                    if !(1..=PLACE_MAX).contains(&place) {
                        return Err(full());
                    }
                    insert.execute(params![
                        before | place,
                        seq_num,
                        signed(event.parent_seq_num)?,
                        event.name,
                        event.args,
                        event.client_id,
                        event.session_id,
                        created_at,
                    ])?;
                }
            }
        }
        Ok(())
    }

    /// Calls `take` with the events after a number, so many at most.
    pub fn read<T>(
        &self,
        connection: &Connection,
        after: i64,
        max_events: u32,
        take: impl FnOnce(
            &mut dyn Iterator<Item = rusqlite::Result<StoredEvent>>,
        ) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        match self {
            Self::Own(table) => {
                let mut select = connection.prepare_cached(&table.read)?;
                take(&mut select.query_map(params![after, max_events], stored_event)?)
            }
            Self::Shared(log) => {
                let mut select = connection.prepare_cached(
                    r#"SELECT "seqNum", "parentSeqNum", "name", "args", "clientId", "sessionId", "createdAt"
                       FROM "syncline_events" WHERE "id" > ?1 AND "id" <= ?2 ORDER BY "id" LIMIT ?3"#,
                )?;
                let (_, last) = log.ids();
                let bounds = params![log.id(after), last, max_events];
                take(&mut select.query_map(bounds, stored_event)?)
            }
        }
    }

    /// Deletes every event, and gives the log another backend id.
    pub fn reset(
        &self,
        connection: &Connection,
        store: &str,
        new_backend_id: &str,
    ) -> rusqlite::Result<()> {
        match self {
            Self::Own(table) => {
                connection.execute(&table.clear, [])?;
                connection.execute(
                    r#"UPDATE "context_7" SET "currentHead" = 0, "backendId" = ?1 WHERE "storeId" = ?2"#,
                    params![new_backend_id, store],
                )?;
            }
            Self::Shared(log) => {
                connection.execute(
                    r#"DELETE FROM "syncline_events" WHERE "id" > ?1 AND "id" <= ?2"#,
                    log.ids(),
                )?;
                connection.execute(
                    r#"UPDATE "syncline_logs" SET "backendId" = ?1 WHERE "number" = ?2"#,
                    params![new_backend_id, log.number],
                )?;
            }
        }
        Ok(())
    }

    /// Whether the log, which is empty, can take an event with this number as
    /// its first.
    fn begins_with(&self, first: i64) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Shared(log) => log.offset == first.saturating_sub(1),
        }
    }
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

/// Logs that are remembered, some hundred bytes each.
const LOGS_MAX: usize = 4_096;

/// The logs of stores that were used of late.
#[derive(Default)]
pub struct Logs(HashMap<String, Arc<Log>>);

impl Logs {
    /// Forgets all: a write was undone, which may have been a log's beginning.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A store's log; `None` when nobody has pushed to it.
    pub fn find(
        &mut self,
        connection: &Connection,
        store: &str,
    ) -> rusqlite::Result<Option<Arc<Log>>> {
        if let Some(log) = self.0.get(store) {
            return Ok(Some(Arc::clone(log)));
        }
        let log = match shared(connection, store)? {
            Some(log) => Some(Log::Shared(log)),
            None => own(connection, store)?.map(Log::Own),
        };
        Ok(log.map(|log| self.keep(store, log)))
    }

    /// A store's log, which is empty and is to begin with this number.
    pub fn begin(
        &mut self,
        connection: &Connection,
        store: &str,
        backend_id: &str,
        first: u64,
    ) -> rusqlite::Result<Arc<Log>> {
        let first = signed(first)?;
        if let Some(log) = self.find(connection, store)? {
            if log.begins_with(first) {
                return Ok(log);
            }
            connection
                .prepare_cached(r#"UPDATE "syncline_logs" SET "offset" = ?1 WHERE "storeId" = ?2"#)?
                .execute(params![first.saturating_sub(1), store])?;
        } else {
            connection
                .prepare_cached(
                    r#"INSERT INTO "syncline_logs" ("storeId", "offset", "backendId") VALUES (?1, ?2, ?3)"#,
                )?
                .execute(params![store, first.saturating_sub(1), backend_id])?;
            if connection.last_insert_rowid() > NUMBER_MAX {
                return Err(full());
            }
        }
        self.0.remove(store);
        self.find(connection, store)?
            .ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// Another backend id has been written for the store.
    pub fn forget(&mut self, store: &str) {
        self.0.remove(store);
    }

    fn keep(&mut self, store: &str, log: Log) -> Arc<Log> {
        if self.0.len() >= LOGS_MAX {
            self.0.clear();
        }
        let log = Arc::new(log);
        self.0.insert(store.to_owned(), Arc::clone(&log));
        log
    }
}

fn shared(connection: &Connection, store: &str) -> rusqlite::Result<Option<SharedLog>> {
    connection
        .prepare_cached(
            r#"SELECT "number", "offset", "backendId" FROM "syncline_logs" WHERE "storeId" = ?1"#,
        )?
        .query_row([store], |row| {
            Ok(SharedLog {
                number: row.get(0)?,
                offset: row.get(1)?,
                backend_id: row.get(2)?,
            })
        })
        .optional()
}

fn own(connection: &Connection, store: &str) -> rusqlite::Result<Option<OwnTable>> {
    let name: Option<String> = connection
        .prepare_cached(r#"SELECT "tableName" FROM "syncline_stores" WHERE "storeId" = ?1"#)?
        .query_row([store], |row| row.get(0))
        .optional()?;
    Ok(name.map(|name| OwnTable::new(&name)))
}

/// Makes a store's own table in a file, as upstream has it.
pub fn create_own(connection: &Connection, store: &str, backend_id: &str) -> rusqlite::Result<()> {
    let table = upstream_name(store);
    connection.execute_batch(&format!(
        r#"CREATE TABLE "{table}" (
            "seqNum" integer primary key,
            "parentSeqNum" integer not null,
            "name" text not null,
            "args" text,
            "createdAt" text not null,
            "clientId" text not null,
            "sessionId" text not null
        ) STRICT"#
    ))?;
    connection.execute(
        r#"INSERT INTO "syncline_stores" ("storeId", "tableName") VALUES (?1, ?2)"#,
        params![store, table],
    )?;
    connection.execute(
        r#"INSERT INTO "context_7" ("storeId", "currentHead", "backendId") VALUES (?1, 0, ?2)"#,
        params![store, backend_id],
    )?;
    Ok(())
}

/// Upstream's name for a store's table.
fn upstream_name(store: &str) -> String {
    let plain: String = store
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("eventlog_7_{plain}")
}

/// SQLite's integers are signed; sequence numbers end at 2^53 − 1.
fn signed(number: u64) -> rusqlite::Result<i64> {
    i64::try_from(number).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Numbers below zero, which upstream can have stored, count as zero.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// More events in a log, or logs in a file, than there are numbers for.
fn full() -> rusqlite::Error {
    let error = ffi::Error {
        code: ErrorCode::DiskFull,
        extended_code: ffi::SQLITE_FULL,
    };
    let words = "a log has at most 4,294,967,295 events, and a file 2,147,483,647 logs";
    rusqlite::Error::SqliteFailure(error, Some(words.to_owned()))
}
