//! A room: one store, all its connections, one event at a time. Exported as
//! `wit/room.wit`; every public method is a turn.

mod answered;
mod batch;
mod beginning;
mod call;
pub mod connection;
pub mod editor;
mod exchange;
pub mod fault;
mod feed;
pub mod log;
mod overtaken;
pub mod pace;
mod paged;
mod pulls;
mod pushes;
pub mod recent;
mod socket;
mod stranded;
mod subscriptions;
pub mod tally;
mod telling;
mod trouble;
pub mod window;

use std::collections::{BTreeMap, BTreeSet};

use self::answered::Answered;
use self::connection::{Client, Connection, Pulling};
use self::log::Log;
use self::pace::Principals;
use self::stranded::Stranded;
use self::tally::Tally;
use self::telling::Telling;
use crate::admission::Admission;
use crate::code::Code;
use crate::config::Config;
use crate::imports::{AttachError, ConnectionId, Imports, Level};
use crate::limits::Rates;
use crate::principal::PrincipalError;

pub use self::paged::{Answer, Page};

/// A WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(String),
    /// A binary message: JSON too, or junk.
    Binary(Vec<u8>),
}

impl Frame {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// The room of one store.
#[derive(Debug)]
pub struct Room {
    store_id: String,
    admin_secret: Option<String>,
    /// `DO_RPC_CLIENTS`: the bindings whose objects may subscribe.
    do_rpc_clients: Vec<String>,
    log: Log,
    connections: BTreeMap<ConnectionId, Connection>,
    rates: Rates,
    principals: Principals,
    telling: Telling,
    stranded: Stranded,
    /// Pushes that were refused for what they hold, since it woke.
    invalid_pushes: Tally,
    answered: Answered,
    /// Those whose attachment has to be written at the end of the turn.
    dirty: BTreeSet<ConnectionId>,
    /// Subscribers that were here when the room woke.
    woken: Vec<ConnectionId>,
}

impl Room {
    /// A room that starts or wakes: rebuilds its connections from what the
    /// host kept of them.
    pub fn start(imports: &mut impl Imports, store_id: String) -> Self {
        // A configuration that cannot be read admits nobody (gateway), and
        // means no administration here.
        let (admin_secret, do_rpc_clients, rates, has_telemetry) = match Config::read(imports) {
            Ok(config) => (
                config.admin_secret,
                config.do_rpc_clients,
                config.rates,
                config.has_telemetry,
            ),
            Err(_) => (None, Vec::new(), Rates::default(), false),
        };
        let mut woken = Vec::new();
        let mut telling = Telling::default();
        let mut stranded = Stranded::default();
        let mut answered = Answered::new(has_telemetry);
        let mut connections = BTreeMap::new();
        for (id, attachment) in imports.attached() {
            match Connection::restore(&attachment) {
                Ok(connection) => {
                    if connection.is_subscriber() {
                        woken.push(id);
                    }
                    if connection.is_held() {
                        telling.held_before(id);
                    }
                    if let Pulling::Doubted { until_ms, .. } = connection.pulling {
                        stranded.doubted(id, until_ms);
                    }
                    answered.stands(id, Some(&connection));
                    connections.insert(id, connection);
                }
                Err(error) => {
                    imports.log(Level::Error, &format!("connection {id} is closed: {error}"));
                    close(imports, id, error.code());
                }
            }
        }
        Self {
            store_id,
            admin_secret,
            do_rpc_clients,
            log: Log::default(),
            connections,
            rates,
            principals: Principals::new(),
            telling,
            stranded,
            invalid_pushes: Tally::default(),
            answered,
            dirty: BTreeSet::new(),
            woken,
        }
    }

    /// A WebSocket was admitted and accepted.
    pub fn open(&mut self, imports: &mut impl Imports, id: ConnectionId, admission: &Admission) {
        self.begin_turn(imports);
        let connection = match admission.speech {
            Some(speech) => Connection::new(speech, &admission.principal),
            None => Err(PrincipalError::UnknownSpeech),
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                imports.log(Level::Error, &format!("connection {id} is closed: {error}"));
                close(imports, id, Code::VersionUnknown);
                return self.end_turn(imports);
            }
        };
        let is_fed = matches!(connection.client, Client::Feed(_));
        self.connections.insert(id, connection);
        self.mark_dirty(id);
        if is_fed {
            self.open_feed(imports, id);
        }
        self.end_turn(imports);
    }

    /// A frame arrived.
    pub fn message(&mut self, imports: &mut impl Imports, id: ConnectionId, frame: &Frame) {
        self.begin_turn(imports);
        self.read(imports, id, frame.bytes());
        self.end_turn(imports);
    }

    /// The connection's outbox has room again.
    pub fn drained(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        self.begin_turn(imports);
        self.feed_page(imports, id);
        self.end_turn(imports);
    }

    /// The connection is gone.
    pub fn closed(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        // First of all, so that nothing is sent to it.
        self.forget(id);
        self.begin_turn(imports);
        self.end_turn(imports);
    }

    fn forget(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.telling.gone(id);
        self.stranded.gone(id);
        self.answered.stands(id, None);
    }

    fn close(&mut self, imports: &mut impl Imports, id: ConnectionId, code: Code) {
        self.forget(id);
        close(imports, id, code);
    }

    /// Goes on with what nobody would go on with otherwise: what a room that
    /// wakes finds begun, and is not the turn's own.
    fn begin_turn(&mut self, imports: &mut impl Imports) {
        self.wake_subscribers(imports);
    }

    /// Writes down what has changed in this turn, and sees to what is left.
    fn end_turn(&mut self, imports: &mut impl Imports) {
        self.tell_waiting(imports);
        self.close_stranded(imports);
        self.write_attachments(imports);
        self.set_timer(imports);
        self.answered.tell(imports);
    }

    /// Writes down what has changed in this turn (design D3).
    fn write_attachments(&mut self, imports: &mut impl Imports) {
        let mut unkept = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            // It may have been closed since.
            let Some(connection) = self.connections.get(&id) else {
                continue;
            };
            self.answered.stands(id, Some(connection));
            match imports.attach(id, &connection.attachment()) {
                Ok(()) | Err(AttachError::Gone) => {}
                Err(error @ AttachError::TooLarge(_)) => {
                    imports.log(Level::Error, &format!("connection {id}: {error}"));
                    unkept.push(id);
                }
            }
        }
        for id in unkept {
            self.close(imports, id, Code::TooManyPulls);
        }
    }
}

/// Closes a connection.
fn close(imports: &mut impl Imports, id: ConnectionId, code: Code) {
    imports.close(id, code.close_code_or_fault(), code.as_str());
}
