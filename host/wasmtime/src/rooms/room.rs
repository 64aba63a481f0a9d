//! A room on this host: its sockets, and an instance of the component while
//! it is awake. It lives on its shard's thread and runs one turn at a time.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use opentelemetry::trace::SpanContext;
use tracing::{error, warn};

use crate::component::failure::{Excessive, HostPanicked, failure_of};
use crate::component::turn::{Answer, Effect, Member, Members, Overloaded, Page, Turn};
use crate::component::{Instance, Role, Runtime};
use crate::contract;
use crate::contract::telemetry::Subscriptions;
use crate::flow::deliveries::Deliveries;
use crate::flow::output::RoomOutput;
use crate::rooms::done::{Done, audience, count, trace};
use crate::rooms::event::Event;
use crate::rooms::timers::Timers;
use crate::storage::event_log::Storage;
use crate::telemetry::ids::shown;
use crate::telemetry::traces::Traced;

/// An answer that is larger has to find room, in bytes. What is smaller, as
/// the answers to pushes and most pulls are, is always given.
const LARGE_ANSWER_BYTES: usize = 64 * 1024;

/// Appends that a broadcast's span names: as many as a few commits bring.
const UNTOLD_MAX: usize = 32;

/// A room that nobody has subscribed to.
const NO_SUBSCRIPTIONS: Subscriptions = Subscriptions {
    live: 0,
    catching: 0,
    held: 0,
};

/// One store's room.
pub struct Room {
    store_id: Arc<str>,
    runtime: Arc<Runtime>,
    storage: Arc<Mutex<Box<dyn Storage>>>,
    output: Arc<RoomOutput>,
    /// Its open sockets. Empty during a turn: the turn has them.
    pub sockets: Members,
    instance: Option<Instance>,
    used: Instant,
    /// Where its subscriptions stand, if the guest tells.
    subscriptions: Subscriptions,
    /// The spans of its sockets' pulls that are kept.
    pulls: BTreeMap<u32, SpanContext>,
    /// The spans of appends that are kept and that nobody was told of yet.
    untold: Vec<SpanContext>,
}

impl Room {
    /// A room that sleeps.
    pub fn new(
        store_id: Arc<str>,
        runtime: Arc<Runtime>,
        storage: Arc<Mutex<Box<dyn Storage>>>,
        output: Arc<RoomOutput>,
    ) -> Self {
        Self {
            store_id,
            runtime,
            storage,
            output,
            sockets: Members::new(),
            instance: None,
            used: Instant::now(),
            subscriptions: NO_SUBSCRIPTIONS,
            pulls: BTreeMap::new(),
            untold: Vec::new(),
        }
    }

    /// Runs a turn and returns what it does. After a trap the turn never
    /// happened: the caller rolls storage back; the instance is gone and the
    /// sockets are handed out to be closed.
    ///
    /// # Errors
    /// The sockets of a room whose turn trapped.
    pub fn turn(&mut self, event: Event) -> Result<Vec<Effect>, Members> {
        self.used = Instant::now();
        match &event {
            Event::Closed { connection } => {
                self.sockets.remove(connection);
                self.pulls.remove(connection);
                if self.instance.is_none() {
                    // Nobody is awake who would have to be told.
                    return Ok(Vec::new());
                }
            }
            // Nobody is here any more who would be told.
            Event::Wake if self.sockets.is_empty() => return Ok(Vec::new()),
            // It was closed while this waited.
            Event::Message { connection, .. } | Event::Drained { connection }
                if !self.sockets.contains_key(connection) =>
            {
                return Ok(Vec::new());
            }
            _ => {}
        }
        match self.try_turn(event) {
            Ok(effects) => Ok(effects),
            Err(error) => {
                let instance = self.instance.take();
                if let Some(meters) = self.runtime.telemetry().meters() {
                    let was_denied = instance.is_some_and(|it| it.was_denied_memory());
                    meters.failed(failure_of(&error, was_denied));
                }
                error!(
                    event = "turn_failed",
                    store = &*shown(&self.store_id),
                    "the room's turn failed: {error:#}"
                );
                Err(self.orphans())
            }
        }
    }

    fn try_turn(&mut self, event: Event) -> Result<Vec<Effect>> {
        if let Event::Open {
            connection,
            outbox,
            parent,
            ..
        } = &event
        {
            // Before anything can fail: whatever does closes it with the rest.
            let socket = Member {
                outbox: outbox.clone(),
                attachment: None,
                parent: parent.clone(),
            };
            self.sockets.insert(*connection, socket);
        }
        let turn = Turn::new(
            Arc::clone(&self.store_id),
            Arc::clone(&self.output),
            Arc::clone(&self.storage),
            std::mem::take(&mut self.sockets),
        );
        let (instance, is_fresh) = match &mut self.instance {
            Some(instance) => (instance, false),
            asleep => match self
                .runtime
                .instantiate(Role::Room(Arc::clone(&self.store_id)))
            {
                Ok(instance) => (asleep.insert(instance), true),
                Err(error) => {
                    self.sockets = turn.sockets;
                    return Err(error);
                }
            },
        };
        instance.state().turn = Some(turn);
        // A hostile component may find an import at which the host itself
        // panics: that is its own room's end, and not the shard's.
        let result = catch_unwind(AssertUnwindSafe(|| {
            run(instance, (&self.store_id, &self.output), is_fresh, event)
        }))
        .unwrap_or_else(|_| Err(HostPanicked.into()));
        let Some(turn) = instance.state().turn.take() else {
            anyhow::bail!("the turn is gone");
        };
        let (sockets, effects) = turn.end();
        self.sockets = sockets;
        let last = result?;
        let Some(mut effects) = effects else {
            return Err(Excessive.into());
        };
        effects.extend(last);
        Ok(effects)
    }

    /// Carries a durable turn's effects out. What is for `asker` goes at once,
    /// in its order: a push is answered before its broadcast, which may be to
    /// thousands, is under way.
    /// Returns the turn's span, if it is kept.
    pub fn release(
        &mut self,
        done: Done,
        (deliveries, timers): (&mut Deliveries, &mut Timers),
        now: Instant,
    ) -> Option<SpanContext> {
        let asker = done.asker;
        for effect in &done.effects {
            if let Effect::Send { to, frame, .. } = effect
                && let Some(asker) = asker.filter(|asker| to.contains(asker))
                && let Some(socket) = self.sockets.get(&asker)
            {
                socket.outbox.send(frame.clone());
            }
        }
        let traced = self.tell(&done, now);
        for effect in done.effects {
            match effect {
                Effect::Send { to, frame, .. } => {
                    let sockets = to.len();
                    for connection in to {
                        if Some(connection) != asker
                            && let Some(socket) = self.sockets.get(&connection)
                        {
                            deliveries.hold(&socket.outbox, frame.clone(), sockets, now);
                            self.follow(connection, &traced, now);
                        }
                    }
                }
                Effect::Close {
                    connection,
                    code,
                    reason,
                } => {
                    if let Some(socket) = self.sockets.remove(&connection) {
                        socket.outbox.close(code, reason);
                    }
                }
                Effect::Attach {
                    connection,
                    attachment,
                } => {
                    if let Some(socket) = self.sockets.get_mut(&connection) {
                        socket.attachment = Some(attachment);
                    }
                }
                Effect::NotifyDrained { connection } => {
                    if let Some(socket) = self.sockets.get(&connection) {
                        socket.outbox.notify_drained();
                    }
                }
                Effect::WakeAfter(after) => timers.set(&self.store_id, after),
                // Whoever asked may have gone; then nobody is told.
                Effect::Answer(reply, answer) => drop(reply.send(answer)),
                Effect::Page(reply, page) => drop(reply.send(page)),
                // Told already.
                Effect::Called(_)
                | Effect::Subscribed(_)
                | Effect::Ahead
                | Effect::Appended { .. }
                | Effect::Stored(_) => {}
            }
        }
        traced.turn
    }

    /// Tells metrics and traces of a durable turn.
    fn tell(&mut self, done: &Done, now: Instant) -> Traced {
        let Some(timing) = &done.timing else {
            return Traced::default();
        };
        let telemetry = self.runtime.telemetry();
        let meters = telemetry.meters().map(AsRef::as_ref);
        if let Some(changed) = count(meters, &done.effects, timing, now) {
            self.subscriptions = changed;
        }
        let Some(traces) = telemetry.traces() else {
            return Traced::default();
        };
        let mut traced = trace(traces, &self.store_id, &done.effects, timing);
        if self.untold.len() < UNTOLD_MAX {
            self.untold.extend(traced.append.clone());
        }
        let sockets = audience(&done.effects, timing.about);
        if sockets > 0 && !self.untold.is_empty() {
            traces.broadcast(&self.untold, sockets);
            traced.told = std::mem::take(&mut self.untold).into();
        }
        for (connection, pull) in &traced.pulls {
            if self.sockets.contains_key(connection) {
                self.pulls.insert(*connection, pull.clone());
            }
        }
        traced
    }

    /// Makes a subscriber's span once its socket has taken what it was sent
    /// last, if its pull's is kept.
    fn follow(&self, connection: u32, traced: &Traced, since: Instant) {
        if let Some(pull) = self.pulls.get(&connection)
            && let Some(socket) = self.sockets.get(&connection)
            && let Some(traces) = self.runtime.telemetry().traces()
        {
            let (traces, pull) = (Arc::clone(traces), pull.clone());
            let told = Arc::clone(&traced.told);
            let taken = move || traces.delivered(&pull, &told, since);
            socket.outbox.then(Box::new(taken));
        }
    }

    /// Forgets the instance, as if the room had never been awake: what its
    /// last turns did is not durable.
    pub fn fail(&mut self) -> Members {
        warn!(
            event = "room_failed",
            store = &*shown(&self.store_id),
            "the room starts again from storage"
        );
        self.instance = None;
        self.orphans()
    }

    /// The sockets of a room that begins anew.
    fn orphans(&mut self) -> Members {
        self.subscriptions = NO_SUBSCRIPTIONS;
        self.pulls.clear();
        self.untold.clear();
        std::mem::take(&mut self.sockets)
    }

    /// Where its subscriptions stand, as far as the guest tells.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        if self.sockets.is_empty() {
            NO_SUBSCRIPTIONS
        } else {
            self.subscriptions
        }
    }

    /// The memory of its instance, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.instance.as_ref().map_or(0, Instance::memory_bytes)
    }

    /// Whether its instance grew too large to keep.
    pub fn is_bloated(&self) -> bool {
        self.instance.as_ref().is_some_and(Instance::is_bloated)
    }

    /// Lets the instance go if it grew too large. The sockets stay; the next
    /// event wakes the room, with their attachments: so not before those that
    /// the last turns wrote are in place.
    pub fn shed(&mut self) {
        if self.is_bloated() {
            self.instance = None;
        }
    }

    /// Lets the instance go if it has been idle for `idle`. The sockets stay;
    /// the next event wakes the room.
    pub fn rest(&mut self, idle: Duration) {
        if self.used.elapsed() >= idle {
            self.instance = None;
        }
    }

    /// Whether it has an instance.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.instance.is_some()
    }

    /// When it was used last.
    #[must_use]
    pub fn used(&self) -> Instant {
        self.used
    }

    /// What waits to be taken by its clients.
    #[must_use]
    pub fn output(&self) -> &RoomOutput {
        &self.output
    }

    /// Whether nothing is left to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instance.is_none() && self.sockets.is_empty() && self.output.bytes() == 0
    }
}

/// Enters the guest for one event; returns the effect that ends the turn.
fn run(
    instance: &mut Instance,
    (store_id, output): (&str, &Arc<RoomOutput>),
    is_fresh: bool,
    event: Event,
) -> Result<Option<Effect>> {
    if is_fresh {
        instance.start(store_id)?;
    }
    match event {
        Event::Open {
            connection,
            admission,
            outbox: _,
            parent: _,
        } => instance.open(connection, &admission)?,
        Event::Message {
            connection,
            frame,
            arrived: _,
            permits,
        } => {
            instance.message(connection, &frame)?;
            drop(permits);
        }
        Event::Drained { connection } => instance.drained(connection)?,
        Event::Wake => instance.wake()?,
        Event::Closed { connection } => instance.closed(connection)?,
        Event::Request {
            admission,
            body,
            arrived: _,
            parent: _,
            permits,
            reply,
        } => {
            let answer = instance.request(&admission, &body)?;
            drop(permits);
            let is_large = answer.first.body.len() > LARGE_ANSWER_BYTES;
            let answer = if is_large && output.is_over() {
                Err(Overloaded)
            } else {
                Ok(Answer {
                    status: answer.status,
                    headers: answer.headers,
                    first: counted(output, answer.first),
                    output: Arc::clone(output),
                })
            };
            return Ok(Some(Effect::Answer(reply, answer)));
        }
        Event::Resume {
            continuation,
            reply,
        } => {
            let page = counted(output, instance.resume(&continuation)?);
            return Ok(Some(Effect::Page(reply, page)));
        }
    }
    Ok(None)
}

fn counted(output: &Arc<RoomOutput>, page: contract::Page) -> Page {
    Page {
        body: output.page(page.body),
        continuation: page.continuation,
    }
}
