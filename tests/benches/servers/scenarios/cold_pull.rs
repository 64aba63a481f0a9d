//! Pulls of a whole log by clients that have none of it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use tokio::time::timeout_at;

use super::{REPEATS_MAX, TIME_MAX, TIME_MIN, Target};
use crate::client::{Address, Buffer, Client, LogEnd};
use crate::meter::{Done, Latencies, Measured, Meter, float, mebibytes};

/// Events in a push that fills a log: as many as real clients send at once.
const FILL_BATCH: u64 = 100;

/// Pushes that are on their way while a log is filled.
const FILL_IN_FLIGHT: u64 = 8;

/// How long a log is filled. What is there then is what is pulled.
const FILL_TIME_MAX: Duration = Duration::from_secs(30);

/// How many clients pull at once.
pub const READERS: u64 = 10;

/// How long they may take for a log that could be filled.
const AT_ONCE_TIME_MAX: Duration = Duration::from_secs(45);

/// A log that was filled.
struct Filled {
    end: LogEnd,
    took: Duration,
}

impl Filled {
    fn describe(&self, due: u64, measured: &mut Measured) {
        let head = self.end.head;
        if head < due {
            let remark = format!("{head} of {due} events could be filled in {FILL_TIME_MAX:?}");
            measured.remarks.push(remark);
        }
        let rate = float(head) / self.took.as_secs_f64();
        measured.figure("events in the log", float(head), "");
        measured.figure("filled by pushes of 100, 8 on their way", rate, "events/s");
    }
}

/// Fills a log, or as much of it as there is time for.
async fn fill(address: &Address, store: &str, events: u64) -> Result<Filled> {
    let opener = Client::open_live(address, store, Buffer::Small).await?;
    let mut end = opener.log_end();
    opener.close().await;
    // Without a pull: what it pushes would come back to it.
    let mut writer = Client::open(address, store, Buffer::Small).await?;
    writer.resume(&end);
    let started = Instant::now();
    let mut in_flight = 0;
    loop {
        while in_flight < FILL_IN_FLIGHT
            && writer.log_end().head < events
            && started.elapsed() < FILL_TIME_MAX
        {
            writer.send_push(FILL_BATCH).await?;
            in_flight += 1;
        }
        if in_flight == 0 {
            break;
        }
        writer.receive().await?;
        in_flight -= 1;
    }
    let took = started.elapsed();
    end.head = writer.log_end().head;
    writer.close().await;
    ensure!(end.head > 0, "nothing could be pushed");
    Ok(Filled { end, took })
}

/// Pulls by new clients, one after another, of a log that is there.
pub async fn run(target: &Target<'_>, store: &str, events: u64) -> Result<Measured> {
    let filled = fill(target.address, store, events).await?;
    let log = filled.end.head;
    let mut latencies = Latencies::new("from a pull sent to its last event read")?;
    let mut elapsed = Duration::ZERO;
    let mut pulled = 0;
    let mut pulls = 0;
    let meter = Meter::start(target.gauge);
    while elapsed < TIME_MIN && pulls < REPEATS_MAX {
        let mut reader = Client::open(target.address, store, Buffer::Large).await?;
        let started = Instant::now();
        reader.start_pull().await?;
        while reader.position() < log && meter.started.elapsed() < TIME_MAX {
            reader.receive().await?;
        }
        // Only pulls count, and not the connecting between them.
        elapsed += started.elapsed();
        pulled += reader.position();
        if reader.position() == log {
            latencies.record(started.elapsed())?;
        }
        pulls += 1;
        reader.close().await;
    }
    let is_cut_short = log < events || latencies.histogram.len() < pulls;
    let mut measured = meter.finish(Done {
        operations: pulled,
        operation: "events",
        elapsed,
        latencies,
        is_cut_short,
    })?;
    filled.describe(events, &mut measured);
    describe_growth(&mut measured);
    Ok(measured)
}

/// Pulls by several new clients at once, while somebody pushes.
pub async fn run_at_once(target: &Target<'_>, store: &str, events: u64) -> Result<Measured> {
    let filled = fill(target.address, store, events).await?;
    let log = filled.end.head;
    let time_max = if log < events {
        TIME_MAX
    } else {
        AT_ONCE_TIME_MAX
    };
    let mut writer = Client::open(target.address, store, Buffer::Small).await?;
    writer.resume(&filled.end);
    writer.pull_to_end().await?;

    let meter = Meter::start(target.gauge);
    let deadline = meter.started + time_max;
    let readers = (0..READERS).map(|_| async {
        let mut reader = Client::open(target.address, store, Buffer::Large).await?;
        let started = Instant::now();
        reader.start_pull().await?;
        // One that is left to starve has what it got until then.
        while reader.position() < log
            && let Ok(received) = timeout_at(deadline.into(), reader.receive()).await
        {
            received?;
        }
        let position = reader.position();
        let took = (position >= log).then(|| started.elapsed());
        reader.close().await;
        Ok::<_, anyhow::Error>((position, took))
    });
    let mut pushes = Latencies::new("of pushes of one event meanwhile, from sent to success read")?;
    let pushed = Cell::new(Instant::now());
    let pushing = async {
        loop {
            pushed.set(Instant::now());
            let latency = writer.push(1).await.context("the writer")?;
            pushes.record(latency)?;
        }
    };
    let pulls: Vec<(u64, Option<Duration>)> = tokio::select! {
        pulls = try_join_all(readers) => pulls.context("a reader")?,
        error = pushing => return error,
    };
    let elapsed = meter.started.elapsed();
    let done = pushes.histogram.len();
    // The push under way takes at least that: without it a writer that is
    // left to starve would look well.
    pushes.record(pushed.get().elapsed())?;

    let mut latencies = Latencies::new("from a pull sent to the log's last event read")?;
    for (_, took) in &pulls {
        if let Some(took) = took {
            latencies.record(*took)?;
        }
    }
    let mut measured = meter.finish(Done {
        operations: pulls.iter().map(|(position, _)| position).sum(),
        operation: "events",
        elapsed,
        latencies,
        is_cut_short: log < events || pulls.iter().any(|(_, took)| took.is_none()),
    })?;
    filled.describe(events, &mut measured);
    describe_growth(&mut measured);
    let positions = || pulls.iter().map(|(position, _)| *position);
    let (least, most) = (positions().min(), positions().max());
    measured.figure(
        "events that the slowest of ten got",
        float(least.unwrap_or(0)),
        "",
    );
    measured.figure("events that the fastest got", float(most.unwrap_or(0)), "");
    let rate = float(done) / elapsed.as_secs_f64();
    measured.figure("pushes of one event meanwhile", rate, "pushes/s");
    measured.more_latencies.push(pushes);
    writer.close().await;
    Ok(measured)
}

fn describe_growth(measured: &mut Measured) {
    if let Some(memory) = measured.memory {
        let growth = mebibytes(memory.peak.saturating_sub(memory.before));
        measured.figure("memory that the pulls took at most", growth, "MiB");
    }
}
