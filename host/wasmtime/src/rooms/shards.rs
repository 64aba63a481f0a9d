//! The shards from outside: their threads, the queues to their rooms, and
//! their end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::component::Runtime;
use crate::flow::output::Output;
use crate::limits::Limits;
use crate::rooms::event::Event;
use crate::rooms::shard::{Order, Shard};
use crate::storage::layout::{SHARDS, shard_of};
use crate::storage::sqlite::open_error::OpenError;
use crate::storage::{self, Location};
use crate::telemetry::load::Load;
use crate::telemetry::watch::Pulse;

/// How long sockets may take to close once the rooms are gone.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the rooms cannot be served.
#[derive(Debug, Error)]
pub enum StartError {
    /// The storage cannot be opened.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// The system gives no thread, or no event loop.
    #[error("the system gives the server no thread")]
    Thread(#[from] io::Error),
}

/// A shard, from outside.
struct ShardHandle {
    queue: UnboundedSender<Order>,
    handle: Handle,
}

/// The queue to a store's room. Events of one caller keep their order.
pub struct RoomQueue {
    store: Arc<str>,
    queue: UnboundedSender<Order>,
}

impl RoomQueue {
    /// The room's store.
    #[must_use]
    pub fn store(&self) -> &Arc<str> {
        &self.store
    }

    /// Hands an event to the room. Returns whether it was taken: after
    /// [`Shards::stop`] it is not.
    pub fn deliver(&self, event: Event) -> bool {
        let command = Order::Event(Arc::clone(&self.store), event);
        self.queue.send(command).is_ok()
    }
}

/// All shards.
pub struct Shards {
    shards: Vec<ShardHandle>,
    sockets: TaskTracker,
    output: Arc<Output>,
    pulses: Vec<Arc<Pulse>>,
    loads: Vec<Arc<Load>>,
    /// Where the logs are, if they are on a disk.
    directory: Option<PathBuf>,
    /// Cancelled when the rooms of a shard are gone, one for each.
    stopped: Vec<CancellationToken>,
    /// Cancelled when the sockets are gone, too.
    ended: CancellationToken,
}

impl Shards {
    /// Opens the storage and starts the threads.
    ///
    /// # Errors
    /// When the storage cannot be opened, or the system has no threads left.
    pub fn start(
        runtime: &Arc<Runtime>,
        location: &Location,
        limits: &Limits,
    ) -> Result<Self, StartError> {
        let output = Output::new(limits.output_bytes_max);
        let mut shards = Vec::new();
        let mut pulses = Vec::new();
        let mut loads = Vec::new();
        let mut stopped = Vec::new();
        let ended = CancellationToken::new();
        for (number, storage) in storage::open(location)?.into_iter().enumerate() {
            let (queue, receiver) = unbounded_channel();
            let pulse = Arc::new(Pulse::default());
            pulses.push(Arc::clone(&pulse));
            let load = Arc::<Load>::default();
            loads.push(Arc::clone(&load));
            let share = limits.rooms_awake_max.div_ceil(SHARDS);
            let part = (output.bytes_max() / SHARDS, Arc::clone(&output));
            let shard = Shard::new(runtime, storage, part, (pulse, load), limits, share);
            let event_loop = Builder::new_current_thread().enable_all().build()?;
            let handle = event_loop.handle().clone();
            let rooms_gone = CancellationToken::new();
            stopped.push(rooms_gone.clone());
            let ended = ended.clone();
            std::thread::Builder::new()
                .name(format!("shard-{number}"))
                .spawn(move || {
                    event_loop.block_on(async move {
                        // As a task: to wake what `block_on` waits for, tokio
                        // writes to an event descriptor, also from here.
                        if tokio::spawn(shard.run(receiver)).await.is_err() {
                            abort();
                        }
                        rooms_gone.cancel();
                        // Its sockets still have their closes to send.
                        ended.cancelled().await;
                    });
                })?;
            shards.push(ShardHandle { queue, handle });
        }
        Ok(Self {
            shards,
            sockets: TaskTracker::new(),
            output,
            pulses,
            loads,
            directory: match location {
                Location::Sqlite(directory) => Some(directory.clone()),
                Location::Memory => None,
            },
            stopped,
            ended,
        })
    }

    /// What waits to be taken by their clients.
    #[must_use]
    pub(crate) fn output(&self) -> &Arc<Output> {
        &self.output
    }

    /// Signs that each shard is well, in their order.
    #[must_use]
    pub(crate) fn pulses(&self) -> &[Arc<Pulse>] {
        &self.pulses
    }

    /// What each shard carries, in their order.
    #[must_use]
    pub(crate) fn loads(&self) -> &[Arc<Load>] {
        &self.loads
    }

    /// Where the logs are, if they are on a disk.
    #[must_use]
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Where a store's room takes its events; `None` is no store's.
    #[must_use]
    pub(crate) fn room(&self, store: &str) -> Option<RoomQueue> {
        let shard = self.shards.get(shard_of(store))?;
        Some(RoomQueue {
            store: store.into(),
            queue: shard.queue.clone(),
        })
    }

    /// Runs a socket of a store's on its shard's event loop.
    pub(crate) fn run_socket(
        &self,
        store: &str,
        socket: impl Future<Output = ()> + Send + 'static,
    ) {
        if let Some(shard) = self.shards.get(shard_of(store)) {
            self.sockets.spawn_on(socket, &shard.handle);
        }
    }

    /// Finishes the turns that wait, tells every socket to come back later,
    /// and closes the storage.
    pub(crate) async fn stop(&self) {
        for shard in &self.shards {
            let _ = shard.queue.send(Order::Stop);
        }
        for rooms_gone in &self.stopped {
            rooms_gone.cancelled().await;
        }
        self.sockets.close();
        if timeout(STOP_TIMEOUT, self.sockets.wait()).await.is_err() {
            info!(
                event = "closes_timeout",
                "some sockets did not close in time"
            );
        }
        self.ended.cancel();
    }
}

/// A shard that is gone would leave its stores' clients connected to nobody:
/// better to end and be started again, from what is durable.
fn abort() {
    error!(
        event = "shard_panicked",
        "a shard has panicked: the server ends"
    );
    std::process::abort();
}
