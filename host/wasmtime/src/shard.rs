//! A shard: a thread with its rooms, their storage and their sockets. Turns
//! that wait are run one after another and made durable by one commit; only
//! then does what they sent leave (design D2, I1).
//!
//! Sockets and rooms share the thread and its event loop: a frame that is read
//! is a turn without a change of threads, and what becomes readable while a
//! commit waits for the disk shares the next one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::component::Runtime;
use crate::deliveries::Deliveries;
use crate::heap;
use crate::limits::Limits;
use crate::room::{Effect, Event, Room, Sockets};
use crate::storage::layout::shard_of;
use crate::storage::{self, Location, Storage};

/// Turns that share a commit. Bounds how long the first of them waits.
const TURNS_PER_COMMIT_MAX: usize = 256;

/// What turns that share a commit may have taken in and have to send, in
/// bytes, before no more are taken in.
const BYTES_PER_COMMIT_MAX: usize = 4 * 1024 * 1024;

/// How long turns are gathered for a commit: those that are done wait for it.
/// A few durable commits' time.
const TIME_PER_COMMIT_MAX: Duration = Duration::from_millis(5);

/// Events that leave a hole in the heap that is worth a look, in bytes.
const LARGE_BYTES: usize = 1024 * 1024;

/// How often rooms are looked over for rest, unless they rest sooner.
const SWEEP: Duration = Duration::from_millis(500);

/// How long sockets may take to close once the rooms are gone.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What a socket is told whose room failed.
const FAULT: (u16, &str) = (1011, "INTERNAL");

/// What a socket is told when the server stops.
const RESTART: (u16, &str) = (1012, "RESTART");

/// What a socket is told that is one too many of its store.
const CROWDED: (u16, &str) = (1013, "TOO_MANY_CONNECTIONS");

enum Command {
    Event(Arc<str>, Event),
    Stop,
}

/// A shard, from outside.
struct Entry {
    queue: UnboundedSender<Command>,
    handle: Handle,
}

/// The queue to a store's room. Events of one caller keep their order.
pub struct RoomQueue {
    store: Arc<str>,
    queue: UnboundedSender<Command>,
}

impl RoomQueue {
    /// Hands an event to the room. Returns whether it was taken: after
    /// [`Shards::stop`] it is not.
    pub fn deliver(&self, event: Event) -> bool {
        let command = Command::Event(Arc::clone(&self.store), event);
        self.queue.send(command).is_ok()
    }
}

/// All shards.
pub struct Shards {
    shards: Vec<Entry>,
    sockets: TaskTracker,
    /// Cancelled when the rooms of a shard are gone, one for each.
    stopped: Vec<CancellationToken>,
    /// Cancelled when the sockets are gone, too.
    ended: CancellationToken,
}

impl Shards {
    /// Opens the storage and starts the threads.
    ///
    /// # Errors
    /// When the storage cannot be opened.
    pub fn start(runtime: &Arc<Runtime>, location: &Location, limits: &Limits) -> Result<Self> {
        let mut shards = Vec::new();
        let mut stopped = Vec::new();
        let ended = CancellationToken::new();
        for (number, storage) in storage::open(location)?.into_iter().enumerate() {
            let (queue, receiver) = unbounded_channel();
            let shard = Shard {
                runtime: Arc::clone(runtime),
                storage: Arc::new(Mutex::new(storage)),
                rooms: HashMap::new(),
                deliveries: Deliveries::default(),
                idle: limits.room_idle,
                connections_max: limits.store_connections_max,
                swept: Instant::now(),
            };
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
            shards.push(Entry { queue, handle });
        }
        Ok(Self {
            shards,
            sockets: TaskTracker::new(),
            stopped,
            ended,
        })
    }

    /// Where a store's room takes its events; `None` is no store's.
    #[must_use]
    pub fn room(&self, store: &str) -> Option<RoomQueue> {
        let shard = self.shards.get(shard_of(store))?;
        Some(RoomQueue {
            store: store.into(),
            queue: shard.queue.clone(),
        })
    }

    /// Runs a socket of a store's on its shard's event loop.
    pub fn run_socket(&self, store: &str, socket: impl Future<Output = ()> + Send + 'static) {
        if let Some(shard) = self.shards.get(shard_of(store)) {
            self.sockets.spawn_on(socket, &shard.handle);
        }
    }

    /// Finishes the turns that wait, tells every socket to come back later,
    /// and closes the storage.
    pub async fn stop(&self) {
        for shard in &self.shards {
            let _ = shard.queue.send(Command::Stop);
        }
        for rooms_gone in &self.stopped {
            rooms_gone.cancelled().await;
        }
        self.sockets.close();
        if timeout(STOP_TIMEOUT, self.sockets.wait()).await.is_err() {
            info!("some sockets did not close in time");
        }
        self.ended.cancel();
    }
}

/// A shard that is gone would leave its stores' clients connected to nobody:
/// better to end and be started again, from what is durable.
fn abort() {
    error!("a shard has panicked: the server ends");
    std::process::abort();
}

struct Shard {
    runtime: Arc<Runtime>,
    storage: Arc<Mutex<Box<dyn Storage>>>,
    rooms: HashMap<Arc<str>, Room>,
    deliveries: Deliveries,
    idle: Duration,
    connections_max: usize,
    swept: Instant,
}

/// Turns on their way to one commit.
#[derive(Default)]
struct Pending {
    /// What they do, in order, and the connections that they are about.
    effects: Vec<(Arc<str>, Option<u32>, Vec<Effect>)>,
    /// The rooms that wrote.
    wrote: HashSet<Arc<str>>,
    /// Sockets of rooms whose turn trapped.
    orphans: Vec<Sockets>,
    /// What the events brought and the effects keep in memory.
    bytes: usize,
}

impl Shard {
    async fn run(mut self, mut queue: UnboundedReceiver<Command>) {
        let mut sweep = interval(SWEEP);
        loop {
            // What the last turns sent goes out before more of them.
            self.deliveries.let_some_go(Instant::now());
            if !queue.is_empty() || !self.deliveries.is_empty() {
                tokio::task::yield_now().await;
            }
            let first = match queue.try_recv() {
                Ok(command) => Some(command),
                Err(_) if !self.deliveries.is_empty() => continue,
                Err(_) => tokio::select! {
                    biased;
                    command = queue.recv() => command,
                    _ = sweep.tick() => {
                        self.sweep();
                        continue;
                    }
                },
            };
            let begun = Instant::now();
            let mut pending = Pending::default();
            let mut stop = first.is_none_or(|command| self.take(command, &mut pending));
            // Rooms that sleep after every turn do so after every commit.
            let turns_max = if self.idle.is_zero() {
                1
            } else {
                TURNS_PER_COMMIT_MAX
            };
            for _ in 1..turns_max {
                let is_full =
                    pending.bytes > BYTES_PER_COMMIT_MAX || begun.elapsed() > TIME_PER_COMMIT_MAX;
                if stop || is_full {
                    break;
                }
                match queue.try_recv() {
                    Ok(command) => stop = self.take(command, &mut pending),
                    Err(_) => break,
                }
            }
            self.commit(pending);
            if stop {
                return self.stop(queue);
            }
            self.sweep();
        }
    }

    /// Runs a turn. Returns whether the shard is to stop.
    fn take(&mut self, command: Command, pending: &mut Pending) -> bool {
        let Command::Event(store, event) = command else {
            return true;
        };
        let room = self.rooms.entry(Arc::clone(&store)).or_insert_with(|| {
            Room::new(
                Arc::clone(&store),
                Arc::clone(&self.runtime),
                Arc::clone(&self.storage),
            )
        });
        if let Event::Open { outbox, .. } = &event
            && room.sockets.len() >= self.connections_max
        {
            outbox.close(CROWDED.0, CROWDED.1.to_owned());
            return false;
        }
        let asker = event.asker();
        let bytes = event.bytes();
        pending.bytes += bytes;
        if bytes >= LARGE_BYTES {
            heap::gone(bytes);
        }
        let result = room.turn(event);
        let wrote = lock(&self.storage).end_turn(result.is_ok());
        match result {
            Ok(effects) => {
                if !wrote && effects.is_empty() && !room.is_bloated() {
                    // As most Acks: nothing has to wait for the commit.
                    return false;
                }
                if wrote {
                    pending.wrote.insert(Arc::clone(&store));
                }
                pending.bytes += effects.iter().map(Effect::bytes).sum::<usize>();
                pending.effects.push((store, asker, effects));
            }
            Err(sockets) => pending.orphans.push(sockets),
        }
        false
    }

    fn commit(&mut self, pending: Pending) {
        let committed = lock(&self.storage).commit();
        let mut orphans = pending.orphans;
        let failed = match &committed {
            Ok(()) => HashSet::new(),
            // Storage has told the operator.
            Err(_) => pending.wrote,
        };
        for store in &failed {
            if let Some(room) = self.rooms.get_mut(store) {
                orphans.push(room.fail());
            }
        }
        let now = Instant::now();
        for (store, asker, effects) in pending.effects {
            // Without its turn's commit nothing leaves: effects are dropped,
            // and whoever waits for an answer learns it from that.
            if !failed.contains(&store)
                && let Some(room) = self.rooms.get_mut(&store)
            {
                room.release(asker, effects, &mut self.deliveries, now);
                room.shed();
            }
        }
        for socket in orphans.into_iter().flat_map(Sockets::into_values) {
            socket.outbox.close(FAULT.0, FAULT.1.to_owned());
        }
    }

    /// Lets rooms rest that have nothing to do.
    fn sweep(&mut self) {
        if self.swept.elapsed() < SWEEP.min(self.idle) {
            return;
        }
        self.swept = Instant::now();
        self.rooms.retain(|_, room| {
            room.rest(self.idle);
            !room.is_empty()
        });
    }

    fn stop(self, mut queue: UnboundedReceiver<Command>) {
        queue.close();
        // Sockets that came too late are in no room.
        while let Ok(command) = queue.try_recv() {
            if let Command::Event(_, Event::Open { outbox, .. }) = command {
                outbox.close(RESTART.0, RESTART.1.to_owned());
            }
        }
        for room in self.rooms.into_values() {
            for socket in room.sockets.into_values() {
                socket.outbox.close(RESTART.0, RESTART.1.to_owned());
            }
        }
    }
}

fn lock(storage: &Mutex<Box<dyn Storage>>) -> std::sync::MutexGuard<'_, Box<dyn Storage>> {
    storage.lock().unwrap_or_else(PoisonError::into_inner)
}
