//! What no server can be faster than here, done with the libraries that
//! Syncline uses and with nothing else; what a server takes more is its own.
//! For single pushes: a commit of one row that is on the disk, a message
//! there and back, and one after the other. For fan-out: a process that
//! sends everyone what it gets, without ids, order or acknowledgements.

mod commit;
mod peer;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::task::LocalSet;
use tokio_tungstenite::tungstenite::Message;

use crate::meter::{Done, Gauge, Latencies, Measured, Meter, Whose};
use crate::scenarios::{FAN_OUT_PUSHES, Scenario, TIME_MIN};
pub use peer::Peer;
use peer::{Running, Socket};

/// Before those that count.
const WARM_UP: u64 = 50;

/// As long as a frame with a push of one event.
const MESSAGE_BYTES: usize = 530;

/// How long deliveries may lag behind the last message.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// What is measured beside the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// A row, committed to the disk.
    Commit,
    /// A WebSocket message to another process and back.
    Echo,
    /// The same, with the commit between.
    CommitAndEcho,
    /// Messages to another process, and from there to 100 sockets.
    Broadcast,
    /// The same, to 1,000.
    Broadcast1000,
}

impl Floor {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Commit,
        Self::Echo,
        Self::CommitAndEcho,
        Self::Broadcast,
        Self::Broadcast1000,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "floor: commit",
            Self::Echo => "floor: echo",
            Self::CommitAndEcho => "floor: commit + echo",
            Self::Broadcast | Self::Broadcast1000 => "floor: broadcast",
        }
    }

    /// What it is the floor of.
    pub fn scenario(self) -> Scenario {
        match self {
            Self::Commit | Self::Echo | Self::CommitAndEcho => Scenario::Single,
            Self::Broadcast => Scenario::FanOut,
            Self::Broadcast1000 => Scenario::FanOut1000,
        }
    }

    /// Measures it.
    ///
    /// # Errors
    /// When it fails.
    pub async fn measure(self) -> Result<Measured> {
        match self {
            Self::Commit => commit::measure(),
            Self::Echo => round_trips(Peer::Echo).await,
            Self::CommitAndEcho => round_trips(Peer::CommitAndEcho).await,
            Self::Broadcast => broadcast(100).await,
            Self::Broadcast1000 => broadcast(1_000).await,
        }
    }
}

/// A message to the peer and back; how long it took.
async fn round_trip(socket: &mut Socket, message: &Message) -> Result<Duration> {
    let sent = Instant::now();
    socket.send(message.clone()).await?;
    let answer = socket.next().await.context("the peer is gone")??;
    ensure!(answer == *message, "what came back is not what was sent");
    Ok(sent.elapsed())
}

fn message() -> Message {
    Message::text("x".repeat(MESSAGE_BYTES))
}

async fn round_trips(peer: Peer) -> Result<Measured> {
    let peer = Running::start(peer)?;
    let gauge = Gauge::new(Whose::Ours);
    let mut socket = peer.connect().await?;
    let message = message();
    for _ in 0..WARM_UP {
        round_trip(&mut socket, &message).await?;
    }
    let mut latencies = Latencies::new("from a message sent to the same read")?;
    let meter = Meter::start(gauge);
    while meter.started.elapsed() < TIME_MIN {
        let took = round_trip(&mut socket, &message).await?;
        latencies.record(took)?;
    }
    let elapsed = meter.started.elapsed();
    meter.finish(Done {
        operations: latencies.histogram.len(),
        operation: "round trips",
        elapsed,
        latencies,
        is_cut_short: false,
    })
}

/// As the fan-out scenarios, with the sender's own copy for a success.
async fn broadcast(subscribers: u64) -> Result<Measured> {
    let peer = Running::start(Peer::Broadcast)?;
    let gauge = Gauge::new(Whose::Ours);
    let deliveries = Rc::new(Deliveries {
        sent: RefCell::default(),
        latencies: RefCell::new(Latencies::new("from a message sent to a copy of it read")?),
        count: Cell::new(0),
        latest: Cell::new(Instant::now()),
    });
    // Dropped with its tasks, whatever comes.
    let tasks = LocalSet::new();
    for _ in 0..subscribers {
        let socket = peer.connect().await?;
        let deliveries = Rc::clone(&deliveries);
        // One that fails delivers no more, and that is noticed.
        tasks.spawn_local(async move { deliveries.read(socket).await });
    }
    let mut sender = peer.connect().await?;
    let message = message();
    let send_and_drain = async {
        let meter = Meter::start(gauge);
        for _ in 0..FAN_OUT_PUSHES {
            // Subscribers run on this thread, so not before `sent` is there.
            deliveries.sent.borrow_mut().push(Instant::now());
            round_trip(&mut sender, &message).await?;
        }
        let due = FAN_OUT_PUSHES * subscribers;
        let deadline = Instant::now() + DRAIN_TIME_MAX;
        while deliveries.count.get() < due {
            let count = deliveries.count.get();
            ensure!(Instant::now() < deadline, "{count} of {due} copies came");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let elapsed = deliveries.latest.get() - meter.started;
        meter.finish(Done {
            operations: due,
            operation: "deliveries",
            elapsed,
            latencies: deliveries.latencies.borrow().clone(),
            is_cut_short: false,
        })
    };
    tasks.run_until(send_and_drain).await
}

struct Deliveries {
    sent: RefCell<Vec<Instant>>,
    latencies: RefCell<Latencies>,
    count: Cell<u64>,
    latest: Cell<Instant>,
}

impl Deliveries {
    async fn read(&self, mut socket: Socket) -> Result<()> {
        let mut index = 0;
        while let Some(message) = socket.next().await {
            message?;
            let now = Instant::now();
            let sent = self.sent.borrow().get(index).copied();
            let sent = sent.context("a message came that nobody sent")?;
            self.latencies.borrow_mut().record(now - sent)?;
            self.count.set(self.count.get() + 1);
            self.latest.set(now);
            index += 1;
        }
        Ok(())
    }
}
