//! A data directory: the files of all shards, which belong together.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rusqlite::{Connection, OptionalExtension, params};
use thiserror::Error;
use tracing::warn;

use super::secret::Secret;
use super::sqlite::{Sqlite, connect};
use super::trouble::OpenError;

/// The layout of the files, as this version writes it.
const LAYOUT: i64 = 1;

/// What each file says of its directory; in one row.
const SCHEMA: &str = r#"
CREATE TABLE IF NOT EXISTS "syncline_directory" (
    "id" integer primary key check ("id" = 1),
    "layout" integer not null,
    "secret" text not null,
    "starts" integer not null,
    "file" text not null,
    "probes" integer not null
) STRICT
"#;

/// Why a directory cannot be served from.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// One of its files.
    #[error(transparent)]
    File(#[from] OpenError),
    /// SQLite cannot work with what a file says of its directory.
    #[error("cannot use {}: {source}", .file.display())]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// A file without content, where others have some.
    #[error(
        "{} is missing or empty, but the files beside it hold stores: a part of the data is gone. Put a backup of the whole directory in its place and run `syncline restored` on it. To go on without the stores of that file, whose clients would then begin anew, move the others away, start a new directory, and bring the others' stores there",
        .0.display()
    )]
    Absent(PathBuf),
    /// Files of different directories.
    #[error(
        "{} and {} are not of one data directory: bring back the files that belong together",
        .0.display(), .1.display()
    )]
    Mixed(PathBuf, PathBuf),
    /// A file of a later version.
    #[error("{} was written by a later version of syncline: run that one", .0.display())]
    Later(PathBuf),
    /// No random bytes for a secret.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

type Result<T> = std::result::Result<T, DirectoryError>;

/// What a file says of its directory.
struct Said {
    layout: i64,
    secret: String,
    starts: i64,
    file: String,
}

/// A shard's file that is open.
pub struct ShardFile {
    /// Its path.
    pub path: PathBuf,
    /// A connection to it.
    pub connection: Connection,
    said: Option<Said>,
}

/// A file by its number.
#[must_use]
pub fn path_of(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("shard-{number}.db"))
}

impl ShardFile {
    fn failed(&self) -> impl Fn(rusqlite::Error) -> DirectoryError {
        let file = self.path.clone();
        move |source| DirectoryError::Sqlite {
            file: file.clone(),
            source,
        }
    }

    fn open(path: &Path) -> Result<Self> {
        let connection = connect(path)?;
        let mut file = Self {
            path: path.to_owned(),
            connection,
            said: None,
        };
        file.said = file.read().map_err(file.failed())?;
        Ok(file)
    }

    fn read(&self) -> rusqlite::Result<Option<Said>> {
        self.connection.execute_batch(SCHEMA)?;
        self.connection
            .query_row(
                r#"SELECT "layout", "secret", "starts", "file" FROM "syncline_directory""#,
                [],
                |row| {
                    Ok(Said {
                        layout: row.get(0)?,
                        secret: row.get(1)?,
                        starts: row.get(2)?,
                        file: row.get(3)?,
                    })
                },
            )
            .optional()
    }

    fn holds_stores(&self) -> Result<bool> {
        self.connection
            .query_row(
                r#"SELECT EXISTS (SELECT 1 FROM "syncline_logs") OR EXISTS (SELECT 1 FROM "syncline_stores")"#,
                [],
                |row| row.get(0),
            )
            .map_err(self.failed())
    }

    /// Writes down what the file is part of from now on.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn write(&self, secret: &Secret, starts: i64) -> Result<()> {
        self.connection
            .execute(
                r#"INSERT OR REPLACE INTO "syncline_directory" ("id", "layout", "secret", "starts", "file", "probes")
                   VALUES (1, ?1, ?2, ?3, ?4, 0)"#,
                params![LAYOUT, secret.to_hex(), starts, identity(&self.path)],
            )
            .map(drop)
            .map_err(self.failed())
    }
}

/// What tells a file from its copies, as far as the file system does.
fn identity(path: &Path) -> String {
    let Ok(metadata) = path.metadata() else {
        return String::new();
    };
    let born = metadata.created().ok();
    let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    format!(
        "{}:{}",
        metadata.ino(),
        born.map_or(0, |born| born.as_nanos())
    )
}

/// Opens the files of a directory for a look or a change, creating none;
/// checks that they belong together.
///
/// # Errors
/// When they do not, or one cannot be used.
pub fn files(dir: &Path, count: usize) -> Result<Vec<ShardFile>> {
    let paths: Vec<PathBuf> = (0..count).map(|number| path_of(dir, number)).collect();
    let is_empty = |path: &Path| fs::metadata(path).map_or(true, |metadata| metadata.len() == 0);
    let (absent, there): (Vec<_>, Vec<_>) = paths.iter().partition(|path| is_empty(path));
    let files: Vec<ShardFile> = there
        .iter()
        .map(|path| ShardFile::open(path))
        .collect::<Result<_>>()?;
    if let Some(&absent) = absent.first() {
        for file in &files {
            if file.holds_stores()? {
                return Err(DirectoryError::Absent(absent.clone()));
            }
        }
    }
    let mut first: Option<&ShardFile> = None;
    for file in &files {
        let Some(said) = &file.said else {
            continue;
        };
        if said.layout > LAYOUT {
            return Err(DirectoryError::Later(file.path.clone()));
        }
        match first {
            None => first = Some(file),
            Some(other) => {
                let is_same = other
                    .said
                    .as_ref()
                    .is_some_and(|other| other.secret == said.secret);
                if !is_same {
                    return Err(DirectoryError::Mixed(other.path.clone(), file.path.clone()));
                }
            }
        }
    }
    Ok(files)
}

/// Opens a directory to serve from it, creating what is absent. Says what
/// looks as if it had been restored from a backup.
///
/// # Errors
/// When it cannot be served from: why, and what to do.
pub fn open(dir: &Path, count: usize) -> Result<Vec<Sqlite>> {
    let mut found = files(dir, count)?;
    tell_of_restored(dir, &found);
    let said = || found.iter().filter_map(|file| file.said.as_ref());
    let starts = said().map(|said| said.starts).max().unwrap_or(0);
    let secret = match said().find_map(|said| Secret::from_hex(&said.secret)) {
        Some(secret) => secret,
        None => Secret::random()?,
    };
    let mut storages = Vec::new();
    for number in 0..count {
        let path = path_of(dir, number);
        let file = match found.iter().position(|file| file.path == path) {
            Some(index) => found.swap_remove(index),
            None => ShardFile::open(&path)?,
        };
        file.write(&secret, starts.saturating_add(1))?;
        storages.push(Sqlite::new(&path, file.connection, &secret)?);
    }
    Ok(storages)
}

/// An operator who has put a backup in place has to say so: clients may have
/// seen what is not in it. Who has moved a volume need not, and must not lose
/// the ids of its stores (I8). So it is told and nothing else.
fn tell_of_restored(dir: &Path, files: &[ShardFile]) {
    let said = || {
        files
            .iter()
            .filter_map(|file| Some((file, file.said.as_ref()?)))
    };
    let starts = said().map(|(_, said)| said.starts).max().unwrap_or(0);
    let is_copied = said().any(|(file, said)| said.file != identity(&file.path));
    let older = said().find(|(_, said)| said.starts < starts);
    if let Some((file, _)) = older {
        warn!(
            "{} was served from at an earlier time than the files beside it: if it is from a backup, stop the server and run `syncline restored {}`, or clients that have seen more than it holds will never agree with the others",
            file.path.display(),
            dir.display()
        );
    } else if is_copied {
        warn!(
            "The files in {} are not those that were served from last, but copies. If they are from a backup, stop the server and run `syncline restored {}`, or clients that have seen more than it holds will never agree with the others. If they were moved or copied while no server ran, nothing has to be done; this is said once.",
            dir.display(),
            dir.display()
        );
    }
}

/// Gives every store of a directory another backend id, since clients may
/// have seen events that a backup does not hold: they wipe themselves and
/// begin anew. No server may run on it. Can be run again if it was
/// interrupted. Returns how many stores have events.
///
/// # Errors
/// When the directory cannot be used.
pub fn restored(dir: &Path, count: usize) -> Result<u64> {
    let files = files(dir, count)?;
    let secret = Secret::random()?;
    let mut stores = 0;
    // The same secret in all of them, or a run that was interrupted would
    // leave files that do not belong together.
    let transactions: Vec<_> = files
        .iter()
        .map(|file| {
            let begun = file.connection.unchecked_transaction();
            begun
                .map(|transaction| (file, transaction))
                .map_err(file.failed())
        })
        .collect::<Result<_>>()?;
    for (file, transaction) in &transactions {
        for (table, column) in [("syncline_logs", "number"), ("context_7", "rowid")] {
            stores += renew(transaction, table, column, &secret).map_err(file.failed())?;
        }
        let starts = file.said.as_ref().map_or(0, |said| said.starts);
        file.write(&secret, starts)?;
    }
    let starts: i64 = files
        .iter()
        .filter_map(|file| Some(file.said.as_ref()?.starts))
        .max()
        .unwrap_or(0);
    for (file, transaction) in transactions {
        file.write(&secret, starts)?;
        transaction.commit().map_err(file.failed())?;
    }
    Ok(stores)
}

/// Gives each row's store the id that follows from a secret.
fn renew(
    connection: &Connection,
    table: &str,
    column: &str,
    secret: &Secret,
) -> rusqlite::Result<u64> {
    let mut page = connection.prepare(&format!(
        r#"SELECT "{column}", "storeId" FROM "{table}" WHERE "{column}" > ?1 ORDER BY "{column}" LIMIT 1000"#
    ))?;
    let mut update = connection.prepare(&format!(
        r#"UPDATE "{table}" SET "backendId" = ?1 WHERE "{column}" = ?2"#
    ))?;
    let (mut stores, mut last) = (0, i64::MIN);
    loop {
        let rows: Vec<(i64, String)> = page
            .query_map([last], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let Some(&(end, _)) = rows.last() else {
            return Ok(stores);
        };
        for (number, store) in &rows {
            update.execute(params![secret.backend_id(store), number])?;
        }
        stores += rows.len() as u64;
        last = end;
    }
}
