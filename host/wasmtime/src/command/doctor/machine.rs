//! Whether the machine has what the limits promise: files, memory mappings,
//! memory, the address to listen on.

use super::report::Report;
use super::storage::is_served;
use crate::command::serve::Serve;
use crate::net::listen::{ListenError, Listeners};
use crate::net::places::OTHERS_MAX;
use crate::process::{machine, memory};
use crate::storage::Location;

const CHECK: &str = "machine";

/// What a room that is awake takes at least, in bytes.
const ROOM_BYTES: u64 = 120 * 1024;

/// What the program takes beside, in bytes.
const REST_BYTES: u64 = 128 * 1024 * 1024;

/// Looks at each.
pub fn check(serve: &Serve, report: &mut Report) {
    let limits = &serve.limits;
    match machine::files_short(limits.connections_max.saturating_add(OTHERS_MAX)) {
        None => report.ok(
            CHECK,
            format!(
                "as many files may be open as {} sockets need",
                limits.connections_max
            ),
        ),
        Some(shortage) => report.warn(CHECK, shortage.words, ""),
    }
    match machine::rooms_short(limits.rooms_awake_max) {
        None => report.ok(
            CHECK,
            format!("{} rooms may be awake", limits.rooms_awake_max),
        ),
        Some(shortage) => report.warn(CHECK, shortage.words, ""),
    }
    memory(serve, report);
    listening(serve, report);
}

fn memory(serve: &Serve, report: &mut Report) {
    let Some(limit) = memory::limit() else {
        return;
    };
    let wide = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let limits = &serve.limits;
    let parts = [
        // Messages, and as much again for bodies.
        wide(limits.input_bytes_max).saturating_mul(2),
        wide(limits.output_bytes_max),
        wide(limits.rooms_awake_max).saturating_mul(ROOM_BYTES),
        REST_BYTES,
    ];
    let needed = parts.into_iter().fold(0, u64::saturating_add);
    let (what, raise) = if limit.is_group {
        (
            "the control group allows",
            "raise the group's limit (`MemoryMax=`, the container's memory)",
        )
    } else {
        ("the machine has", "use a larger machine")
    };
    let (needed_mib, has_mib) = (mib(needed), mib(limit.bytes));
    if needed > limit.bytes {
        report.warn(
            CHECK,
            format!(
                "{what} {has_mib} MiB of memory; with everything full the limits come to {needed_mib} MiB, and the system would end the server"
            ),
            format!(
                "Lower --input-bytes-max, --output-bytes-max or --rooms-awake-max, or {raise}"
            ),
        );
    } else {
        report.ok(
            CHECK,
            format!(
                "{what} {has_mib} MiB of memory; the limits come to {needed_mib} MiB at the most"
            ),
        );
    }
}

pub(super) fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

/// Whether the address is free. It is taken for a moment, and nobody is
/// accepted.
fn listening(serve: &Serve, report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let bound = match runtime {
        Ok(runtime) => runtime.block_on(Listeners::bind(&serve.listen)),
        Err(error) => {
            report.fail(CHECK, format!("no event loop can be made: {error}"), "");
            return;
        }
    };
    let is_served = match &serve.storage {
        Location::Sqlite(dir) => is_served(dir),
        Location::Memory => false,
    };
    match bound {
        Ok(listeners) => report.ok(CHECK, format!("{listeners} can be listened on")),
        Err(ListenError::InUse(address)) if is_served => report.ok(
            CHECK,
            format!("{address} is in use, as a server runs on this storage"),
        ),
        Err(error) => report.fail(CHECK, error.to_string(), ""),
    }
}
