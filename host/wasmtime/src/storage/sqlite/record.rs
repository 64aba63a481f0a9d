//! What a shard's file says of the data directory it belongs to: the secret
//! that backend ids are derived from, how often the directory was served, and
//! which file on the disk this one was then.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use rusqlite::{Connection, OptionalExtension, params};

use crate::storage::identity::Secret;

/// One row. A start is noted in all files as begun, then in all as done: so a
/// crash between two of them does not look like a file that is older.
pub const SCHEMA: &str = r#"
CREATE TABLE IF NOT EXISTS "syncline_directory" (
    "id" integer primary key check ("id" = 1),
    "secret" blob not null,
    "startsBegun" integer not null,
    "starts" integer not null,
    "file" text,
    "probes" integer not null
) STRICT;
"#;

/// The row.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The same in all files of a directory; `None` when it is no secret.
    pub secret: Option<Secret>,
    /// The last start that this file knows to have begun.
    pub starts_begun: i64,
    /// The last start that this file knows all files to have begun.
    pub starts: i64,
    /// Which file this was then, as [`identity`] says.
    pub file: Option<String>,
}

/// Reads it; `None` when the file has never had one.
///
/// # Errors
/// SQLite's.
pub fn read(connection: &Connection) -> rusqlite::Result<Option<Record>> {
    let select = r#"SELECT "secret", "startsBegun", "starts", "file" FROM "syncline_directory""#;
    connection
        .query_row(select, [], |row| {
            let secret: Vec<u8> = row.get(0)?;
            Ok(Record {
                secret: Secret::kept(&secret),
                starts_begun: row.get(1)?,
                starts: row.get(2)?,
                file: row.get(3)?,
            })
        })
        .optional()
}

/// Notes that a start has begun, in a directory with this secret.
///
/// # Errors
/// SQLite's.
pub fn begin_start(connection: &Connection, secret: &Secret, start: i64) -> rusqlite::Result<()> {
    connection.execute(
        r#"INSERT INTO "syncline_directory" ("id", "secret", "startsBegun", "starts", "probes")
           VALUES (1, ?1, ?2, 0, 0)
           ON CONFLICT ("id") DO UPDATE
           SET "secret" = excluded."secret", "startsBegun" = excluded."startsBegun""#,
        params![secret.bytes(), start],
    )?;
    Ok(())
}

/// Notes that all files know of a start, and which file this is.
///
/// # Errors
/// SQLite's.
pub fn end_start(connection: &Connection, start: i64, file: &str) -> rusqlite::Result<()> {
    connection.execute(
        r#"UPDATE "syncline_directory" SET "starts" = ?1, "file" = ?2"#,
        params![start, file],
    )?;
    Ok(())
}

/// Writes something that nobody reads.
///
/// # Errors
/// SQLite's.
pub fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(
        r#"UPDATE "syncline_directory" SET "probes" = "probes" + 1"#,
        [],
    )?;
    Ok(())
}

/// A file as long as nobody copies it or puts another in its place: its number
/// in its file system, and when it was made, if that is known. A volume that
/// is moved as a whole keeps both, so the device is not a part of it.
pub fn identity(metadata: &Metadata) -> String {
    let made = metadata.created().ok();
    let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let made = made.map_or(0, |made| made.as_nanos());
    format!("{}-{made}", metadata.ino())
}
