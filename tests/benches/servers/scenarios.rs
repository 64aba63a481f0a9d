//! What is measured. Every scenario has a store of its own, ends by count,
//! and on a server too slow for that by time: then what was done counts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use syncline_tests::rpc::new_store;
use tokio::task::LocalSet;

use crate::client::{Address, Client, Received};
use crate::usage::{self, Usage};

/// How long a scenario may measure.
const TIME_MAX: Duration = Duration::from_secs(20);

/// How long it goes on where the server is fast: `/proc` counts in hundredths
/// of a second, so less would say little about the server's time.
const TIME_MIN: Duration = Duration::from_secs(3);

/// Fast servers do at most so many times what is due in [`TIME_MIN`]: logs
/// stay of comparable length.
const REPEATS_MAX: u64 = 10;

/// Pushes before those that count: JavaScript is compiled when it is warm.
const WARM_UP_PUSHES: u64 = 50;

/// What can be measured. clap refuses every other name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Pushes of one event, one after another.
    Single,
    /// Pushes of 10 events, one after another.
    #[value(name = "batch-10")]
    Batch10,
    /// Pushes of 25 events, one after another.
    #[value(name = "batch-25")]
    Batch25,
    /// Pushes of 100 events, one after another.
    #[value(name = "batch-100")]
    Batch100,
    /// A new client pulls a log of 20,000 events.
    ColdPull,
    /// 100 live subscribers see 500 pushes of one event.
    FanOut,
}

const COLD_PULL_EVENTS: u64 = 20_000;
const FILL_BATCH: u64 = 100;
const FILL_TIME_MAX: Duration = Duration::from_secs(60);

const SUBSCRIBERS: u64 = 100;
const FAN_OUT_PUSHES: u64 = 500;
/// How long deliveries may lag behind the last push.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// What was measured.
pub struct Measured {
    /// How many operations were done, and in what time.
    pub operations: u64,
    /// The time they took.
    pub elapsed: Duration,
    /// How long each took, in nanoseconds.
    pub latencies: Histogram<u64>,
    /// The server's time meanwhile and its memory afterwards, where it is
    /// ours to look at.
    pub server: Option<Usage>,
    /// The generator's own time: near to `elapsed`, it was the limit.
    pub generator: Option<Duration>,
    /// What everyone else on the machine used meanwhile: much of it, and the
    /// times say little.
    pub others: Option<Duration>,
    /// Whether time ran out before everything was done.
    pub is_cut_short: bool,
}

impl Scenario {
    /// Its name on the command line and in reports.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// What an operation is.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Single => "pushes",
            Self::Batch10 | Self::Batch25 | Self::Batch100 | Self::ColdPull => "events",
            Self::FanOut => "deliveries",
        }
    }

    /// What its latencies are of.
    pub fn latency(self) -> &'static str {
        match self {
            Self::Single | Self::Batch10 | Self::Batch25 | Self::Batch100 => {
                "from a push sent to its success read"
            }
            Self::ColdPull => "from a pull sent to its last event read",
            Self::FanOut => "from a push sent to a delivery of it read",
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the server does something wrong.
    pub async fn run(self, address: &Address, is_ours: bool) -> Result<Measured> {
        let store = new_store(&format!("bench-{}", self.name()));
        match self {
            Self::Single => pushes(address, &store, is_ours, 1, 2_000).await,
            Self::Batch10 => pushes(address, &store, is_ours, 10, 500).await,
            Self::Batch25 => pushes(address, &store, is_ours, 25, 300).await,
            Self::Batch100 => pushes(address, &store, is_ours, 100, 150).await,
            Self::ColdPull => cold_pull(address, &store, is_ours).await,
            Self::FanOut => fan_out(address, &store, is_ours).await,
        }
    }
}

/// Takes the time of what runs between its start and its finish.
struct Meter {
    is_ours: bool,
    server: Option<Usage>,
    generator: Option<Duration>,
    machine: Option<Duration>,
    started: Instant,
}

impl Meter {
    fn start(is_ours: bool) -> Self {
        Self {
            is_ours,
            machine: usage::of_machine(),
            server: is_ours.then(usage::of_servers).flatten(),
            generator: usage::of_generator(),
            // Last: reading /proc takes time.
            started: Instant::now(),
        }
    }

    fn finish(
        self,
        operations: u64,
        elapsed: Duration,
        latencies: Histogram<u64>,
        is_cut_short: bool,
    ) -> Result<Measured> {
        let since = |before: Option<Duration>, after: Option<Duration>| {
            Some(after?.saturating_sub(before?))
        };
        let generator = since(self.generator, usage::of_generator());
        let after = self.is_ours.then(usage::of_servers).flatten();
        let cpu = since(self.server.map(|it| it.cpu), after.map(|it| it.cpu));
        let machine = since(self.machine, usage::of_machine());
        ensure!(operations > 0, "nothing was done in time");
        Ok(Measured {
            operations,
            elapsed,
            latencies,
            server: after.zip(cpu).map(|(after, cpu)| Usage { cpu, ..after }),
            generator,
            others: since(generator, since(cpu, machine)),
            is_cut_short,
        })
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new(3)?)
}

fn record(latencies: &mut Histogram<u64>, latency: Duration) -> Result<()> {
    Ok(latencies.record(u64::try_from(latency.as_nanos())?)?)
}

/// At least `due` pushes, each after the success of the one before.
async fn pushes(
    address: &Address,
    store: &str,
    is_ours: bool,
    events: u64,
    due: u64,
) -> Result<Measured> {
    let mut client = Client::open_live(address, store).await?;
    for _ in 0..WARM_UP_PUSHES {
        client.push(events).await?;
    }
    let mut latencies = histogram()?;
    let mut done = 0;
    let meter = Meter::start(is_ours);
    let mut elapsed = Duration::ZERO;
    while elapsed < TIME_MAX && (done < due || (elapsed < TIME_MIN && done < due * REPEATS_MAX)) {
        let latency = client.push(events).await?;
        record(&mut latencies, latency)?;
        done += 1;
        elapsed = meter.started.elapsed();
    }
    let measured = meter.finish(done * events, elapsed, latencies, done < due)?;
    client.close().await;
    Ok(measured)
}

/// Pulls by new clients, one after another, of a log that is there.
async fn cold_pull(address: &Address, store: &str, is_ours: bool) -> Result<Measured> {
    let mut writer = Client::open_live(address, store).await?;
    let filling = Instant::now();
    let mut log = 0;
    while log < COLD_PULL_EVENTS && filling.elapsed() < FILL_TIME_MAX {
        writer.push(FILL_BATCH).await?;
        log += FILL_BATCH;
    }
    writer.close().await;

    let mut latencies = histogram()?;
    let mut elapsed = Duration::ZERO;
    let mut events = 0;
    let mut pulls = 0;
    let meter = Meter::start(is_ours);
    while elapsed < TIME_MIN && pulls < REPEATS_MAX {
        let mut reader = Client::open(address, store).await?;
        let started = Instant::now();
        reader.start_pull().await?;
        let mut position = 0;
        while position < log && meter.started.elapsed() < TIME_MAX {
            if let Received::Chunk { up_to, .. } = reader.receive().await? {
                position = up_to;
            }
        }
        // Only pulls count, and not the connecting between them.
        elapsed += started.elapsed();
        events += position;
        if position == log {
            record(&mut latencies, started.elapsed())?;
        }
        pulls += 1;
        reader.close().await;
    }
    let is_cut_short = log < COLD_PULL_EVENTS || latencies.len() < pulls;
    meter.finish(events, elapsed, latencies, is_cut_short)
}

/// What subscribers find out.
struct Deliveries {
    /// When each event's push was sent, from the log's first.
    sent: RefCell<Vec<Instant>>,
    latencies: RefCell<Histogram<u64>>,
    /// Of all events, the warm-up's too.
    count: Cell<u64>,
    /// When the latest was read.
    latest: Cell<Instant>,
    failure: RefCell<Option<anyhow::Error>>,
}

impl Deliveries {
    /// Reads what a subscriber is sent, without end.
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
                        if number >= WARM_UP_PUSHES {
                            record(&mut self.latencies.borrow_mut(), at - sent)?;
                        }
                    }
                    self.count.set(self.count.get() + (up_to - after));
                    self.latest.set(at);
                }
                Received::Success(id) => bail!("a live pull has ended: {id}"),
            }
        }
    }

    /// Waits until `pushes` have come to everyone; whether they have in time.
    async fn drain(&self, pushes: u64) -> Result<bool> {
        let deadline = Instant::now() + DRAIN_TIME_MAX;
        while self.count.get() < pushes * SUBSCRIBERS {
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
async fn fan_out(address: &Address, store: &str, is_ours: bool) -> Result<Measured> {
    let deliveries = Rc::new(Deliveries {
        sent: RefCell::default(),
        latencies: RefCell::new(histogram()?),
        count: Cell::new(0),
        latest: Cell::new(Instant::now()),
        failure: RefCell::default(),
    });
    // Dropped with its tasks, whatever comes.
    let tasks = LocalSet::new();
    for _ in 0..SUBSCRIBERS {
        let subscriber = Client::open_live(address, store).await?;
        let deliveries = Rc::clone(&deliveries);
        tasks.spawn_local(async move {
            if let Err(error) = deliveries.read(subscriber).await {
                deliveries.failure.borrow_mut().get_or_insert(error);
            }
        });
    }
    tasks
        .run_until(push_to_subscribers(address, store, is_ours, &deliveries))
        .await
}

async fn push_to_subscribers(
    address: &Address,
    store: &str,
    is_ours: bool,
    deliveries: &Deliveries,
) -> Result<Measured> {
    let mut writer = Client::open_live(address, store).await?;
    let push = async |writer: &mut Client| {
        let (id, sent) = writer.send_push(1).await?;
        // In time: the subscribers run on this thread, so not before here.
        deliveries.sent.borrow_mut().push(sent);
        writer.wait_for_success(id).await?;
        deliveries.check()
    };
    for _ in 0..WARM_UP_PUSHES {
        push(&mut writer).await?;
    }
    ensure!(
        deliveries.drain(WARM_UP_PUSHES).await?,
        "the first deliveries did not come in {DRAIN_TIME_MAX:?}"
    );

    let meter = Meter::start(is_ours);
    let mut pushes = 0;
    while pushes < FAN_OUT_PUSHES && meter.started.elapsed() < TIME_MAX {
        push(&mut writer).await?;
        pushes += 1;
    }
    let is_complete = deliveries.drain(WARM_UP_PUSHES + pushes).await?;
    let elapsed = deliveries.latest.get() - meter.started;
    let count = deliveries.count.get() - WARM_UP_PUSHES * SUBSCRIBERS;
    let latencies = deliveries.latencies.borrow().clone();
    let is_cut_short = !is_complete || pushes < FAN_OUT_PUSHES;
    meter.finish(count, elapsed, latencies, is_cut_short)
}
