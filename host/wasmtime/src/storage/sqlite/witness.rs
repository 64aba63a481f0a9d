//! Whether the files that are open are still those at their paths. A data
//! directory that is deleted or replaced under a running server leaves SQLite
//! writing, without an error, to files that nobody will find.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::storage::trouble::Failure;

/// A shard's file and its write-ahead log, as they were when they were opened.
pub struct Witness([(PathBuf, File); 2]);

/// A file, whatever its name: its device's number and its own.
type File = (u64, u64);

impl Witness {
    /// Remembers what is at the paths. The write-ahead log is there from the
    /// first write to the last connection's end.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn new(file: &Path) -> io::Result<Self> {
        let mut wal = OsString::from(file);
        wal.push("-wal");
        let of = |path: PathBuf| file_at(&path).map(|file| (path, file));
        Ok(Self([of(file.to_owned())?, of(wal.into())?]))
    }

    /// Sees whether the same files are there. Costs two calls of the system's.
    ///
    /// # Errors
    /// When they are not, or cannot be seen.
    pub fn check(&self) -> Result<(), Failure> {
        for (path, file) in &self.0 {
            if file_at(path).ok() != Some(*file) {
                return Err(Failure::Replaced(path.clone()));
            }
        }
        Ok(())
    }
}

/// Asks for the numbers alone. Linux notes that somebody has seen a file's
/// times, and writes finer ones with the next change, which is a disk write
/// more for each commit: 30 µs of a push.
#[cfg(target_os = "linux")]
fn file_at(path: &Path) -> io::Result<File> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
    Ok((device, found.stx_ino))
}

#[cfg(not(target_os = "linux"))]
fn file_at(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::MetadataExt;

    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
