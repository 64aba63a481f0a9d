//! How much memory this process may have: its control groups', or the
//! machine's.

use std::fs;
use std::path::Path;

/// A limit on memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// It.
    pub bytes: u64,
    /// Whether a control group sets it (a container, a unit), and not what is
    /// built in.
    pub is_group: bool,
}

/// The tightest limit there is; `None` where it cannot be told.
#[must_use]
pub fn limit() -> Option<MemoryLimit> {
    limit_below(Path::new("/"))
}

/// The same, with the system's files below `root`.
fn limit_below(root: &Path) -> Option<MemoryLimit> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let of_groups = groups.lines().filter_map(|line| {
        // `ID:CONTROLLERS:PATH`; version 2 has no controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (mount, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|it| it == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            return None;
        };
        // Each group is within those above it. In a container some of the path
        // may not be there to see.
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors()
            .filter_map(|group| {
                let text = fs::read_to_string(root.join(mount).join(group).join(file)).ok()?;
                text.trim().parse::<u64>().ok()
            })
            .min()
    });
    let of_groups = of_groups.min();
    let built_in = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|it| it.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib.saturating_mul(1024))
    });
    match (of_groups, built_in) {
        (Some(group), built_in) if built_in.is_none_or(|built_in| group < built_in) => {
            Some(MemoryLimit {
                bytes: group,
                is_group: true,
            })
        }
        (_, built_in) => Some(MemoryLimit {
            bytes: built_in?,
            is_group: false,
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Option<MemoryLimit> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limit_below(root.path())
    }

    const TWO_GIB: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:        2097152 kB\nMemFree: 1 kB\n",
    );

    #[test]
    fn the_tightest_of_a_groups_and_those_above_it_counts() {
        let group = ("proc/self/cgroup", "0::/system.slice/syncline.service\n");
        let limits = [
            ("sys/fs/cgroup/system.slice/memory.max", "1000\n"),
            (
                "sys/fs/cgroup/system.slice/syncline.service/memory.max",
                "max\n",
            ),
        ];
        let limit = machine(&[TWO_GIB, group, limits[0], limits[1]]).unwrap();
        assert_eq!((limit.bytes, limit.is_group), (1_000, true));
        let limit = machine(&[TWO_GIB, group, limits[1]]).unwrap();
        assert_eq!((limit.bytes, limit.is_group), (2 << 30, false));
    }

    #[test]
    fn version_1_says_no_limit_by_a_number_that_no_machine_has() {
        let group = ("proc/self/cgroup", "4:cpu:/a\n3:memory:/docker/b\n");
        let none = (
            "sys/fs/cgroup/memory/docker/b/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        let limit = machine(&[TWO_GIB, group, none]).unwrap();
        assert_eq!((limit.bytes, limit.is_group), (2 << 30, false));
        // A container sees its own group as the root.
        let some = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n");
        let limit = machine(&[TWO_GIB, group, some]).unwrap();
        assert_eq!((limit.bytes, limit.is_group), (4_096, true));
        assert_eq!(machine(&[]), None);
    }
}
