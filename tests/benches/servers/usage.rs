//! What processes cost, from `/proc`: elsewhere than on Linux nothing is
//! known, and the report says so.
//!
//! The servers are found as the descendants of this process, whatever they
//! start in their turn: the bench runs one server at a time and has no other
//! child while it measures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// Linux counts in this unit towards user space, whatever the kernel's own
/// tick is.
const TICK: Duration = Duration::from_millis(10);

/// What the server's processes have used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// User and system time since they began.
    pub cpu: Duration,
    /// Memory that is resident now.
    pub resident_bytes: u64,
    /// The most that was since [`forget_peaks`]; of several processes the sum
    /// of what each once had.
    pub peak_bytes: u64,
}

/// Everything that descends from this process.
pub fn of_servers() -> Option<Usage> {
    let family = family();
    if family.is_empty() {
        return None;
    }
    let ticks: u32 = family
        .values()
        .map(|stat| stat.ticks + stat.ticks_of_children)
        .sum();
    let bytes = |field| family.keys().filter_map(|id| memory(*id, field)).sum();
    Some(Usage {
        cpu: TICK * ticks,
        resident_bytes: bytes("VmRSS:"),
        peak_bytes: bytes("VmHWM:"),
    })
}

/// Lets the servers' peaks begin anew, with what is resident now.
pub fn forget_peaks() {
    for id in family().keys() {
        // proc(5): 5 resets the peak. Where that is not allowed, peaks are
        // those since the server's start, which is never too little.
        let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
    }
}

/// The descendants of this process.
fn family() -> BTreeMap<u32, Stat> {
    let mut stats: BTreeMap<u32, Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        // One that has ended meanwhile is none.
        .filter_map(|id: u32| Some((id, Stat::read(&id.to_string())?)))
        .collect();
    let mut family = BTreeSet::from([std::process::id()]);
    loop {
        let before = family.len();
        for (id, stat) in &stats {
            if family.contains(&stat.parent) {
                family.insert(*id);
            }
        }
        if family.len() == before {
            break;
        }
    }
    family.remove(&std::process::id());
    stats.retain(|id, _| family.contains(id));
    stats
}

/// The time that this process, the generator, has used.
pub fn of_generator() -> Option<Duration> {
    Some(TICK * Stat::read("self")?.ticks)
}

/// The time that the machine's cores were not idle, or were taken from it by
/// its own host.
pub fn of_machine() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u32> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    // proc(5): idle and iowait are not work, and guests count in user and nice.
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields.as_slice() else {
        return None;
    };
    Some(TICK * (user + nice + system + irq + softirq + steal))
}

struct Stat {
    parent: u32,
    ticks: u32,
    /// Of children that have ended and were waited for.
    ticks_of_children: u32,
}

impl Stat {
    fn read(process: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name before may hold spaces and parentheses.
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        // proc(5) counts from 1, and the state, here the first, is its 3rd.
        let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
        Some(Self {
            parent: field(4)?,
            ticks: field(14)? + field(15)?,
            ticks_of_children: field(16)? + field(17)?,
        })
    }
}

/// A field of a process's status that counts memory, in bytes.
fn memory(id: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}
