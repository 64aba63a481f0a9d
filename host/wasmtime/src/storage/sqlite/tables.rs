//! Which table of a file is whose: `syncline_stores` says, since two stores'
//! upstream names can be the same (`a-b` and `a_b`, `Abc` and `abc`).

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

/// What every file has beside the logs.
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
"#;

/// A store's table: what is asked of it, in SQL.
pub struct Table {
    /// The last event's number.
    pub head: String,
    /// Adds an event.
    pub insert: String,
    /// The events after a number, so many at most.
    pub read: String,
    /// Deletes every event.
    pub clear: String,
}

impl Table {
    fn new(name: &str) -> Self {
        Self {
            head: format!(r#"SELECT max("seqNum") FROM "{name}""#),
            insert: format!(
                r#"INSERT INTO "{name}"
                   ("seqNum", "parentSeqNum", "name", "args", "createdAt", "clientId", "sessionId")
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"#
            ),
            read: format!(
                r#"SELECT "seqNum", "parentSeqNum", "name", "args", "clientId", "sessionId", "createdAt"
                   FROM "{name}" WHERE "seqNum" > ?1 ORDER BY "seqNum" LIMIT ?2"#
            ),
            clear: format!(r#"DELETE FROM "{name}""#),
        }
    }
}

/// Tables that are remembered, a few hundred bytes each: more than the
/// statements that are kept prepared are for.
const TABLES_MAX: usize = 1_000;

/// The tables of stores that were used of late.
#[derive(Default)]
pub struct Tables(HashMap<String, Arc<Table>>);

impl Tables {
    /// Forgets all: a write was undone, which may have been a table's creation.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A store's table; `None` when the store is unknown here.
    pub fn find(
        &mut self,
        connection: &Connection,
        store: &str,
    ) -> rusqlite::Result<Option<Arc<Table>>> {
        if let Some(table) = self.0.get(store) {
            return Ok(Some(Arc::clone(table)));
        }
        let name: Option<String> = connection
            .prepare_cached(r#"SELECT "tableName" FROM "syncline_stores" WHERE "storeId" = ?1"#)?
            .query_row([store], |row| row.get(0))
            .optional()?;
        let table = name.map(|name| Arc::new(Table::new(&name)));
        if let Some(table) = &table {
            if self.0.len() >= TABLES_MAX {
                self.0.clear();
            }
            self.0.insert(store.to_owned(), Arc::clone(table));
        }
        Ok(table)
    }
}

/// Creates what a store needs.
pub fn create(connection: &Connection, store: &str, backend_id: &str) -> rusqlite::Result<()> {
    let table = free_name(connection, store)?;
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

/// Upstream's name for the store's table, or that with a number where
/// another store has it. SQLite's names ignore case, and so does the
/// index that is asked here.
fn free_name(connection: &Connection, store: &str) -> rusqlite::Result<String> {
    let plain: String = store
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    // Also beside tables that somebody else has put into the file.
    let mut taken = connection.prepare_cached(
        r#"SELECT EXISTS (SELECT 1 FROM "syncline_stores" WHERE "tableName" = ?1)
           OR EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)"#,
    )?;
    let mut name = format!("eventlog_7_{plain}");
    // The number of stores is a number that is hardly ever taken.
    let mut number: i64 =
        connection.query_row(r#"SELECT count(*) FROM "syncline_stores""#, [], |row| {
            row.get(0)
        })?;
    while taken.query_row([&name], |row| row.get(0))? {
        number = number.saturating_add(1);
        name = format!("eventlog_7_{plain}__{number}");
    }
    Ok(name)
}
