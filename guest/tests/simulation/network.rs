//! What lies between clients and room: sockets with a queue each way, and
//! HTTP exchanges. Only the runner moves what is in them to the room.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use syncline_guest::imports::{ConnectionId, StoredEvent};
use syncline_guest::protocol::Transport;

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
}

impl Owner {
    /// How the socket speaks.
    pub fn transport(self) -> Transport {
        match self {
            Self::V4 => Transport::WsV4,
            Self::V3 { .. } | Self::Admin => Transport::WsV3,
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

/// One HTTP request and its answer.
#[derive(Debug)]
pub struct Exchange {
    pub request: Rc<Said>,
    /// The request was handed to the room.
    pub asked: bool,
    /// What `resume` needs next.
    pub continuation: Option<String>,
    /// The whole answer, or that it was broken off.
    pub answer: Option<Result<Vec<Frame>, ()>>,
}

/// All sockets and exchanges.
#[derive(Debug, Default)]
pub struct Network {
    pub sockets: BTreeMap<ConnectionId, Socket>,
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
        for exchange in self.exchanges.values_mut() {
            if exchange.asked && exchange.answer.is_none() {
                exchange.continuation = None;
                exchange.answer = Some(Err(()));
            }
        }
    }

    /// A client sends an HTTP request.
    pub fn ask(&mut self, text: String, meaning: Meaning) -> u32 {
        self.last_id += 1;
        let exchange = Exchange {
            request: Rc::new(Said { text, meaning }),
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
}
