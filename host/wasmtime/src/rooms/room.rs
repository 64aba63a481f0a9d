//! A room on this host: its sockets, and an instance of the component while
//! it is awake. It lives on its shard's thread and runs one turn at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tracing::{error, warn};

use crate::component::turn::{Answer, Effect, Member, Members, Overloaded, Page, Turn};
use crate::component::{Instance, Role, Runtime};
use crate::contract;
use crate::flow::deliveries::Deliveries;
use crate::flow::output::RoomOutput;
use crate::rooms::event::Event;
use crate::rooms::timers::Timers;
use crate::storage::event_log::Storage;

/// An answer that is larger has to find room, in bytes. What is smaller, as
/// the answers to pushes and most pulls are, is always given.
const LARGE_ANSWER_BYTES: usize = 64 * 1024;

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
                error!(store = &*self.store_id, "the room's turn failed: {error:#}");
                self.instance = None;
                Err(std::mem::take(&mut self.sockets))
            }
        }
    }

    fn try_turn(&mut self, event: Event) -> Result<Vec<Effect>> {
        if let Event::Open {
            connection, outbox, ..
        } = &event
        {
            // Before anything can fail: whatever does closes it with the rest.
            let socket = Member {
                outbox: outbox.clone(),
                attachment: None,
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
        .unwrap_or_else(|_| Err(anyhow::Error::msg("the host panicked in this turn")));
        let Some(turn) = instance.state().turn.take() else {
            anyhow::bail!("the turn is gone");
        };
        let (sockets, effects) = turn.end();
        self.sockets = sockets;
        let last = result?;
        let Some(mut effects) = effects else {
            anyhow::bail!("it sends more than its sockets could take");
        };
        effects.extend(last);
        Ok(effects)
    }

    /// Carries a durable turn's effects out. What is for `asker` goes at once,
    /// in its order: a push is answered before its broadcast, which may be to
    /// thousands, is under way.
    pub fn release(
        &mut self,
        asker: Option<u32>,
        effects: Vec<Effect>,
        (deliveries, timers): (&mut Deliveries, &mut Timers),
        now: Instant,
    ) {
        for effect in &effects {
            if let Effect::Send { to, frame, .. } = effect
                && let Some(asker) = asker.filter(|asker| to.contains(asker))
                && let Some(socket) = self.sockets.get(&asker)
            {
                socket.outbox.send(frame.clone());
            }
        }
        for effect in effects {
            match effect {
                Effect::Send { to, frame, .. } => {
                    let sockets = to.len();
                    for connection in to {
                        if Some(connection) != asker
                            && let Some(socket) = self.sockets.get(&connection)
                        {
                            deliveries.hold(&socket.outbox, frame.clone(), sockets, now);
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
            }
        }
    }

    /// Forgets the instance, as if the room had never been awake: what its
    /// last turns did is not durable.
    pub fn fail(&mut self) -> Members {
        warn!(
            store = &*self.store_id,
            "the room starts again from storage"
        );
        self.instance = None;
        std::mem::take(&mut self.sockets)
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
        } => instance.open(connection, &admission)?,
        Event::Message {
            connection,
            frame,
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
