//! What the machine lets this process have, seen to at the start: open files,
//! and memory mappings for rooms that are awake.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Files beside connections: storage, the listener, event loops.
const OTHER_FILES: u64 = 200;

/// Memory mappings of an instance, with some to spare: it takes four.
const MAPPINGS_PER_ROOM: usize = 5;

/// Mappings of everything else: threads, libraries, the allocator.
const OTHER_MAPPINGS: usize = 3_000;

/// Addresses that an instance reserves, in bytes: wasmtime's 4 GiB and guards.
const ADDRESSES_PER_ROOM: u64 = 5 << 30;

/// What the machine has, where it is less than what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// What there is.
    pub possible: u64,
    /// What has happened, and what to do.
    pub words: String,
}

/// The file descriptors that so many connections need.
fn files_needed(connections_max: usize) -> u64 {
    let connections = u64::try_from(connections_max).unwrap_or(u64::MAX);
    connections.saturating_add(OTHER_FILES)
}

/// Whether fewer files may be open than so many connections need, however far
/// the limit is raised.
#[must_use]
pub fn files_short(connections_max: usize) -> Option<Shortage> {
    let needed = files_needed(connections_max);
    let limit = getrlimit(Resource::Nofile);
    // None is any number.
    let possible = limit.current?.max(limit.maximum?);
    (possible < needed).then(|| Shortage {
        possible,
        words: format!(
            "Only {possible} files may be open, fewer than --connections-max needs ({needed}): raise the hard limit (`ulimit -Hn`, `LimitNOFILE=`), or lower --connections-max."
        ),
    })
}

/// Lets this process have the file descriptors that so many connections need,
/// as far as it may.
///
/// # Errors
/// When the system refuses what its own limits allow.
pub fn raise_file_limit(connections_max: usize) -> io::Result<()> {
    let needed = files_needed(connections_max);
    let limit = getrlimit(Resource::Nofile);
    // None is any number.
    let (Some(current), maximum) = (limit.current, limit.maximum) else {
        return Ok(());
    };
    let raised = maximum.map_or(needed, |maximum| needed.min(maximum));
    if raised > current {
        let limit = Rlimit {
            current: Some(raised),
            maximum,
        };
        setrlimit(Resource::Nofile, limit)?;
    }
    if let Some(shortage) = files_short(connections_max) {
        warn!(event = "machine_limit", "{}", shortage.words);
    }
    Ok(())
}

/// As many rooms as may be awake: `wanted`, or what the machine has mappings
/// and addresses for. Beyond them it would end the process.
#[must_use]
pub fn rooms_awake_max(wanted: usize) -> usize {
    match rooms_short(wanted) {
        None => wanted,
        Some(shortage) => {
            warn!(event = "machine_limit", "{}", shortage.words);
            usize::try_from(shortage.possible).unwrap_or(wanted)
        }
    }
}

/// Whether fewer rooms may be awake than `wanted`.
#[must_use]
pub fn rooms_short(wanted: usize) -> Option<Shortage> {
    let mappings = fs::read_to_string("/proc/sys/vm/max_map_count");
    let mappings = mappings.ok().and_then(|text| text.trim().parse().ok());
    let by_mappings = mappings.map_or(wanted, |mappings: usize| {
        mappings.saturating_sub(OTHER_MAPPINGS) / MAPPINGS_PER_ROOM
    });
    let by_addresses = getrlimit(Resource::As).current.map_or(wanted, |bytes| {
        usize::try_from(bytes / ADDRESSES_PER_ROOM).unwrap_or(usize::MAX)
    });
    let possible = wanted.min(by_mappings).min(by_addresses).max(1);
    if possible >= wanted {
        return None;
    }
    let raise = if by_addresses < by_mappings {
        "the limit on addresses (`ulimit -v unlimited`, `LimitAS=infinity`)".to_owned()
    } else {
        let needed = wanted * MAPPINGS_PER_ROOM + OTHER_MAPPINGS;
        format!("the limit on memory mappings (`sysctl vm.max_map_count={needed}`)")
    };
    Some(Shortage {
        possible: u64::try_from(possible).unwrap_or(u64::MAX),
        words: format!(
            "Only {possible} rooms may be awake at once, fewer than --rooms-awake-max {wanted}: raise {raise}, or lower --rooms-awake-max. Others sleep meanwhile, which costs them some time."
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_no_more_rooms_are_awake_than_the_machine_has_mappings_for() {
        assert_eq!(rooms_awake_max(1), 1);
        let all = rooms_awake_max(usize::MAX / MAPPINGS_PER_ROOM - OTHER_MAPPINGS);
        assert!((1..10_000_000).contains(&all), "{all}");
    }
}
