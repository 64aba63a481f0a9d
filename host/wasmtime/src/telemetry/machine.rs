//! What the process takes of its machine, as Linux tells it. Elsewhere nothing
//! is known.

use std::fs;
use std::path::Path;

/// In how many parts of a second Linux counts a process's time: the same on
/// all machines that it shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time, in seconds: in the program, and in the kernel for it.
#[must_use]
pub fn cpu_seconds() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in brackets, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some((seconds()?, seconds()?))
}

/// Memory in use, in bytes.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Open files.
#[must_use]
pub fn open_files() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory itself.
    u64::try_from(count.saturating_sub(1)).ok()
}

/// What is free on a directory's disk for this process, in bytes.
#[must_use]
pub fn free_bytes(directory: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(directory).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_something() {
        let (user, system) = cpu_seconds().unwrap();
        assert!(user >= 0.0 && system >= 0.0);
        assert!(memory_bytes().unwrap() > 1024 * 1024);
        assert!(open_files().unwrap() >= 3);
        assert!(free_bytes(Path::new("/")).is_some());
        assert!(free_bytes(Path::new("/is/not/there")).is_none());
    }
}
