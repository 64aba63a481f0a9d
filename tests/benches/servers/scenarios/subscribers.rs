//! Many live subscribers of one store, some of which may never read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::LocalSet;

use super::{CONNECTING_MAX, FAN_OUT_PUSHES, TIME_MAX, Target};
use crate::client::{Buffer, Client, Received};
use crate::meter::{Done, Latencies, Measured, Meter, kibibytes_each, mebibytes};

/// Pushes before those that count.
const WARM_UP_PUSHES: u64 = 50;

/// How long they go on where each takes long.
const WARM_UP_TIME_MAX: Duration = Duration::from_secs(5);

/// How long deliveries may lag behind the last push.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// What deaf subscribers are sent before it is measured what the others get:
/// more than Syncline's window of 1,000,000 bytes, and than a socket that
/// nobody reads holds in the kernel.
const FLOOD_PUSHES: u64 = 96;
const FLOOD_EVENT_BYTES: usize = 16 * 1024;
const FLOOD_TIME_MAX: Duration = Duration::from_secs(10);

/// Who subscribes.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    reading: u64,
    /// Of those who read, so many are clients of LiveStore's main branch.
    next: u64,
    /// Connected, with a pull sent, and never reading.
    deaf: u64,
}

impl Crowd {
    pub const SMALL: Self = Self {
        reading: 100,
        next: 0,
        deaf: 0,
    };
    pub const MIXED: Self = Self {
        next: 50,
        ..Self::SMALL
    };
    pub const LARGE: Self = Self {
        reading: 1_000,
        next: 0,
        deaf: 0,
    };
    pub const PARTLY_DEAF: Self = Self {
        reading: 900,
        next: 0,
        deaf: 100,
    };

    /// With the writer.
    pub fn clients(self) -> u64 {
        self.reading + self.deaf + 1
    }
}

/// What subscribers of a store find out.
pub struct Deliveries {
    /// When each event's push was sent, from the log's first.
    sent: RefCell<Vec<Instant>>,
    latencies: Rc<RefCell<Latencies>>,
    /// Latencies count after this event.
    unmeasured: Cell<u64>,
    /// Of all events, the unmeasured too.
    count: Cell<u64>,
    /// When the latest was read.
    latest: Cell<Instant>,
    failure: RefCell<Option<anyhow::Error>>,
}

impl Deliveries {
    /// None yet; nothing is measured before [`measure`](Self::measure).
    pub fn new(latencies: Rc<RefCell<Latencies>>) -> Self {
        Self {
            sent: RefCell::default(),
            latencies,
            unmeasured: Cell::new(u64::MAX),
            count: Cell::new(0),
            latest: Cell::new(Instant::now()),
            failure: RefCell::default(),
        }
    }

    /// Latencies of deliveries, none yet.
    pub fn latencies() -> Result<Rc<RefCell<Latencies>>> {
        let latencies = Latencies::new("from a push sent to a delivery of it read")?;
        Ok(Rc::new(RefCell::new(latencies)))
    }

    /// Reads what a subscriber is sent, without end, in a task.
    pub fn spawn_subscriber(self: &Rc<Self>, tasks: &LocalSet, subscriber: Client) {
        let deliveries = Rc::clone(self);
        tasks.spawn_local(async move {
            if let Err(error) = deliveries.read(subscriber).await {
                deliveries.failure.borrow_mut().get_or_insert(error);
            }
        });
    }

    async fn read(&self, mut subscriber: Client) -> Result<()> {
        loop {
            match subscriber.receive().await? {
                Received::Chunk {
                    after, up_to, at, ..
                } => {
                    for number in after..up_to {
                        let sent = usize::try_from(number)
                            .ok()
                            .and_then(|index| self.sent.borrow().get(index).copied())
                            .context("an event was delivered that nobody pushed")?;
                        if number >= self.unmeasured.get() {
                            self.latencies.borrow_mut().record(at - sent)?;
                        }
                    }
                    self.count.set(self.count.get() + (up_to - after));
                    self.latest.set(at);
                }
                Received::Success(id) => bail!("a live pull has ended: {id}"),
            }
        }
    }

    /// Pushes one event; how long it took.
    pub async fn push(&self, writer: &mut Client) -> Result<Duration> {
        let (id, sent) = writer.send_push(1).await?;
        // In time: the subscribers run on this thread, so not before here.
        self.sent.borrow_mut().push(sent);
        writer.wait_for_success(id).await?;
        self.check()?;
        Ok(sent.elapsed())
    }

    /// Measures what is pushed from now on.
    pub fn measure(&self) {
        self.unmeasured.set(self.pushed());
    }

    /// How many events were pushed.
    pub fn pushed(&self) -> u64 {
        u64::try_from(self.sent.borrow().len()).unwrap_or(u64::MAX)
    }

    /// How many were delivered.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// When the latest delivery was read.
    pub fn latest(&self) -> Instant {
        self.latest.get()
    }

    /// Waits until all that was pushed has come to everyone; whether it has
    /// in time.
    pub async fn drain(&self, subscribers: u64) -> Result<bool> {
        let deadline = Instant::now() + DRAIN_TIME_MAX;
        while self.count.get() < self.pushed() * subscribers {
            self.check()?;
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(true)
    }

    fn check(&self) -> Result<()> {
        match self.failure.borrow_mut().take() {
            Some(error) => Err(error.context("a subscriber")),
            None => Ok(()),
        }
    }
}

/// Pushes of one event to a store with many subscribers. The writer is one
/// client more, whose own deliveries do not count.
pub async fn run(target: &Target<'_>, store: &str, crowd: Crowd) -> Result<Measured> {
    let deliveries = Rc::new(Deliveries::new(Deliveries::latencies()?));
    // Dropped with its tasks, whatever comes.
    let tasks = LocalSet::new();
    let reading: Vec<Client> = stream::iter(0..crowd.reading)
        .map(|number| async move {
            let client = Client::open(target.address, store, Buffer::Small).await?;
            client.of_next(number < crowd.next).live().await
        })
        .buffer_unordered(CONNECTING_MAX)
        .try_collect()
        .await?;
    for subscriber in reading {
        deliveries.spawn_subscriber(&tasks, subscriber);
    }
    let deaf: Vec<Client> = stream::iter(0..crowd.deaf)
        .map(|_| async {
            let mut client = Client::open(target.address, store, Buffer::Small).await?;
            client.start_pull().await?;
            Ok::<_, anyhow::Error>(client)
        })
        .buffer_unordered(CONNECTING_MAX)
        .try_collect()
        .await?;
    tasks
        .run_until(push_to_crowd(target, store, crowd, deaf, &deliveries))
        .await
}

async fn push_to_crowd(
    target: &Target<'_>,
    store: &str,
    crowd: Crowd,
    mut deaf: Vec<Client>,
    deliveries: &Deliveries,
) -> Result<Measured> {
    let mut writer = Client::open_live(target.address, store, Buffer::Small).await?;
    let started = Instant::now();
    for _ in 0..WARM_UP_PUSHES {
        deliveries.push(&mut writer).await?;
        if started.elapsed() > WARM_UP_TIME_MAX {
            break;
        }
    }
    ensure!(
        deliveries.drain(crowd.reading).await?,
        "the first deliveries did not come in {DRAIN_TIME_MAX:?}"
    );
    let flood = match deaf.len() {
        0 => None,
        _ => Some(flood(target, crowd, deliveries, &mut writer).await?),
    };

    deliveries.measure();
    let unmeasured = deliveries.count();
    let meter = Meter::start(target.gauge);
    let mut pushes = 0;
    while pushes < FAN_OUT_PUSHES && meter.started.elapsed() < TIME_MAX {
        deliveries.push(&mut writer).await?;
        pushes += 1;
    }
    let is_complete = deliveries.drain(crowd.reading).await?;
    let elapsed = deliveries.latest() - meter.started;
    let latencies = deliveries.latencies.borrow().clone();
    let mut measured = meter.finish(Done {
        operations: deliveries.count() - unmeasured,
        operation: "deliveries",
        elapsed,
        latencies,
        is_cut_short: !is_complete || pushes < FAN_OUT_PUSHES,
    })?;
    if let Some(idle) = target.gauge.idle_bytes()
        && let Some(after) = target.gauge.resident_bytes()
    {
        let each = kibibytes_each(idle, after, crowd.clients());
        measured.figure("memory for each client", each, "KiB");
    }
    if let Some(flood) = flood {
        flood.describe(&mut measured);
    }
    if let Some(mut waking) = deaf.pop() {
        let took = catch_up(&mut waking, writer.log_end().head).await?;
        measured.figure("a deaf subscriber reads everything", took, "ms");
        // And is live again.
        deliveries.push(&mut writer).await?;
        catch_up(&mut waking, writer.log_end().head).await?;
    }
    Ok(measured)
}

/// What the deaf cost.
struct Flood {
    bytes: u64,
    /// Resident memory of the server before it and after.
    resident: Option<(u64, u64)>,
    deaf: u64,
}

impl Flood {
    fn describe(&self, measured: &mut Measured) {
        let sent = mebibytes(self.bytes);
        measured.figure("sent to each deaf subscriber before", sent, "MiB");
        if let Some((before, after)) = self.resident {
            measured.figure("memory before that", mebibytes(before), "MiB");
            measured.figure("memory after that", mebibytes(after), "MiB");
            let each = kibibytes_each(before, after, self.deaf);
            measured.figure("for each deaf subscriber", each, "KiB");
        }
    }
}

/// Pushes more than the server may keep for those that do not read.
async fn flood(
    target: &Target<'_>,
    crowd: Crowd,
    deliveries: &Deliveries,
    writer: &mut Client,
) -> Result<Flood> {
    let before = target.gauge.resident_bytes();
    let started = Instant::now();
    writer.pad_events(FLOOD_EVENT_BYTES);
    let mut bytes = 0;
    for _ in 0..FLOOD_PUSHES {
        deliveries.push(writer).await?;
        bytes += u64::try_from(FLOOD_EVENT_BYTES)?;
        if started.elapsed() > FLOOD_TIME_MAX {
            break;
        }
    }
    writer.pad_events(0);
    ensure!(
        deliveries.drain(crowd.reading).await?,
        "large events did not come in {DRAIN_TIME_MAX:?} beside those who do not read"
    );
    Ok(Flood {
        bytes,
        resident: before.zip(target.gauge.resident_bytes()),
        deaf: crowd.deaf,
    })
}

/// Reads on as somebody who has not read for long: all of the log has to
/// come, which the client checks. How long it took, in milliseconds.
async fn catch_up(client: &mut Client, head: u64) -> Result<f64> {
    let started = Instant::now();
    while client.position() < head {
        let position = client.position();
        client.receive().await.with_context(|| {
            format!("a subscriber that was deaf, at event {position} of {head}")
        })?;
        ensure!(
            started.elapsed() < DRAIN_TIME_MAX,
            "a subscriber that was deaf has only {} of {head} events after {DRAIN_TIME_MAX:?}",
            client.position()
        );
    }
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
