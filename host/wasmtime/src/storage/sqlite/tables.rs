//! A log in a table of its own, in upstream's format (design D8). Such logs
//! are served from and written to, and new ones made for exports only:
//! `syncline_stores` says which is whose, since two stores' upstream names can
//! be the same (`a-b` and `a_b`, `Abc` and `abc`).

use rusqlite::{Connection, OptionalExtension, params};

use crate::contract::Event;
use crate::storage::trouble::Failure;

/// Upstream's table of heads and backend ids.
pub const CONTEXT: &str = r#"
CREATE TABLE IF NOT EXISTS "context_7" (
    "storeId" text primary key,
    "currentHead" integer not null,
    "backendId" text not null
) STRICT;
"#;

/// Which table is whose.
pub const STORES: &str = r#"
CREATE TABLE IF NOT EXISTS "syncline_stores" (
    "storeId" text primary key,
    "tableName" text not null unique collate nocase
) STRICT;
"#;

/// A store's table: what is asked of it, in SQL.
pub struct Table {
    name: String,
    head: String,
    insert: String,
    read: String,
}

impl Table {
    fn new(name: String) -> Self {
        Self {
            head: format!(r#"SELECT max("seqNum") FROM "{name}""#),
            insert: format!(
                r#"INSERT INTO "{name}"
                   ("seqNum", "parentSeqNum", "name", "args", "createdAt", "clientId", "sessionId")
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"#
            ),
            read: format!(
                r#"SELECT "seqNum", "parentSeqNum", "name", "args", "clientId", "sessionId", "createdAt"
                   FROM "{name}" WHERE "seqNum" BETWEEN ?1 AND ?2 ORDER BY "seqNum" LIMIT ?3"#
            ),
            name,
        }
    }

    /// A store's table; `None` when it has none here.
    ///
    /// # Errors
    /// SQLite's.
    pub fn find(connection: &Connection, store: &str) -> Result<Option<Self>, Failure> {
        let name = connection
            .prepare_cached(r#"SELECT "tableName" FROM "syncline_stores" WHERE "storeId" = ?1"#)?
            .query_row([store], |row| row.get(0))
            .optional()?;
        Ok(name.map(Self::new))
    }

    /// Makes a store's table, named as upstream would, in a file without it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn create(connection: &Connection, store: &str, backend_id: &str) -> Result<Self, Failure> {
        let plain: String = store
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let table = Self::new(format!("eventlog_7_{plain}"));
        connection.execute_batch(&format!(
            r#"CREATE TABLE "{}" (
                "seqNum" integer primary key,
                "parentSeqNum" integer not null,
                "name" text not null,
                "args" text,
                "createdAt" text not null,
                "clientId" text not null,
                "sessionId" text not null
            ) STRICT"#,
            table.name
        ))?;
        connection.execute(
            r#"INSERT INTO "context_7" ("storeId", "currentHead", "backendId") VALUES (?1, 0, ?2)"#,
            params![store, backend_id],
        )?;
        Ok(table)
    }

    /// The last event's number, 0 without one.
    ///
    /// # Errors
    /// SQLite's.
    pub fn head(&self, connection: &Connection) -> Result<u64, Failure> {
        let head: Option<i64> = connection
            .prepare_cached(&self.head)?
            .query_row([], |row| row.get(0))?;
        Ok(unsigned(head.unwrap_or(0)))
    }

    /// The backend id of a store that has a table.
    ///
    /// # Errors
    /// SQLite's.
    pub fn backend_id(connection: &Connection, store: &str) -> Result<String, Failure> {
        Ok(connection
            .prepare_cached(r#"SELECT "backendId" FROM "context_7" WHERE "storeId" = ?1"#)?
            .query_row([store], |row| row.get(0))?)
    }

    /// Selects the events between two numbers, so many at most.
    pub fn read(&self) -> &str {
        &self.read
    }

    /// Adds events.
    ///
    /// # Errors
    /// SQLite's.
    pub fn append(
        &self,
        connection: &Connection,
        store: &str,
        batch: &[Event],
        created_at: &str,
    ) -> Result<(), Failure> {
        let mut head = 0;
        for event in batch {
            head = event.seq_num;
            self.insert(connection, event, created_at)?;
        }
        Self::set_head(connection, store, head)
    }

    /// Notes where a log ends.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_head(connection: &Connection, store: &str, head: u64) -> Result<(), Failure> {
        connection
            .prepare_cached(r#"UPDATE "context_7" SET "currentHead" = ?1 WHERE "storeId" = ?2"#)?
            .execute(params![signed(head)?, store])?;
        Ok(())
    }

    /// Adds an event, and does not note where the log ends then.
    ///
    /// # Errors
    /// SQLite's.
    pub fn insert(
        &self,
        connection: &Connection,
        event: &Event,
        created_at: &str,
    ) -> Result<(), Failure> {
        connection.prepare_cached(&self.insert)?.execute(params![
            signed(event.seq_num)?,
            signed(event.parent_seq_num)?,
            event.name,
            event.args,
            created_at,
            event.client_id,
            event.session_id,
        ])?;
        Ok(())
    }

    /// Deletes every event.
    ///
    /// # Errors
    /// SQLite's.
    pub fn clear(&self, connection: &Connection) -> Result<(), Failure> {
        connection.execute(&format!(r#"DELETE FROM "{}""#, self.name), [])?;
        Ok(())
    }

    /// Notes that a store's table was emptied, and its new backend id.
    ///
    /// # Errors
    /// SQLite's.
    pub fn reset(connection: &Connection, store: &str, backend_id: &str) -> Result<(), Failure> {
        connection.execute(
            r#"UPDATE "context_7" SET "currentHead" = 0, "backendId" = ?1 WHERE "storeId" = ?2"#,
            params![backend_id, store],
        )?;
        Ok(())
    }

    /// Deletes a store's table and all that is said of it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn drop(&self, connection: &Connection, store: &str) -> Result<(), Failure> {
        connection.execute_batch(&format!(r#"DROP TABLE "{}""#, self.name))?;
        connection.execute(
            r#"DELETE FROM "syncline_stores" WHERE "storeId" = ?1"#,
            [store],
        )?;
        connection.execute(r#"DELETE FROM "context_7" WHERE "storeId" = ?1"#, [store])?;
        Ok(())
    }
}

/// SQLite's integers are signed; sequence numbers end at 2^53 − 1.
pub fn signed(number: u64) -> rusqlite::Result<i64> {
    i64::try_from(number).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Numbers below zero, which upstream can have stored, count as zero.
pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
