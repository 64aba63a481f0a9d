//! What a room knows of one connection, and how it survives the room's
//! memory: the attachment (design D3).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::pace::Bucket;
use super::window::Window;
use crate::code::Code;
use crate::principal::{self, PrincipalError};
use crate::protocol::event::ItemForm;
use crate::protocol::{Carrier, Dialect, RequestId, Speech, Voice};

/// The version of the attachments that are written here. The one before named
/// pulls and feeds after the versions of their clients.
const VERSION: u32 = 2;
const VERSION_BEFORE: u32 = 1;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Who it is, as the gateway wrote it. Kept for later checks.
    pub principal: Box<RawValue>,
    /// The user it was admitted as, if it is one's.
    pub user_id: Option<Box<str>>,
    /// What it is: a socket, or a subscriber that is called.
    carrier: Carrier,
    /// The version that its client writes, once that is known.
    pub dialect: Option<Dialect>,
    /// How it gets what others push, and what it is in the middle of.
    pub client: Client,
    /// What is left of its requests, once it has made one.
    pub requests: Option<Bucket>,
    /// Whether it has pulled.
    pub pulling: Pulling,
}

/// Whether the socket of a client that pulls has pulled (`stranded.rs`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pulling {
    /// It has, or need not.
    #[default]
    Pulls,
    /// Not yet.
    Never,
    /// Not yet, though it should have.
    Doubted {
        /// Until when it may, in milliseconds since 1970.
        until_ms: u64,
        /// It was refused, and did nothing else that only one does that has
        /// pulled.
        #[serde(default)]
        refused: bool,
    },
}

impl Pulling {
    fn is_pulls(&self) -> bool {
        *self == Self::Pulls
    }
}

/// How a client gets what others push, and how far it is.
#[derive(Debug)]
pub enum Client {
    /// It pulls on every connection, and acknowledges: its pulls.
    Pulls(Vec<Pull>),
    /// It takes what comes, as 0.3 clients do: what it gets, and why.
    Feed(Feed),
}

/// What a client gets that is fed, of LiveStore 0.3. It pulls once in its life, not once a socket, and
/// takes what comes afterwards as it comes: a gap makes it diverge, an event
/// it has already makes it stop for ever (tried with 0.3.1; PROTOCOL.md). So
/// it gets pushes only while it is known what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feed {
    /// It has not said where it is: it is a client that lost its socket.
    /// Its next push tells.
    Unknown,
    /// It is given the events from a cursor on, a page a turn.
    Paging(Paging),
    /// Its pull failed on the way. Its next push says that it waits for the
    /// rest, which is what follows the cursor: that push may be older than
    /// what was sent.
    Stopped {
        /// The last event sent.
        cursor: u64,
        /// See [`Feed::Live`].
        acknowledged: u64,
    },
    /// It is at the head and gets every push.
    Live {
        /// The last event that it pushed itself and that was acknowledged on
        /// this socket; 0 for none.
        acknowledged: u64,
    },
}

/// A pull.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pull {
    /// The request's id.
    pub id: RequestId,
    /// Whether to go on with what is pushed later.
    pub live: bool,
    /// How far it is.
    pub at: Position,
    /// Whether it is not told of more for now, because its client edits
    /// (`telling.rs`). Kept, so that a room that wakes goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Whether it is told now of what it was not told before.
    #[serde(skip)]
    pub joined: bool,
    /// What is not acknowledged. Forgotten when the room sleeps.
    #[serde(skip)]
    pub window: Window,
    /// Whether it was sent a Chunk and has acknowledged none since the room
    /// woke. It costs an attachment at the first Chunk and one at the first
    /// Ack, and saves sending ever more to a deaf client of a drowsy room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unheard: bool,
    /// Whether it has acknowledged a Chunk since the room woke.
    #[serde(skip)]
    heard: bool,
    /// A subscriber's last event that it is known to have. Its connection
    /// outlives a crash, unlike a socket: so this is kept with each delivery,
    /// and a room that wakes goes on from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken: Option<u64>,
    /// A subscriber's Chunks in flight, by their last event.
    #[serde(skip)]
    in_flight: VecDeque<u64>,
    /// Acks that may be of Chunks which were sent before the room woke.
    #[serde(skip)]
    acks_forgotten: usize,
}

impl Pull {
    /// A pull that begins.
    #[must_use]
    pub fn new(id: &str, live: bool, at: Position) -> Self {
        Self {
            id: id.to_owned(),
            live,
            at,
            held: false,
            joined: false,
            window: Window::default(),
            unheard: false,
            heard: false,
            taken: None,
            in_flight: VecDeque::new(),
            acks_forgotten: 0,
        }
    }

    /// A pull that begins on a connection that has others.
    #[must_use]
    pub fn besides_others(id: &str, live: bool, at: Position) -> Self {
        Self {
            window: Window::narrow(),
            ..Self::new(id, live, at)
        }
    }

    /// The pull of a subscriber, which has everything up to `cursor`.
    #[must_use]
    pub fn of_subscriber(id: &str, cursor: u64) -> Self {
        let at = Position::Catching {
            cursor,
            until: cursor,
        };
        Self {
            taken: Some(cursor),
            ..Self::new(id, true, at)
        }
    }

    /// The pull started again by its client. What is in flight is in flight
    /// still.
    #[must_use]
    pub fn restarted(self, live: bool, at: Position) -> Self {
        Self {
            live,
            at,
            held: false,
            joined: false,
            ..self
        }
    }

    /// Whether this is a subscriber's, and its connection's only one.
    #[must_use]
    pub fn is_subscribers(&self) -> bool {
        self.taken.is_some()
    }

    /// A frame was sent, a Chunk up to `last`. Returns whether the attachment
    /// has to be written.
    pub fn sent(&mut self, frame_bytes: usize, last: u64) -> bool {
        self.window.sent(frame_bytes);
        if self.taken.is_some() {
            self.in_flight.push_back(last);
            return false;
        }
        let changed = !self.heard && !self.unheard;
        self.unheard |= changed;
        changed
    }

    /// Whether an Ack may be one of a Chunk that was sent. After waking a real
    /// client may have as many more to acknowledge as a window takes: they are
    /// not held against it.
    pub fn expects_ack(&mut self) -> bool {
        if !self.window.is_empty() {
            return true;
        }
        let may_be = self.acks_forgotten > 0;
        self.acks_forgotten = self.acks_forgotten.saturating_sub(1);
        may_be
    }

    /// A Chunk was acknowledged. Returns whether the attachment has to be
    /// written.
    pub fn acknowledged(&mut self) -> bool {
        self.window.acknowledged();
        self.heard = true;
        if self.taken.is_some() {
            let taken = self.in_flight.pop_front();
            self.taken = taken.or(self.taken);
            return taken.is_some();
        }
        std::mem::take(&mut self.unheard)
    }
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// Reads pages from `cursor` on.
    Catching {
        /// The last event sent.
        cursor: u64,
        /// The head when catching up began: at or past it a Chunk says that
        /// no more is known.
        until: u64,
    },
    /// At the head: a committed push is sent at once.
    Live,
    /// Everything is sent; the Exit waits for the last Ack.
    Ending,
}

/// An answer of many pages to a client that is fed, which has no Acks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paging {
    /// The request that it answers.
    pub id: String,
    /// Whether that was a pull, or a push that showed what the client lacks.
    pub is_pull: bool,
    /// The last event sent.
    pub cursor: u64,
    /// The head when it began.
    pub until: u64,
    /// What it is when it is live: see [`Feed::Live`].
    pub acknowledged: u64,
}

impl Feed {
    /// The last event that the client pushed itself and that was acknowledged
    /// on this socket; 0 for none.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Paging(paging) => paging.acknowledged,
            Self::Stopped { acknowledged, .. } | Self::Live { acknowledged } => *acknowledged,
        }
    }
}

#[derive(Serialize)]
struct Attachment<'a> {
    v: u32,
    principal: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<Dialect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pulls: Option<&'a Vec<Pull>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feed: Option<&'a Feed>,
    #[serde(skip_serializing_if = "Pulling::is_pulls")]
    pulling: Pulling,
}

/// A connection that cannot be taken on.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// What is kept with it was not written by Syncline.
    #[error("its attachment is not ours: {0}")]
    NotOurs(#[from] serde_json::Error),
    /// Another version of Syncline wrote it.
    #[error("its attachment has version {0}, and {VERSION} is known here")]
    UnknownVersion(u32),
    /// Its client neither pulls nor is fed.
    #[error("its attachment names no client")]
    NoClient,
    /// Who it is cannot be read.
    #[error(transparent)]
    Principal(#[from] PrincipalError),
}

impl RestoreError {
    /// The reason of its close.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::UnknownVersion(_) | Self::Principal(PrincipalError::UnknownVersion(_)) => {
                Code::VersionUnknown
            }
            _ => Code::Internal,
        }
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    v: Option<u32>,
}

#[derive(Deserialize)]
struct Restored {
    principal: Box<RawValue>,
    #[serde(default)]
    dialect: Option<Dialect>,
    #[serde(default, alias = "v4")]
    pulls: Option<Vec<Pull>>,
    #[serde(default, alias = "v3")]
    feed: Option<Feed>,
    #[serde(default)]
    pulling: Pulling,
}

impl Connection {
    /// A connection that was just admitted.
    ///
    /// # Errors
    /// When its principal cannot be read.
    pub fn new(speech: Speech, principal: &str) -> Result<Self, PrincipalError> {
        let is_fed = speech.dialect.is_some_and(|it| it.rpc().is_none());
        Ok(Self {
            user_id: principal::user_id(principal)?,
            principal: RawValue::from_string(principal.to_owned())?,
            carrier: speech.carrier,
            dialect: speech.dialect,
            client: if is_fed {
                Client::Feed(Feed::Unknown)
            } else {
                Client::Pulls(Vec::new())
            },
            requests: None,
            pulling: if speech.carrier == Carrier::Socket && !is_fed {
                Pulling::Never
            } else {
                Pulling::Pulls
            },
        })
    }

    /// A subscriber: a connection with one pull, that lives as long.
    ///
    /// # Errors
    /// When its principal cannot be read.
    pub fn of_subscriber(
        dialect: Dialect,
        principal: &str,
        pull: Pull,
    ) -> Result<Self, PrincipalError> {
        Ok(Self {
            carrier: Carrier::Callback,
            dialect: Some(dialect),
            client: Client::Pulls(vec![pull]),
            ..Self::new(Speech::OBJECT, principal)?
        })
    }

    /// In which words its client is answered.
    #[must_use]
    pub fn voice(&self) -> Voice {
        Voice {
            dialect: self.dialect.unwrap_or_default(),
            carrier: self.carrier,
        }
    }

    /// How events stand in what its client gets.
    #[must_use]
    pub fn item_form(&self) -> ItemForm {
        self.voice().dialect.codec().item_form()
    }

    /// Whether this is a subscriber's.
    #[must_use]
    pub fn is_subscriber(&self) -> bool {
        matches!(&self.client, Client::Pulls(pulls)
            if pulls.iter().any(Pull::is_subscribers))
    }

    /// Whether a pull of its is not told of more for now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(&self.client, Client::Pulls(pulls) if pulls.iter().any(|pull| pull.held))
    }

    /// What the host has to keep.
    #[must_use]
    pub fn attachment(&self) -> String {
        let (pulls, feed) = match &self.client {
            Client::Pulls(pulls) => (Some(pulls), None),
            Client::Feed(feed) => (None, Some(feed)),
        };
        serde_json::to_string(&Attachment {
            v: VERSION,
            principal: &self.principal,
            dialect: self.dialect,
            pulls,
            feed,
            pulling: self.pulling,
        })
        .unwrap_or_default()
    }

    /// The connection that an attachment describes. One without a version is
    /// of the time before there were versions: subscribers' outlive
    /// deployments.
    ///
    /// # Errors
    /// When it is none of ours, or of a version that is not known here.
    pub fn restore(attachment: &str) -> Result<Self, RestoreError> {
        // The version first: of another one nothing else is known.
        match serde_json::from_str::<Head>(attachment)?.v {
            None | Some(VERSION_BEFORE | VERSION) => {}
            Some(other) => return Err(RestoreError::UnknownVersion(other)),
        }
        let restored: Restored = serde_json::from_str(attachment)?;
        Ok(Self {
            user_id: principal::user_id(restored.principal.get())?,
            principal: restored.principal,
            carrier: match &restored.pulls {
                Some(pulls) if pulls.iter().any(Pull::is_subscribers) => Carrier::Callback,
                _ => Carrier::Socket,
            },
            dialect: restored
                .dialect
                .or(restored.feed.as_ref().map(|_| Dialect::V3)),
            client: match (restored.pulls, restored.feed) {
                (Some(mut pulls), None) => {
                    for (index, pull) in pulls.iter_mut().enumerate() {
                        let window = if index == 0 {
                            Window::default()
                        } else {
                            Window::narrow()
                        };
                        pull.acks_forgotten = window.live_chunks_max();
                        pull.window = if pull.unheard {
                            window.filled()
                        } else {
                            window
                        };
                        if let Some(taken) = pull.taken {
                            pull.at = Position::Catching {
                                cursor: taken,
                                until: taken,
                            };
                        }
                    }
                    Client::Pulls(pulls)
                }
                (None, Some(feed)) => Client::Feed(feed),
                (None, None) | (Some(_), Some(_)) => return Err(RestoreError::NoClient),
            },
            requests: None,
            pulling: restored.pulling,
        })
    }
}
