//! Many stores at once, each with its writer and its subscribers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::{join_all, try_join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::LocalSet;

use super::subscribers::Deliveries;
use super::{CONNECTING_MAX, REPEATS_MAX, TIME_MAX, TIME_MIN, Target};
use crate::client::{Buffer, Client};
use crate::meter::{Done, Latencies, Measured, Meter, float, kibibytes_each};

const STORES: u64 = 100;
const SUBSCRIBERS: u64 = 3;

/// All that are connected at once.
pub const CLIENTS: u64 = STORES * (SUBSCRIBERS + 1);

/// Pushes that are due, of all stores together.
const PUSHES: u64 = 10_000;

/// Pushes to each store before those that count.
const WARM_UP_PUSHES: u64 = 5;

/// A store, with its writer.
struct Store {
    writer: Client,
    deliveries: Rc<Deliveries>,
}

/// Pushes of one event to many stores, in each one after another.
pub async fn run(target: &Target<'_>, name: &str) -> Result<Measured> {
    let latencies = Deliveries::latencies()?;
    // Dropped with its tasks, whatever comes.
    let tasks = LocalSet::new();
    let mut stores: Vec<Store> = stream::iter(0..STORES)
        .map(|number| open(target, &tasks, format!("{name}-{number}"), &latencies))
        .buffer_unordered(CONNECTING_MAX)
        .try_collect()
        .await?;
    tasks
        .run_until(push_to_all(target, &mut stores, &latencies))
        .await
}

async fn open(
    target: &Target<'_>,
    tasks: &LocalSet,
    name: String,
    latencies: &Rc<RefCell<Latencies>>,
) -> Result<Store> {
    let deliveries = Rc::new(Deliveries::new(Rc::clone(latencies)));
    for _ in 0..SUBSCRIBERS {
        let subscriber = Client::open_live(target.address, &name, Buffer::Small).await?;
        deliveries.spawn_subscriber(tasks, subscriber);
    }
    let writer = Client::open_live(target.address, &name, Buffer::Small).await?;
    Ok(Store { writer, deliveries })
}

async fn push_to_all(
    target: &Target<'_>,
    stores: &mut [Store],
    delivered: &RefCell<Latencies>,
) -> Result<Measured> {
    try_join_all(stores.iter_mut().map(async |store| {
        for _ in 0..WARM_UP_PUSHES {
            store.deliveries.push(&mut store.writer).await?;
        }
        let is_complete = store.deliveries.drain(SUBSCRIBERS).await?;
        ensure!(is_complete, "the first deliveries did not come");
        store.deliveries.measure();
        Ok(())
    }))
    .await?;

    let mut latencies = RefCell::new(Latencies::new("from a push sent to its success read")?);
    let pushes = Cell::new(0);
    let meter = Meter::start(target.gauge);
    let is_due = |elapsed: Duration| {
        elapsed < TIME_MAX
            && (pushes.get() < PUSHES
                || (elapsed < TIME_MIN && pushes.get() < PUSHES * REPEATS_MAX))
    };
    try_join_all(stores.iter_mut().map(async |store| {
        while is_due(meter.started.elapsed()) {
            let latency = store.deliveries.push(&mut store.writer).await?;
            latencies.borrow_mut().record(latency)?;
            pushes.set(pushes.get() + 1);
        }
        Ok::<_, anyhow::Error>(())
    }))
    .await?;
    let elapsed = meter.started.elapsed();
    let drained = join_all(stores.iter().map(|it| it.deliveries.drain(SUBSCRIBERS))).await;
    let drained: Result<Vec<bool>> = drained.into_iter().collect();
    let is_complete = drained?.iter().all(|it| *it);

    let deliveries = delivered.borrow().clone();
    let count = deliveries.histogram.len();
    let latest = stores.iter().map(|it| it.deliveries.latest()).max();
    let delivering = latest.unwrap_or_else(Instant::now) - meter.started;
    let mut measured = meter.finish(Done {
        operations: pushes.get(),
        operation: "pushes",
        elapsed,
        latencies: latencies.get_mut().clone(),
        is_cut_short: !is_complete || pushes.get() < PUSHES,
    })?;
    measured.more_latencies.push(deliveries);
    measured.figure("deliveries, each checked", float(count), "");
    let rate = float(count) / delivering.as_secs_f64();
    measured.figure("deliveries", rate, "per second");
    if let Some(memory) = measured.memory {
        let each = kibibytes_each(memory.idle, memory.after, STORES);
        measured.figure("memory for each active store with 4 clients", each, "KiB");
    }
    Ok(measured)
}
