//! Thousands of stores that are connected and that nobody uses.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::{StreamExt, stream};

use super::{CONNECTING_MAX, Target};
use crate::client::{Buffer, Client};
use crate::meter::{Done, Latencies, Measured, Meter, float, kibibytes_each, mebibytes};
use crate::servers::ROOM_IDLE;

/// Stores, with a client each.
pub const STORES: u64 = 10_000;

/// How many of them wake.
const WAKING: u64 = 100;

/// How long stores are opened. Those that are open then are what is measured.
const OPEN_TIME_MAX: Duration = Duration::from_secs(45);

/// How much later than it may a room gives its memory back.
const REST_TIME: Duration = Duration::from_secs(5);

/// Opens stores, leaves them alone until their rooms sleep, and wakes some.
pub async fn run(target: &Target<'_>, name: &str) -> Result<Measured> {
    let started = Instant::now();
    let mut clients = Vec::new();
    let mut opening = stream::iter(0..STORES)
        .take_while(|_| std::future::ready(started.elapsed() < OPEN_TIME_MAX))
        .map(|number| {
            let store = format!("{name}-{number}");
            async move { Client::open_live(target.address, &store, Buffer::Small).await }
        })
        .buffer_unordered(CONNECTING_MAX);
    let mut refusal = None;
    while let Some(client) = opening.next().await {
        match client {
            Ok(client) => clients.push(client),
            Err(error) if clients.is_empty() => return Err(error),
            // What it holds then can be measured all the same.
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
    }
    drop(opening);
    let opened = started.elapsed();
    let count = u64::try_from(clients.len())?;
    let awake = target.gauge.resident_bytes();
    tokio::time::sleep(ROOM_IDLE + REST_TIME).await;
    let asleep = target.gauge.resident_bytes();

    let mut latencies = Latencies::new("from a push to a sleeping store sent to its success read")?;
    let mut again = Latencies::new("of the next push to the same store")?;
    let meter = Meter::start(target.gauge);
    let mut elapsed = Duration::ZERO;
    let mut woken = 0;
    let every = (clients.len() / usize::try_from(WAKING)?).max(1);
    for client in clients.iter_mut().step_by(every) {
        let latency = client.push(1).await?;
        elapsed += latency;
        latencies.record(latency)?;
        again.record(client.push(1).await?)?;
        woken += 1;
    }
    let mut measured = meter.finish(Done {
        operations: woken,
        operation: "wakings",
        elapsed,
        latencies,
        is_cut_short: count < STORES,
    })?;
    if let Some(error) = refusal {
        let remark = format!("with {count} stores open there was no other: {error:#}");
        measured.remarks.push(remark);
    } else if count < STORES {
        let remark = format!("{count} of {STORES} stores could be opened in {OPEN_TIME_MAX:?}");
        measured.remarks.push(remark);
    }
    measured.more_latencies.push(again);
    measured.figure("stores open", float(count), "");
    let rate = float(count) / opened.as_secs_f64();
    measured.figure("opened, 64 at once", rate, "stores/s");
    if let Some(idle) = target.gauge.idle_bytes()
        && let Some((awake, asleep)) = awake.zip(asleep)
    {
        measured.figure("memory without clients", mebibytes(idle), "MiB");
        measured.figure("when all are connected", mebibytes(awake), "MiB");
        measured.figure("when all sleep", mebibytes(asleep), "MiB");
        let each = kibibytes_each(idle, awake, count);
        measured.figure("for each when all are connected", each, "KiB");
        let each = kibibytes_each(idle, asleep, count);
        measured.figure("for each when all sleep", each, "KiB");
    }
    Ok(measured)
}
