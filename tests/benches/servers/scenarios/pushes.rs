//! Pushes of one client, one after another.

use std::time::Duration;

use anyhow::Result;

use super::{REPEATS_MAX, TIME_MAX, TIME_MIN, Target};
use crate::client::{Buffer, Client};
use crate::meter::{Done, Latencies, Measured, Meter, mebibytes};

/// Pushes before those that count: JavaScript is compiled when it is warm.
const WARM_UP_PUSHES: u64 = 50;

/// At least `due` pushes, each after the success of the one before.
pub async fn run(target: &Target<'_>, store: &str, events: u64, due: u64) -> Result<Measured> {
    let buffer = if events == 1 {
        Buffer::Small
    } else {
        Buffer::Large
    };
    let mut client = Client::open_live(target.address, store, buffer).await?;
    for _ in 0..WARM_UP_PUSHES {
        client.push(events).await?;
    }
    let mut latencies = Latencies::new("from a push sent to its success read")?;
    let mut done = 0;
    let meter = Meter::start(target.gauge);
    let mut elapsed = Duration::ZERO;
    while elapsed < TIME_MAX && (done < due || (elapsed < TIME_MIN && done < due * REPEATS_MAX)) {
        latencies.record(client.push(events).await?)?;
        done += 1;
        elapsed = meter.started.elapsed();
    }
    let mut measured = meter.finish(Done {
        operations: done * events,
        operation: if events == 1 { "pushes" } else { "events" },
        elapsed,
        latencies,
        is_cut_short: done < due,
    })?;
    if events == 1
        && let Some(memory) = measured.memory
    {
        measured.figure("memory without clients", mebibytes(memory.idle), "MiB");
        measured.figure("with this one store", mebibytes(memory.after), "MiB");
    }
    client.close().await;
    Ok(measured)
}
