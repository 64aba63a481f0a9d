//! A shard: a thread with its rooms, their storage and their sockets. Turns
//! that wait are run one after another and made durable by one commit; only
//! then does what they sent leave (design D2, I1).
//!
//! Members and rooms share the thread and its event loop: a frame that is read
//! is a turn without a change of threads, and what becomes readable while a
//! commit waits for the disk shares the next one.

mod shedding;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::interval;

use crate::component::Runtime;
use crate::component::turn::{Effect, Members};
use crate::contract::{Close, StorageError};
use crate::flow::deliveries::Deliveries;
use crate::flow::output::Output;
use crate::limits::Limits;
use crate::process::heap;
use crate::rooms::done::{Done, Timing};
use crate::rooms::event::Event;
use crate::rooms::room::Room;
use crate::rooms::timers::Timers;
use crate::rooms::turns::Turns;
use crate::storage::event_log::Storage;
use crate::telemetry::Telemetry;
use crate::telemetry::load::{Carried, Load};
use crate::telemetry::meters::{Operation, error_name};
use crate::telemetry::watch::Pulse;

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

/// Of the rooms that are awake when one too many wakes, one in so many goes to
/// sleep: looking for those that rested longest costs a look at all.
const RESTING_PART: usize = 16;

/// What a socket is told when the server stops.
const RESTART: (u16, &str) = (1012, "RESTART");

/// What a shard is told.
pub enum Order {
    /// An event of a store's room.
    Event(Arc<str>, Event),
    /// To finish the turns that wait, and end.
    Stop,
}

/// A shard, on its thread.
pub struct Shard {
    runtime: Arc<Runtime>,
    storage: Arc<Mutex<Box<dyn Storage>>>,
    rooms: HashMap<Arc<str>, Room>,
    rooms_awake_max: usize,
    /// Rooms that are awake, or were when they were last looked over.
    awake: usize,
    turns: Turns,
    deliveries: Deliveries,
    timers: Timers,
    output: Arc<Output>,
    /// This shard's part of it, in bytes.
    output_bytes_max: usize,
    pulse: Arc<Pulse>,
    load: Arc<Load>,
    telemetry: Telemetry,
    idle: Duration,
    connections_max: usize,
    swept: Instant,
}

/// Turns on their way to one commit.
#[derive(Default)]
struct Pending {
    /// What they do, in order.
    done: Vec<Done>,
    /// How many of them wrote.
    turns: usize,
    /// The rooms that wrote.
    wrote: HashSet<Arc<str>>,
    /// Members of rooms whose turn trapped.
    orphans: Vec<Members>,
    /// What the events brought and the effects keep in memory.
    bytes: usize,
}

impl Shard {
    /// A shard with this storage, this part of the server's output, and as
    /// many rooms awake.
    #[must_use]
    pub fn new(
        runtime: &Arc<Runtime>,
        storage: Box<dyn Storage>,
        (output_bytes_max, output): (usize, Arc<Output>),
        (pulse, load): (Arc<Pulse>, Arc<Load>),
        limits: &Limits,
        rooms_awake_max: usize,
    ) -> Self {
        Self {
            runtime: Arc::clone(runtime),
            storage: Arc::new(Mutex::new(storage)),
            rooms: HashMap::new(),
            rooms_awake_max,
            awake: 0,
            turns: Turns::default(),
            deliveries: Deliveries::default(),
            timers: Timers::default(),
            output,
            output_bytes_max,
            pulse,
            load,
            telemetry: runtime.telemetry().clone(),
            idle: limits.room_idle,
            connections_max: limits.store_connections_max,
            swept: Instant::now(),
        }
    }

    /// Runs until it is stopped.
    pub async fn run(mut self, mut queue: UnboundedReceiver<Order>) {
        let mut sweep = interval(SWEEP);
        let mut is_stopping = false;
        loop {
            self.pulse.beat();
            // What the last turns sent goes out before more of them.
            self.deliveries.let_some_go(Instant::now());
            if !queue.is_empty() || !self.turns.is_empty() || !self.deliveries.is_empty() {
                tokio::task::yield_now().await;
            }
            is_stopping |= self.gather(&mut queue);
            let mut over = Vec::new();
            while let Some(store) = self.timers.over().now_or_never() {
                over.push(store);
            }
            if self.turns.is_empty() && self.deliveries.is_empty() && !is_stopping {
                tokio::select! {
                    biased;
                    command = queue.recv() => is_stopping |= self.queue(command),
                    store = self.timers.over() => over.push(store),
                    _ = sweep.tick() => {}
                }
            }
            if !over.is_empty() {
                // What has come while a commit waited for the disk is first:
                // a timer is there to wait for it.
                tokio::task::yield_now().await;
                is_stopping |= self.gather(&mut queue);
                self.wake(over);
            }
            if self.turns.is_empty() {
                if is_stopping {
                    return self.stop(queue);
                }
                self.sweep();
                continue;
            }
            let begun = Instant::now();
            let mut pending = Pending::default();
            // Rooms that sleep after every turn do so after every commit.
            let turns_max = if self.idle.is_zero() {
                1
            } else {
                TURNS_PER_COMMIT_MAX
            };
            let mut since = begun;
            for _ in 0..turns_max {
                let Some((store, event)) = self.turns.begin() else {
                    break;
                };
                self.take(&store, event, &mut pending);
                let now = Instant::now();
                self.turns.end(store, now - since);
                since = now;
                if pending.bytes > BYTES_PER_COMMIT_MAX || now - begun > TIME_PER_COMMIT_MAX {
                    break;
                }
                is_stopping |= self.gather(&mut queue);
            }
            self.commit(pending);
            self.turns.end_commit();
            self.sweep();
        }
    }

    /// Takes in what has come. Returns whether the shard is to stop: then
    /// nothing more comes.
    fn gather(&mut self, queue: &mut UnboundedReceiver<Order>) -> bool {
        while let Ok(command) = queue.try_recv() {
            if self.queue(Some(command)) {
                return true;
            }
        }
        false
    }

    /// Puts an event into its line. Returns whether the shard is to stop.
    fn queue(&mut self, command: Option<Order>) -> bool {
        let Some(Order::Event(store, event)) = command else {
            return true;
        };
        self.turns.push(store, event);
        false
    }

    /// Lets rooms know that their timers are over.
    fn wake(&mut self, stores: Vec<Arc<str>>) {
        for store in stores {
            if self.rooms.contains_key(&store) {
                self.turns.push(store, Event::Wake);
            }
        }
    }

    /// Runs a turn.
    fn take(&mut self, store: &Arc<str>, event: Event, pending: &mut Pending) {
        let room = self.rooms.entry(Arc::clone(store)).or_insert_with(|| {
            Room::new(
                Arc::clone(store),
                Arc::clone(&self.runtime),
                Arc::clone(&self.storage),
                self.output.of_room(),
            )
        });
        if let Event::Open { outbox, .. } = &event
            && room.sockets.len() >= self.connections_max
        {
            let faults = &self.runtime.terms().faults;
            let Close { code, reason } = &faults.too_many_connections.close;
            outbox.close(*code, reason.clone());
            return;
        }
        let asker = event.asker();
        let bytes = event.bytes();
        pending.bytes += bytes;
        if bytes >= LARGE_BYTES {
            heap::gone(bytes);
        }
        let was_awake = room.is_awake();
        let timing = self.telemetry.is_on().then(|| begin(room, &event));
        let result = room.turn(event);
        if !was_awake && room.is_awake() {
            self.awake += 1;
            self.telemetry.meters().inspect(|meters| meters.woke());
        }
        let wrote = lock(&self.storage).end_turn(result.is_ok());
        match result {
            Ok(effects) => {
                if !wrote && effects.is_empty() && !room.is_bloated() {
                    // As most Acks: nothing has to wait for the commit.
                    return;
                }
                if wrote {
                    pending.turns += 1;
                    pending.wrote.insert(Arc::clone(store));
                }
                pending.bytes += effects.iter().map(Effect::bytes).sum::<usize>();
                pending.done.push(Done {
                    store: Arc::clone(store),
                    asker,
                    effects,
                    timing: timing.map(|timing| Timing {
                        ended: Instant::now(),
                        ..timing
                    }),
                });
            }
            Err(sockets) => pending.orphans.push(sockets),
        }
    }

    fn commit(&mut self, pending: Pending) {
        let begun = self.telemetry.is_on().then(Instant::now);
        let committed = lock(&self.storage).commit();
        let ended = begun.map(|_| Instant::now());
        self.count_commit(pending.turns, begun, committed.as_ref().err());
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
        let mut turns = Vec::new();
        for done in pending.done {
            // Without its turn's commit nothing leaves: effects are dropped,
            // and whoever waits for an answer learns it from that.
            if !failed.contains(&done.store)
                && let Some(room) = self.rooms.get_mut(&done.store)
            {
                let outside = (&mut self.deliveries, &mut self.timers);
                turns.extend(room.release(done, outside, now));
                room.shed();
            }
        }
        if let (Some(traces), Some(begun), Some(ended)) = (self.telemetry.traces(), begun, ended) {
            let error = committed.as_ref().err().map(error_name);
            traces.commit(&turns, (begun, ended), error);
        }
        for socket in orphans.into_iter().flat_map(Members::into_values) {
            let Close { code, reason } = &self.runtime.terms().faults.internal.close;
            socket.outbox.close(*code, reason.clone());
        }
        // Now that attachments are in place, rooms may sleep.
        if self.awake > self.rooms_awake_max {
            self.let_the_longest_rest();
        }
        if self.output.is_over() {
            self.shed_output();
        }
    }

    /// Counts a commit of so many turns that wrote, if any did.
    fn count_commit(&self, turns: usize, begun: Option<Instant>, error: Option<&StorageError>) {
        if let (Some(meters), Some(begun)) = (self.telemetry.meters(), begun)
            && (turns > 0 || error.is_some())
        {
            meters.stored(Operation::Commit, begun.elapsed(), error);
            meters.committed(turns);
        }
    }

    /// Lets rooms rest that have nothing to do.
    fn sweep(&mut self) {
        if self.swept.elapsed() < SWEEP.min(self.idle) {
            return;
        }
        self.swept = Instant::now();
        let mut carried = Carried::default();
        let mut awake = 0;
        let mut is_over = self.output.is_over();
        self.rooms.retain(|_, room| {
            room.rest(self.idle);
            awake += usize::from(room.is_awake());
            is_over |= room.output().is_over();
            add(&mut carried, room);
            !room.is_empty()
        });
        self.awake = awake;
        self.load.set(carried);
        if is_over {
            self.shed_output();
        }
        let mut storage = lock(&self.storage);
        storage.probe();
        self.pulse.set_trouble(storage.trouble());
    }

    /// Puts the rooms to sleep that have rested longest, so that others may
    /// be awake: their sockets stay.
    fn let_the_longest_rest(&mut self) {
        let awake = || self.rooms.values().filter(|room| room.is_awake());
        let mut used: Vec<Instant> = awake().map(Room::used).collect();
        self.awake = used.len();
        if self.awake <= self.rooms_awake_max {
            return;
        }
        let count = self.awake - self.rooms_awake_max + self.rooms_awake_max / RESTING_PART;
        let last = count.min(self.awake) - 1;
        let (_, until, _) = used.select_nth_unstable(last);
        let until = *until;
        for room in self.rooms.values_mut() {
            if room.is_awake() && room.used() <= until {
                room.rest(Duration::ZERO);
                self.awake -= 1;
            }
        }
    }

    fn stop(self, mut queue: UnboundedReceiver<Order>) {
        queue.close();
        // Members that came too late are in no room.
        while let Ok(command) = queue.try_recv() {
            if let Order::Event(_, Event::Open { outbox, .. }) = command {
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

/// A turn of this room's begins.
fn begin(room: &Room, event: &Event) -> Timing {
    let parent = match event {
        Event::Message { connection, .. } => {
            let socket = room.sockets.get(connection);
            socket.and_then(|socket| socket.parent.clone())
        }
        Event::Request { parent, .. } => parent.clone(),
        _ => None,
    };
    let begun = Instant::now();
    Timing {
        arrived: event.arrived().unwrap_or(begun),
        begun,
        ended: begun,
        about: event.about(),
        parent,
    }
}

/// Adds a room to what its shard carries.
fn add(carried: &mut Carried, room: &Room) {
    if room.is_awake() {
        carried.rooms_awake += 1;
    } else if !room.is_empty() {
        carried.rooms_asleep += 1;
    }
    carried.guest_bytes += u64::try_from(room.memory_bytes()).unwrap_or(u64::MAX);
    let subscriptions = room.subscriptions();
    carried.live += u64::from(subscriptions.live);
    carried.catching += u64::from(subscriptions.catching);
    carried.held += u64::from(subscriptions.held);
}

fn lock(storage: &Mutex<Box<dyn Storage>>) -> std::sync::MutexGuard<'_, Box<dyn Storage>> {
    storage.lock().unwrap_or_else(PoisonError::into_inner)
}
