//! File descriptors: every client is one, here and in the server.

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open beside clients: the server's pipes, files that are read.
const OTHERS: u64 = 100;

/// Allows as many as may be allowed. Servers inherit it, so before the first.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where the system refuses, scenarios with few clients run all the same,
    // and the others say what they lack.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Makes sure that so many clients can be open at once.
///
/// # Errors
/// When they cannot.
pub fn ensure_clients(clients: u64) -> Result<()> {
    let due = clients + OTHERS;
    // No limit is none that is too low.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        due <= limit,
        "{clients} clients need {due} file descriptors, and the hard limit (`ulimit -Hn`) is {limit}"
    );
    Ok(())
}
