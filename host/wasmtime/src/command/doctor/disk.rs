//! The disk below the data directory: how much is left, and whether SQLite can
//! work there.

use rustix::fs::{statfs, statvfs};

use super::files::existing;
use super::machine::mib;
use super::report::{Report, Status};
use crate::storage::Location;

const CHECK: &str = "disk";

/// Below this nobody should start a server, in bytes: a write-ahead log and a
/// few large pushes.
const FREE_BYTES_FAIL: u64 = 64 * 1024 * 1024;

/// Below this it is time to look, in bytes.
const FREE_BYTES_WARN: u64 = 1024 * 1024 * 1024;

/// Files that can still be made: the server needs about a dozen.
const FREE_FILES_FAIL: u64 = 20;

/// File systems over a network, by Linux' numbers: their locks and their
/// shared memory are not what a write-ahead log needs.
const NETWORKS: [(u64, &str); 5] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
];

/// Looks at the disk.
pub fn check(storage: &Location, report: &mut Report) {
    let Location::Sqlite(dir) = storage else {
        return;
    };
    let dir = existing(dir);
    let space = match statvfs(&dir) {
        Ok(space) => space,
        Err(error) => {
            report.warn(
                CHECK,
                format!(
                    "the space left at {} cannot be told: {error}",
                    dir.display()
                ),
                "Let this user go there",
            );
            return;
        }
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    // Some file systems do not count files.
    let files = (space.f_files > 0).then_some(space.f_favail);
    let (status, what, to_do) = judge(free, files);
    let what = format!("{}: {what}", dir.display());
    report.add(CHECK, status, what, to_do.map(str::to_owned));
    if let Some(name) = network(&dir) {
        report.warn(
            CHECK,
            format!(
                "{} is on {name}, over a network: SQLite's write-ahead log is not safe there",
                dir.display()
            ),
            "Name a directory on a local disk with --storage sqlite:DIR",
        );
    }
}

#[cfg(target_os = "linux")]
fn network(dir: &std::path::Path) -> Option<&'static str> {
    // Its type has another width on other machines.
    #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
    let kind = u64::try_from(statfs(dir).ok()?.f_type).ok()? & 0xffff_ffff;
    let found = NETWORKS.iter().find(|(number, _)| *number == kind);
    found.map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
fn network(_dir: &std::path::Path) -> Option<&'static str> {
    let _ = (NETWORKS, statfs::<&str>);
    None
}

/// What so much space means.
fn judge(free: u64, files: Option<u64>) -> (Status, String, Option<&'static str>) {
    const FREE_SOME: &str = "Free some space, or move the directory: pushes are refused with STORAGE_FULL when it is full";
    let left = format!("{} MiB are free", mib(free));
    if let Some(files) = files.filter(|files| *files < FREE_FILES_FAIL) {
        let what = format!("{left}, but only {files} more files can be made");
        return (
            Status::Fail,
            what,
            Some("Delete files that nobody needs on this disk"),
        );
    }
    if free < FREE_BYTES_FAIL {
        (Status::Fail, left, Some(FREE_SOME))
    } else if free < FREE_BYTES_WARN {
        (Status::Warn, left, Some(FREE_SOME))
    } else {
        (Status::Ok, left, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_seen() {
        const MIB: u64 = 1024 * 1024;
        for (free, files, status) in [
            (50_000 * MIB, Some(1_000_000), Status::Ok),
            (50_000 * MIB, None, Status::Ok),
            (500 * MIB, Some(1_000_000), Status::Warn),
            (10 * MIB, Some(1_000_000), Status::Fail),
            (0, None, Status::Fail),
            (50_000 * MIB, Some(3), Status::Fail),
        ] {
            let (found, what, to_do) = judge(free, files);
            assert_eq!(found, status, "{what}");
            assert_eq!(to_do.is_none(), status == Status::Ok);
        }
    }
}
