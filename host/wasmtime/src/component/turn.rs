//! A turn: the event that it is about, what its imports work on, and what it
//! does to the outside once it is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::trace::SpanContext;
use tokio::sync::oneshot;

use crate::contract::StorageError;
use crate::contract::telemetry::Subscriptions;
use crate::flow::outbox::{self, Outbox};
use crate::flow::output::{RoomOutput, TextFrame};
use crate::storage::event_log::Storage;
use crate::telemetry::traces::{Call, Stored};

/// What a turn may do beside filling its sockets' outboxes, in bytes: closes,
/// attachments, frames larger than an outbox.
const TURN_BYTES_BASE: usize = 64 * 1024 * 1024;

/// One store's sockets, by connection id.
pub type Members = BTreeMap<u32, Member>;

/// A socket as its room knows it.
pub struct Member {
    /// Where its frames go.
    pub outbox: Outbox,
    /// What the guest keeps with it while the room sleeps.
    pub attachment: Option<String>,
    /// The span that its client connected in, if it said so.
    pub parent: Option<Box<SpanContext>>,
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
    /// The room's timer.
    WakeAfter(Duration),
    /// The answer of an HTTP request.
    Answer(Reply, Result<Answer, Overloaded>),
    /// The next page of an HTTP answer.
    Page(oneshot::Sender<Page>, Page),
    /// A request was answered: for the metrics and traces, as what follows.
    Called(Box<Call>),
    /// Where the room's subscriptions stand now.
    Subscribed(Subscriptions),
    /// A client has seen more than the log holds.
    Ahead,
    /// Events were appended.
    Appended {
        /// How many.
        events: u64,
        /// Their text, in bytes.
        bytes: u64,
    },
    /// Storage was asked for something.
    Stored(Box<Stored>),
}

/// Where the answer of an HTTP request goes.
pub type Reply = oneshot::Sender<Result<Answer, Overloaded>>;

/// What the imports work on during a turn.
pub struct Turn {
    store_id: Arc<str>,
    output: Arc<RoomOutput>,
    storage: Arc<Mutex<Box<dyn Storage>>>,
    /// The room's sockets.
    pub sockets: Members,
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
            Self::Close { .. }
            | Self::NotifyDrained { .. }
            | Self::WakeAfter(_)
            | Self::Called(_)
            | Self::Subscribed(_)
            | Self::Ahead
            | Self::Appended { .. }
            | Self::Stored(_) => 0,
        }
    }

    /// The same, with what it is itself.
    fn weight(&self) -> usize {
        let more = match self {
            Self::Send { to, .. } => size_of_val(to.as_slice()),
            Self::Close { reason, .. } => reason.len(),
            Self::Called(call) => {
                size_of::<Call>()
                    + call.request.len()
                    + call.refused.as_ref().map_or(0, String::len)
            }
            Self::Stored(_) => size_of::<Stored>(),
            _ => 0,
        };
        size_of::<Self>() + self.bytes() + more
    }
}

impl Turn {
    /// A turn of this store's, which has these sockets.
    #[must_use]
    pub fn new(
        store_id: Arc<str>,
        output: Arc<RoomOutput>,
        storage: Arc<Mutex<Box<dyn Storage>>>,
        sockets: Members,
    ) -> Self {
        Self {
            store_id,
            output,
            storage,
            sockets,
            effects: Vec::new(),
            bytes: 0,
        }
    }

    /// Its sockets and what it does; no effects if it does more than it may.
    #[must_use]
    pub fn end(self) -> (Members, Option<Vec<Effect>>) {
        let is_excessive = self.is_excessive();
        (self.sockets, (!is_excessive).then_some(self.effects))
    }

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
