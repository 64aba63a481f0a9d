//! A room on this host: its sockets, and an instance of the component while
//! it is awake. It lives on its shard's thread and runs one turn at a time.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::component::{self, Admission, Frame, Instance, Role, Runtime, StorageError};
use crate::deliveries::Deliveries;
use crate::intake::Permits;
use crate::outbox::{self, Outbox};
use crate::output::{RoomOutput, TextFrame};
use crate::storage::Storage;

/// What a turn may do beside filling its sockets' outboxes, in bytes: closes,
/// attachments, frames larger than an outbox.
const TURN_BYTES_BASE: usize = 64 * 1024 * 1024;

/// One store's sockets, by connection id.
pub type Sockets = BTreeMap<u32, Socket>;

/// A socket as its room knows it.
pub struct Socket {
    /// Where its frames go.
    pub outbox: Outbox,
    /// What the guest keeps with it while the room sleeps.
    pub attachment: Option<String>,
}

/// The head of an HTTP answer with its first page.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The body's beginning.
    pub first: Page,
    /// The output that its pages count in.
    pub output: Arc<RoomOutput>,
}

/// One piece of an HTTP answer.
pub struct Page {
    /// Its bytes, which count until they are taken.
    pub body: Bytes,
    /// What the next page needs; `None` when the answer is complete.
    pub continuation: Option<String>,
}

/// A large answer for which there is no room: too much waits to be taken, by
/// the store's clients or by all.
pub struct Overloaded;

/// An answer that is larger has to find room, in bytes. What is smaller, as
/// the answers to pushes and most pulls are, is always given.
const LARGE_ANSWER_BYTES: usize = 64 * 1024;

/// What a turn does to the outside, once it is durable.
pub enum Effect {
    /// A frame for several sockets; its bytes are shared.
    Send {
        /// The connections.
        to: Vec<u32>,
        /// The frame.
        frame: TextFrame,
        /// What the frame brings to memory: its shared part is the first's.
        bytes: usize,
    },
    /// A close, after the frames before it.
    Close {
        /// The connection.
        connection: u32,
        /// The close code.
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
    /// A new attachment.
    Attach {
        /// The connection.
        connection: u32,
        /// The attachment.
        attachment: String,
    },
    /// A wish for a `drained` turn.
    NotifyDrained {
        /// The connection.
        connection: u32,
    },
    /// The answer of an HTTP request.
    Answer(Reply, Result<Answer, Overloaded>),
    /// The next page of an HTTP answer.
    Page(oneshot::Sender<Page>, Page),
}

/// Where the answer of an HTTP request goes.
pub type Reply = oneshot::Sender<Result<Answer, Overloaded>>;

/// What the imports work on during a turn.
pub struct Turn {
    store_id: Arc<str>,
    output: Arc<RoomOutput>,
    storage: Arc<Mutex<Box<dyn Storage>>>,
    /// The room's sockets.
    pub sockets: Sockets,
    /// What the turn does, in order.
    effects: Vec<Effect>,
    /// What the effects keep in memory, in bytes.
    bytes: usize,
}

impl Effect {
    /// What it keeps in memory until it is carried out, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Send { bytes, .. } => *bytes,
            Self::Attach { attachment, .. } => attachment.len(),
            Self::Answer(_, Ok(answer)) => answer.first.body.len(),
            Self::Answer(_, Err(Overloaded)) => 0,
            Self::Page(_, page) => page.body.len(),
            Self::Close { .. } | Self::NotifyDrained { .. } => 0,
        }
    }

    /// The same, with what it is itself.
    fn weight(&self) -> usize {
        let more = match self {
            Self::Send { to, .. } => size_of_val(to.as_slice()),
            Self::Close { reason, .. } => reason.len(),
            _ => 0,
        };
        size_of::<Self>() + self.bytes() + more
    }
}

impl Turn {
    /// Notes an effect. Beyond what its room's outboxes could hold nothing is
    /// noted, and the turn fails.
    pub fn add(&mut self, effect: Effect) {
        self.bytes = self.bytes.saturating_add(effect.weight());
        if !self.is_excessive() {
            self.effects.push(effect);
        }
    }

    /// Notes a frame for several sockets.
    pub fn send(&mut self, to: Vec<u32>, text: String) {
        let bytes = text.len();
        let frame = self.output.frame(text);
        self.add(Effect::Send { to, frame, bytes });
    }

    /// Notes frames that end alike, each for the sockets of its head.
    pub fn send_each(&mut self, openings: Vec<(Vec<u32>, String)>, rest: String) {
        let mut bytes = rest.len();
        let (sockets, heads): (Vec<_>, Vec<_>) = openings.into_iter().unzip();
        let frames = self.output.frames(heads.into_iter(), rest);
        for (to, frame) in sockets.into_iter().zip(frames) {
            let [head, _] = frame.parts();
            bytes += head.len();
            self.add(Effect::Send { to, frame, bytes });
            bytes = 0;
        }
    }

    /// Whether it does more than it may (I7).
    fn is_excessive(&self) -> bool {
        let outboxes = self.sockets.len().saturating_mul(outbox::BYTES_MAX);
        self.bytes > outboxes.saturating_add(TURN_BYTES_BASE)
    }

    /// Calls storage for this turn's store, and no other (I5).
    pub fn with_storage<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Storage, &str) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        call(storage.as_mut(), &self.store_id)
    }
}

/// An event for a room: what the turn is about.
pub enum Event {
    /// A socket was admitted and accepted.
    Open {
        /// Its number in this room.
        connection: u32,
        /// How it was admitted.
        admission: Box<Admission>,
        /// Where its frames go.
        outbox: Outbox,
    },
    /// A frame arrived. The permits are what lets sockets read on.
    Message {
        /// Whose.
        connection: u32,
        /// The frame.
        frame: Frame,
        /// Returned when the turn is over.
        permits: Permits,
    },
    /// The socket's outbox has room again.
    Drained {
        /// Whose.
        connection: u32,
    },
    /// The socket is gone.
    Closed {
        /// Whose.
        connection: u32,
    },
    /// An HTTP request. Without an answer, the turn failed.
    Request {
        /// How it was admitted.
        admission: Box<Admission>,
        /// Its body.
        body: Bytes,
        /// Returned when the turn is over.
        permits: Permits,
        /// Where the answer goes.
        reply: Reply,
    },
    /// The next page of an answer.
    Resume {
        /// What the page before left.
        continuation: String,
        /// Where the page goes.
        reply: oneshot::Sender<Page>,
    },
}

impl Event {
    /// The connection that waits for what comes of it.
    #[must_use]
    pub fn asker(&self) -> Option<u32> {
        match self {
            Self::Message { connection, .. } => Some(*connection),
            _ => None,
        }
    }

    /// What it brings, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Message { frame, .. } => match frame {
                Frame::Text(text) => text.len(),
                Frame::Binary(bytes) => bytes.len(),
            },
            Self::Request { body, .. } => body.len(),
            _ => 0,
        }
    }
}

/// One store's room.
pub struct Room {
    store_id: Arc<str>,
    runtime: Arc<Runtime>,
    storage: Arc<Mutex<Box<dyn Storage>>>,
    output: Arc<RoomOutput>,
    /// Its open sockets. Empty during a turn: the turn has them.
    pub sockets: Sockets,
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
            sockets: Sockets::new(),
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
    pub fn turn(&mut self, event: Event) -> Result<Vec<Effect>, Sockets> {
        self.used = Instant::now();
        match &event {
            Event::Closed { connection } => {
                self.sockets.remove(connection);
                if self.instance.is_none() {
                    // Nobody is awake who would have to be told.
                    return Ok(Vec::new());
                }
            }
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
            let socket = Socket {
                outbox: outbox.clone(),
                attachment: None,
            };
            self.sockets.insert(*connection, socket);
        }
        let turn = Turn {
            store_id: Arc::clone(&self.store_id),
            output: Arc::clone(&self.output),
            storage: Arc::clone(&self.storage),
            sockets: std::mem::take(&mut self.sockets),
            effects: Vec::new(),
            bytes: 0,
        };
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
        let is_excessive = turn.is_excessive();
        self.sockets = turn.sockets;
        let last = result?;
        if is_excessive {
            anyhow::bail!("it sends more than its sockets could take");
        }
        let mut effects = turn.effects;
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
        deliveries: &mut Deliveries,
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
                // Whoever asked may have gone; then nobody is told.
                Effect::Answer(reply, answer) => drop(reply.send(answer)),
                Effect::Page(reply, page) => drop(reply.send(page)),
            }
        }
    }

    /// Forgets the instance, as if the room had never been awake: what its
    /// last turns did is not durable.
    pub fn fail(&mut self) -> Sockets {
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

fn counted(output: &Arc<RoomOutput>, page: component::Page) -> Page {
    Page {
        body: output.page(page.body),
        continuation: page.continuation,
    }
}
