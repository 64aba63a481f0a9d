//! Why an instance of the guest has to be thrown away, for the metrics.

use thiserror::Error;
use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use crate::telemetry::meters::Failure;

/// A hostile component has found an import at which the host panics.
#[derive(Debug, Error)]
#[error("the host panicked in this turn")]
pub struct HostPanicked;

/// A turn that would keep more in memory than its sockets could take.
#[derive(Debug, Error)]
#[error("it sends more than its sockets could take")]
pub struct Excessive;

/// A component that wants to wait for time or I/O of its own.
#[derive(Debug, Error)]
#[error("the guest wants to wait: a turn is straight-line code")]
pub struct Waits;

/// As what an error counts. `was_denied` says whether the instance wanted more
/// memory than it may have: what it does then is to panic.
#[must_use]
pub fn failure_of(error: &anyhow::Error, was_denied: bool) -> Failure {
    let trap = error.chain().find_map(|it| it.downcast_ref::<Trap>());
    match trap.or_else(|| error.downcast_ref::<Trap>()) {
        Some(Trap::Interrupt) => Failure::Deadline,
        _ if was_denied => Failure::Memory,
        Some(_) => Failure::Trap,
        // It did what it may not: as a trap.
        None if error.is::<Excessive>() || error.is::<I32Exit>() || error.is::<Waits>() => {
            Failure::Trap
        }
        None => Failure::Host,
    }
}
