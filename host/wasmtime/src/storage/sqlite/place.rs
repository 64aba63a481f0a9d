//! Whether a file that is open is still the one at its path. One that was
//! deleted, or replaced by a backup, can be written to for as long as it is
//! open, and nothing of that is found again.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::ffi::{self, ErrorCode};

use crate::storage::trouble::MOVED;

/// Where an open file and its write-ahead log are.
pub struct Place(Vec<(PathBuf, Inode)>);

#[derive(PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

fn inode(path: &Path) -> io::Result<Inode> {
    let metadata = path.metadata()?;
    Ok(Inode {
        device: metadata.dev(),
        number: metadata.ino(),
    })
}

impl Place {
    /// The place of a file that has just been opened and written to.
    pub fn of(file: &Path) -> io::Result<Self> {
        let mut wal = file.as_os_str().to_owned();
        wal.push("-wal");
        let paths = [file.to_owned(), wal.into()];
        let found = paths.map(|path| inode(&path).map(|inode| (path, inode)));
        found.into_iter().collect::<io::Result<_>>().map(Self)
    }

    /// Fails when something else is there, or nothing.
    pub fn check(&self) -> rusqlite::Result<()> {
        let is_there =
            |(path, opened): &(PathBuf, Inode)| inode(path).is_ok_and(|found| found == *opened);
        if self.0.iter().all(is_there) {
            return Ok(());
        }
        let error = ffi::Error {
            code: ErrorCode::ReadOnly,
            extended_code: MOVED,
        };
        Err(rusqlite::Error::SqliteFailure(error, None))
    }
}
