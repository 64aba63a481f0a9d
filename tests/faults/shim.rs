//! A VFS over SQLite's own one. Its files are the real ones; only their
//! methods for reading, writing and syncing are replaced, by ones that fail
//! when a fault is set.

use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_void};
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi::{
    SQLITE_FULL, SQLITE_IOERR_FSYNC, SQLITE_IOERR_READ, SQLITE_IOERR_WRITE, SQLITE_OK,
    sqlite3_file, sqlite3_filename, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
    sqlite3_vfs_find, sqlite3_vfs_register,
};

/// What fails, on files whose names end so.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    kind: Kind,
    suffix: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    None,
    /// Files grow by so many bytes together, and no further.
    Full(i64),
    Write,
    /// As a disk does that fails: what was to be kept is lost.
    Sync,
    /// As one that has done its work and cannot tell.
    SyncKept,
    Read,
}

impl FromStr for Fault {
    type Err = String;

    /// `full 0 -wal`, `sync`, `none`, …
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ');
        let kind = match words.next() {
            Some("none") => Kind::None,
            Some("full") => {
                let bytes = words.next().and_then(|bytes| bytes.parse().ok());
                Kind::Full(bytes.ok_or("full needs a number")?)
            }
            Some("write") => Kind::Write,
            Some("sync") => Kind::Sync,
            Some("sync-kept") => Kind::SyncKept,
            Some("read") => Kind::Read,
            _ => return Err(format!("no fault: {text}")),
        };
        let suffix = words.next().unwrap_or_default().to_owned();
        Ok(Self { kind, suffix })
    }
}

struct File {
    name: String,
    methods: &'static sqlite3_io_methods,
    /// How to take back what is not synced: the file's size, or bytes at an
    /// offset, newest last.
    unsynced: Vec<Undo>,
}

enum Undo {
    Size(i64),
    Bytes(i64, Vec<u8>),
}

struct Shim {
    fault: Fault,
    files: HashMap<usize, File>,
    /// SQLite's VFS, and its files' methods with some replaced, by address.
    real: usize,
    replaced: HashMap<usize, &'static sqlite3_io_methods>,
}

static SHIM: LazyLock<Mutex<Shim>> = LazyLock::new(|| {
    Mutex::new(Shim {
        fault: Fault {
            kind: Kind::None,
            suffix: String::new(),
        },
        files: HashMap::new(),
        real: 0,
        replaced: HashMap::new(),
    })
});

fn shim() -> MutexGuard<'static, Shim> {
    SHIM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this fails.
pub fn set(fault: Fault) {
    shim().fault = fault;
}

/// Makes the shim the VFS of every connection that is opened from now on.
pub fn install() {
    // SAFETY: SQLite's own VFS lives as long as the process, and so do the
    // copy of it that is registered and its name.
    unsafe {
        let real = sqlite3_vfs_find(std::ptr::null());
        assert!(!real.is_null(), "SQLite has no VFS");
        shim().real = real as usize;
        let copy = Box::leak(Box::new(*real));
        copy.pNext = std::ptr::null_mut();
        copy.zName = c"faults".as_ptr();
        copy.xOpen = Some(open);
        assert_eq!(sqlite3_vfs_register(copy, 1), SQLITE_OK);
    }
}

/// Opens a file with the real VFS and replaces its methods.
unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let real = shim().real as *mut sqlite3_vfs;
    // SAFETY: these are SQLite's arguments for its own VFS, whose file it is.
    unsafe {
        let Some(real_open) = (*real).xOpen else {
            return rusqlite::ffi::SQLITE_CANTOPEN;
        };
        let result = real_open(real, name, file, flags, out_flags);
        if (*file).pMethods.is_null() {
            return result;
        }
        let methods: &'static sqlite3_io_methods = &*(*file).pMethods;
        let mut shim = shim();
        let replaced = *shim
            .replaced
            .entry(std::ptr::from_ref(methods) as usize)
            .or_insert_with(|| {
                Box::leak(Box::new(sqlite3_io_methods {
                    xClose: Some(close),
                    xRead: Some(read),
                    xWrite: Some(write),
                    xSync: Some(sync),
                    ..*methods
                }))
            });
        let name = if name.is_null() {
            String::new()
        } else {
            CStr::from_ptr(name).to_string_lossy().into_owned()
        };
        let opened = File {
            name,
            methods,
            unsynced: Vec::new(),
        };
        shim.files.insert(file as usize, opened);
        (*file).pMethods = replaced;
        result
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let removed = shim().files.remove(&(file as usize));
    let close = removed.and_then(|it| it.methods.xClose);
    // SAFETY: the real method, on the file that it is of.
    close.map_or(SQLITE_OK, |close| unsafe { close(file) })
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let (methods, fault, _) = shim().of(file);
    match (fault, methods.xRead) {
        (Kind::Read, _) | (_, None) => SQLITE_IOERR_READ,
        // SAFETY: as above.
        (_, Some(read)) => unsafe { read(file, to, bytes, offset) },
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let mut shim = shim();
    let (methods, fault, size) = shim.of(file);
    let Some(write) = methods.xWrite else {
        return SQLITE_IOERR_WRITE;
    };
    let growth = (offset + sqlite3_int64::from(bytes) - size).max(0);
    let (fits, result) = match fault {
        Kind::Write => return SQLITE_IOERR_WRITE,
        Kind::Full(left) if growth > left => {
            shim.fault.kind = Kind::Full(0);
            // A part of it is there, as on a real disk.
            let over = c_int::try_from(growth - left).unwrap_or(bytes);
            ((bytes - over).max(0), SQLITE_FULL)
        }
        Kind::Full(left) => {
            shim.fault.kind = Kind::Full(left - growth);
            (bytes, SQLITE_OK)
        }
        Kind::None | Kind::Sync | Kind::SyncKept | Kind::Read => (bytes, SQLITE_OK),
    };
    shim.remember(file, size, fits, offset);
    // SAFETY: as above; no more than SQLite gave.
    let written = unsafe { write(file, from, fits, offset) };
    if written == SQLITE_OK {
        result
    } else {
        written
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    let mut shim = shim();
    let (methods, fault, _) = shim.of(file);
    let Some(opened) = shim.files.get_mut(&(file as usize)) else {
        return SQLITE_IOERR_FSYNC;
    };
    let unsynced = std::mem::take(&mut opened.unsynced);
    if fault == Kind::SyncKept {
        return SQLITE_IOERR_FSYNC;
    }
    if fault != Kind::Sync {
        // SAFETY: as above.
        return methods
            .xSync
            .map_or(SQLITE_OK, |sync| unsafe { sync(file, flags) });
    }
    for undo in unsynced.into_iter().rev() {
        // SAFETY: as above.
        unsafe {
            match (undo, methods.xWrite, methods.xTruncate) {
                (Undo::Bytes(offset, bytes), Some(write), _) => {
                    let length = c_int::try_from(bytes.len()).unwrap_or(0);
                    write(file, bytes.as_ptr().cast(), length, offset);
                }
                (Undo::Size(size), _, Some(truncate)) => {
                    truncate(file, size);
                }
                _ => {}
            }
        }
    }
    SQLITE_IOERR_FSYNC
}

impl Shim {
    /// A file's real methods, what is to fail on it, and its size.
    fn of(&self, file: *mut sqlite3_file) -> (&'static sqlite3_io_methods, Kind, i64) {
        let opened = &self.files[&(file as usize)];
        let is_meant = opened.name.ends_with(&self.fault.suffix);
        let kind = if is_meant {
            self.fault.kind
        } else {
            Kind::None
        };
        let mut size = 0;
        if let Some(file_size) = opened.methods.xFileSize {
            // SAFETY: as above.
            unsafe { file_size(file, &raw mut size) };
        }
        (opened.methods, kind, size)
    }

    /// Keeps what a write is about to replace.
    fn remember(&mut self, file: *mut sqlite3_file, size: i64, bytes: c_int, offset: i64) {
        let Some(opened) = self.files.get_mut(&(file as usize)) else {
            return;
        };
        if offset + i64::from(bytes) > size {
            opened.unsynced.push(Undo::Size(size));
        }
        let old = (size - offset).clamp(0, i64::from(bytes));
        if let (Some(read), Ok(length @ 1..)) = (opened.methods.xRead, usize::try_from(old)) {
            let mut before = vec![0_u8; length];
            let length = c_int::try_from(length).unwrap_or(0);
            // SAFETY: as above; the buffer is as long as it is said to be.
            unsafe { read(file, before.as_mut_ptr().cast(), length, offset) };
            opened.unsynced.push(Undo::Bytes(offset, before));
        }
    }
}
