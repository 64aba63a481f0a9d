//! What lies between clients and room: sockets with a queue each way, and
//! HTTP exchanges. Only the runner moves what is in them to the room.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use syncline_guest::imports::{ConnectionId, StoredEvent};
use syncline_guest::protocol::Speech;

use super::coverage::seen;
use super::wire::Frame;

/// A client's message: the text that the room gets, and its meaning, which
/// the oracle judges the answer by.
#[derive(Debug)]
pub struct Said {
    pub text: String,
    pub meaning: Meaning,
}

/// What a client's message means.
#[derive(Debug)]
pub enum Meaning {
    Pull {
        id: String,
        live: bool,
        cursor: Option<(String, u64)>,
    },
    Push {
        id: String,
        backend_id: String,
        batch: Vec<StoredEvent>,
    },
    Ack(String),
    Interrupt(String),
    Ping,
    PullV3 {
        id: String,
        cursor: u64,
    },
    PushV3 {
        id: String,
        batch: Vec<StoredEvent>,
    },
    AdminReset,
}

/// Who a socket belongs to, as the oracle has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A 0.4 client.
    V4,
    /// A 0.3 client that has the log up to here.
    V3 { cursor: u64 },
    /// A 0.3 socket that only administers.
    Admin,
    /// A 0.4 client in another Durable Object, which is called.
    Object,
}

impl Owner {
    /// How the socket speaks.
    pub fn speech(self) -> Speech {
        match self {
            Self::V4 => Speech::SOCKET,
            Self::Object => Speech::OBJECT,
            Self::V3 { .. } | Self::Admin => Speech::SOCKET_V3,
        }
    }
}

/// One WebSocket.
#[derive(Debug)]
pub struct Socket {
    pub owner: Owner,
    /// The room was told of it.
    pub opened: bool,
    /// From the client to the room.
    pub inbound: VecDeque<Rc<Said>>,
    /// From the room to the client: durable. A turn's frames arrive together
    /// or not at all.
    pub outbound: VecDeque<Vec<Rc<Frame>>>,
    /// What the host keeps for the room.
    pub attachment: Option<String>,
    /// The room or the host closed it: the client learns it after `outbound`.
    pub closed: bool,
    /// The client is gone; the room has not been told.
    pub lost: bool,
    /// The room asked for a `drained` turn.
    pub drain_asked: bool,
}

/// One HTTP request, or call by another Durable Object, and its answer.
#[derive(Debug)]
pub struct Exchange {
    pub request: Rc<Said>,
    /// Whether an object called.
    pub is_call: bool,
    /// The request was handed to the room.
    pub asked: bool,
    /// What `resume` needs next.
    pub continuation: Option<String>,
    /// The whole answer, or that it was broken off.
    pub answer: Option<Result<Vec<Frame>, ()>>,
}

/// Calls that may fail, one after another, before a subscriber is let go.
const FAILURES_MAX: u32 = 3;

/// A Durable Object that is called with frames, one after another.
#[derive(Debug)]
pub struct Subscriber {
    pub object: String,
    /// Durable frames that it has not taken.
    pub waiting: VecDeque<Rc<Frame>>,
    /// Frames that it took, and the room was not told.
    pub untold: u32,
    /// Frames of which the room was told in turns that are not committed.
    pub unsettled: u32,
    failures: u32,
    /// What the host keeps for the room.
    pub attachment: Option<String>,
}

impl Subscriber {
    /// Whether something is on its way: then the host keeps the room awake.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || self.untold > 0 || self.unsettled > 0
    }
}

/// All sockets, subscribers and exchanges.
#[derive(Debug, Default)]
pub struct Network {
    pub sockets: BTreeMap<ConnectionId, Socket>,
    pub subscribers: BTreeMap<ConnectionId, Subscriber>,
    /// Connections to objects, subscribed or not yet.
    reserved: BTreeMap<String, ConnectionId>,
    /// Subscribers that were let go; the room has not been told.
    pub let_go: Vec<ConnectionId>,
    pub exchanges: BTreeMap<u32, Exchange>,
    last_id: u32,
}

impl Network {
    /// A client opens a socket.
    pub fn connect(&mut self, owner: Owner) -> ConnectionId {
        self.last_id += 1;
        self.sockets.insert(
            self.last_id,
            Socket {
                owner,
                opened: false,
                inbound: VecDeque::new(),
                outbound: VecDeque::new(),
                attachment: None,
                closed: false,
                lost: false,
                drain_asked: false,
            },
        );
        self.last_id
    }

    /// A client sends; into the void if the socket is closed.
    pub fn say(&mut self, id: ConnectionId, text: String, meaning: Meaning) {
        if let Some(socket) = self.sockets.get_mut(&id)
            && !socket.closed
        {
            socket.inbound.push_back(Rc::new(Said { text, meaning }));
        }
    }

    /// The next frames for the client: `Err` when the socket is closed and
    /// everything before was taken.
    pub fn hear(&mut self, id: ConnectionId) -> Result<Vec<Rc<Frame>>, ()> {
        let socket = self.sockets.get_mut(&id).ok_or(())?;
        match socket.outbound.pop_front() {
            Some(frames) => Ok(frames),
            None if socket.closed => {
                self.sockets.remove(&id);
                Err(())
            }
            None => Ok(Vec::new()),
        }
    }

    /// A client's socket dies: what was under way to the client is lost, and
    /// of what was under way to the room, all but the first `kept` messages.
    pub fn lose(&mut self, id: ConnectionId, kept: usize) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        if socket.closed || !socket.opened {
            self.sockets.remove(&id);
        } else {
            socket.lost = true;
            socket.outbound.clear();
            socket.inbound.truncate(kept);
        }
    }

    /// The host closes every socket with 1011 and breaks off every answer.
    pub fn crash(&mut self) {
        self.sockets.retain(|_, socket| {
            socket.closed = true;
            socket.inbound.clear();
            !socket.lost
        });
        // What is on its way would be sent again.
        self.let_go.clear();
        let busy = self.subscribers.iter().filter(|(_, it)| it.is_busy());
        for id in busy.map(|(&id, _)| id).collect::<Vec<_>>() {
            seen("a subscriber was let go because the room failed");
            self.unsubscribe(id);
        }
        for exchange in self.exchanges.values_mut() {
            if exchange.asked && exchange.answer.is_none() {
                exchange.continuation = None;
                exchange.answer = Some(Err(()));
            }
        }
    }

    /// A client sends an HTTP request.
    pub fn ask(&mut self, text: String, meaning: Meaning) -> u32 {
        self.exchange(false, text, meaning)
    }

    /// An object calls.
    pub fn ask_by_call(&mut self, text: String, meaning: Meaning) -> u32 {
        self.exchange(true, text, meaning)
    }

    fn exchange(&mut self, is_call: bool, text: String, meaning: Meaning) -> u32 {
        self.last_id += 1;
        let exchange = Exchange {
            request: Rc::new(Said { text, meaning }),
            is_call,
            asked: false,
            continuation: None,
            answer: None,
        };
        self.exchanges.insert(self.last_id, exchange);
        self.last_id
    }

    /// Its answer, once it is complete or broken off.
    pub fn answer(&mut self, id: u32) -> Option<Result<Vec<Frame>, ()>> {
        self.exchanges.get(&id)?.answer.as_ref()?;
        self.exchanges.remove(&id)?.answer
    }

    /// The connection to an object: the one that it has, or a new one.
    pub fn reserve(&mut self, object: &str) -> ConnectionId {
        if let Some(&id) = self.reserved.get(object) {
            return id;
        }
        self.last_id += 1;
        self.reserved.insert(object.to_owned(), self.last_id);
        self.last_id
    }

    /// Whether a connection is one to an object.
    pub fn is_subscriber(&self, id: ConnectionId) -> bool {
        self.reserved.values().any(|&reserved| reserved == id)
    }

    /// A subscription begins; what was sent before is dropped.
    pub fn subscribe(&mut self, id: ConnectionId, object: String) {
        let subscriber = Subscriber {
            object,
            waiting: VecDeque::new(),
            untold: 0,
            unsettled: 0,
            failures: 0,
            attachment: None,
        };
        self.subscribers.insert(id, subscriber);
    }

    /// A subscription ends: another one has another connection.
    pub fn unsubscribe(&mut self, id: ConnectionId) {
        self.subscribers.remove(&id);
        self.reserved.retain(|_, reserved| *reserved != id);
    }

    fn subscriber(&mut self, object: &str) -> Option<&mut Subscriber> {
        let mut all = self.subscribers.values_mut();
        all.find(|it| it.object == object)
    }

    /// Whether an object is subscribed.
    pub fn is_subscribed(&mut self, object: &str) -> bool {
        self.subscriber(object).is_some()
    }

    /// The object is called, and the call returns.
    pub fn call(&mut self, object: &str) -> Option<Rc<Frame>> {
        let subscriber = self.subscriber(object)?;
        let frame = subscriber.waiting.pop_front()?;
        subscriber.failures = 0;
        subscriber.untold += 1;
        Some(frame)
    }

    /// The object is called, and the call fails.
    pub fn call_in_vain(&mut self, object: &str) {
        if let Some(subscriber) = self.subscriber(object)
            && !subscriber.waiting.is_empty()
        {
            subscriber.failures += 1;
            if subscriber.failures > FAILURES_MAX {
                seen("a subscriber was let go because its calls failed");
                let id = self.reserved[object];
                self.unsubscribe(id);
                self.let_go.push(id);
            }
        }
    }
}
