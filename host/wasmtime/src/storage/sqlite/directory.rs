//! A data directory: the files of all shards, which belong together, and whose
//! it is. What can be seen at the start that its files are not the ones that
//! clients know is said or refused here.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tracing::warn;

use super::Sqlite;
use super::connection;
use super::open_error::OpenError;
use super::record::{self, Record};
use super::witness::Witness;
use super::{logs, tables};
use crate::storage::identity::Secret;
use crate::storage::layout::{self, LAYOUT, SHARDS};

/// Takes a directory, until the file is dropped: two servers on one would each
/// believe that their heads are the logs'.
///
/// # Errors
/// When somebody else has it, or it is not there or cannot be written.
pub fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("syncline.lock");
    let failed = |source| OpenError::NotWritable {
        what: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Makes a directory, unless it is there, and takes it.
///
/// # Errors
/// As [`lock`].
pub fn create(dir: &Path) -> Result<File, OpenError> {
    fs::create_dir_all(dir).map_err(|source| OpenError::NotWritable {
        what: dir.to_owned(),
        source,
    })?;
    lock(dir)
}

/// A shard's file that is open.
pub(crate) struct ShardFile {
    /// Where it is.
    pub file: PathBuf,
    /// A connection to it.
    pub connection: Connection,
    /// What it says of its directory, as it was when it was opened.
    pub record: Option<Record>,
}

impl ShardFile {
    /// Opens it, making what it lacks.
    pub fn open(file: PathBuf) -> Result<Self, OpenError> {
        let connection = connection::open(&file)?;
        let mut shard = Self {
            file,
            connection,
            record: None,
        };
        shard.prepare()?;
        shard.record = shard.with(record::read)?;
        Ok(shard)
    }

    /// Makes the tables that it lacks.
    pub fn prepare(&self) -> Result<(), OpenError> {
        self.with(|connection| {
            connection.execute_batch(&format!(
                "BEGIN; {} {} {} {} PRAGMA user_version = {LAYOUT}; COMMIT",
                record::SCHEMA,
                logs::SCHEMA,
                tables::CONTEXT,
                tables::STORES,
            ))
        })
    }

    /// Runs a call of SQLite's.
    pub fn with<T>(
        &self,
        call: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, OpenError> {
        call(&self.connection).map_err(|source| OpenError::Sqlite {
            file: self.file.clone(),
            source,
        })
    }

    /// Which file it is.
    pub fn identity(&self) -> Result<String, OpenError> {
        let metadata = fs::metadata(&self.file);
        let metadata = metadata.map_err(|source| self.io(source))?;
        Ok(record::identity(&metadata))
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io {
            file: self.file.clone(),
            source,
        }
    }

    /// Whether it holds a store, or has held one.
    pub fn holds_stores(&self) -> Result<bool, OpenError> {
        const ANY: &str = r#"SELECT EXISTS (SELECT 1 FROM "syncline_logs")
            OR EXISTS (SELECT 1 FROM "syncline_stores")"#;
        self.with(|connection| connection.query_row(ANY, [], |row| row.get(0)))
    }
}

/// Whether there is a file with anything in it.
///
/// # Errors
/// When it cannot be seen.
pub(crate) fn has_content(file: &Path) -> Result<bool, OpenError> {
    match fs::metadata(file) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(OpenError::Io {
            file: file.to_owned(),
            source,
        }),
    }
}

/// Opens all files of a directory to be served, creating what is absent.
///
/// # Errors
/// When one of them could not be pushed to, or they do not belong together.
pub fn open(dir: &Path) -> Result<Vec<Sqlite>, OpenError> {
    let shards = open_files(dir)?;
    let newest = check_together(&shards)?;
    let mut records = shards.iter().filter_map(|shard| shard.record.as_ref());
    let secret = match records.next().and_then(|record| record.secret.clone()) {
        Some(secret) => secret,
        None => Secret::random().map_err(OpenError::Randomness)?,
    };
    if let Some(words) = moved(dir, &shards)? {
        warn!(event = "directory_moved", "{words}");
    }
    note_start(&shards, &secret, newest.saturating_add(1))?;
    shards
        .into_iter()
        .map(|shard| {
            let witness = Witness::new(&shard.file).map_err(|source| shard.io(source))?;
            let ShardFile {
                file, connection, ..
            } = shard;
            Ok(Sqlite::new(&file, connection, witness, secret.clone()))
        })
        .collect()
}

/// Opens the files; those that are absent only if none of the others was ever
/// served with them.
fn open_files(dir: &Path) -> Result<Vec<ShardFile>, OpenError> {
    let files = (0..SHARDS).map(|shard| layout::file(dir, shard));
    let mut shards = Vec::new();
    let mut absent = Vec::new();
    for file in files {
        if has_content(&file)? {
            shards.push(ShardFile::open(file)?);
        } else {
            absent.push(file);
        }
    }
    for file in absent {
        for shard in &shards {
            let was_served = shard.record.as_ref().is_some_and(|it| it.starts > 0);
            if was_served || shard.holds_stores()? {
                return Err(OpenError::Missing(file));
            }
        }
        shards.push(ShardFile::open(file)?);
    }
    shards.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(shards)
}

/// What to say of files that are not where the server left them; `None` when
/// all are.
///
/// # Errors
/// When one cannot be looked at.
pub(crate) fn moved(dir: &Path, shards: &[ShardFile]) -> Result<Option<String>, OpenError> {
    let mut moved = Vec::new();
    for shard in shards {
        let recorded = shard.record.as_ref().and_then(|record| record.file.clone());
        if recorded.is_some() && recorded != Some(shard.identity()?) {
            moved.push(shard.file.display().to_string());
        }
    }
    let those = match moved.as_slice() {
        [] => return Ok(None),
        [one] => format!("{one} is"),
        more => format!("{} are", more.join(", ")),
    };
    Ok(Some(format!(
        "{those} not where the server left it: copied, or put back from a backup. If this is an older state than clients have seen, stop the server now and run `syncline restored {}`, or they silently diverge. If it was only moved or copied as it was, nothing needs to be done.",
        dir.display()
    )))
}

/// Sees that files are of one directory and of one time; the last start that
/// one of them knows of.
///
/// # Errors
/// When they are not.
pub(crate) fn check_together(shards: &[ShardFile]) -> Result<i64, OpenError> {
    let recorded = shards
        .iter()
        .filter_map(|shard| Some((shard, shard.record.as_ref()?)));
    let Some((newest, Record { secret, starts, .. })) =
        recorded.max_by_key(|(_, record)| record.starts)
    else {
        return Ok(0);
    };
    for shard in shards {
        let Some(record) = &shard.record else {
            if *starts > 0 {
                return Err(OpenError::Older(shard.file.clone()));
            }
            continue;
        };
        if record.secret.is_none() || record.secret != *secret {
            return Err(OpenError::Mixed(shard.file.clone(), newest.file.clone()));
        }
        if record.starts < *starts && record.starts_begun < *starts {
            return Err(OpenError::Older(shard.file.clone()));
        }
    }
    Ok(*starts)
}

/// Notes a start in all files.
pub(crate) fn note_start(
    shards: &[ShardFile],
    secret: &Secret,
    start: i64,
) -> Result<(), OpenError> {
    for shard in shards {
        shard.with(|connection| record::begin_start(connection, secret, start))?;
    }
    for shard in shards {
        let file = shard.identity()?;
        shard.with(|connection| record::end_start(connection, start, &file))?;
    }
    Ok(())
}
