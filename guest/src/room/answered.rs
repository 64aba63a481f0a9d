//! What a turn answered, and where subscriptions stand, for the host's metrics
//! and traces (`wit/telemetry.wit`). Nothing is gathered for a host that has
//! none.

use std::collections::BTreeMap;

use super::Room;
use super::beginning::NotBegun;
use super::connection::{Client, Connection, Feed, Position};
use super::fault::Fault;
use super::log::PushError;
use crate::imports::{Called, ConnectionId, Imports, Method, Subscriptions};
use crate::protocol::Trace;

/// A push whose parent is not the log's head: upstream's `ServerAheadError`.
const SERVER_AHEAD: &str = "SERVER_AHEAD";

/// Upstream's `BackendIdMismatchError`.
const BACKEND_ID_MISMATCH: &str = "BACKEND_ID_MISMATCH";

/// What the host was told.
#[derive(Debug, Default)]
pub struct Answered {
    is_wanted: bool,
    /// Where each connection's subscriptions stand.
    standing: BTreeMap<ConnectionId, Subscriptions>,
    /// All of them.
    sum: Subscriptions,
    /// What the host knows.
    told: Subscriptions,
}

impl Answered {
    /// Whether the host wants to be told.
    pub fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            ..Self::default()
        }
    }

    /// A connection's subscriptions stand here now; `None` if it is gone.
    pub fn stands(&mut self, id: ConnectionId, connection: Option<&Connection>) {
        if !self.is_wanted {
            return;
        }
        let now = connection.map(standing).unwrap_or_default();
        let before = if now == Subscriptions::default() {
            self.standing.remove(&id)
        } else {
            self.standing.insert(id, now)
        };
        let before = before.unwrap_or_default();
        let counts = |sum: &mut u32, before: u32, now: u32| {
            *sum = sum.saturating_sub(before).saturating_add(now);
        };
        counts(&mut self.sum.live, before.live, now.live);
        counts(&mut self.sum.catching, before.catching, now.catching);
        counts(&mut self.sum.held, before.held, now.held);
    }

    /// Tells the host, at the end of a turn, if anything has changed.
    pub fn tell(&mut self, imports: &mut impl Imports) {
        if self.sum != self.told {
            self.told = self.sum;
            imports.subscribed(self.sum);
        }
    }
}

fn standing(connection: &Connection) -> Subscriptions {
    let mut counts = Subscriptions::default();
    match &connection.client {
        Client::Pulls(pulls) => {
            for pull in pulls {
                let count = match pull.at {
                    _ if pull.held => &mut counts.held,
                    Position::Live => &mut counts.live,
                    Position::Catching { .. } | Position::Ending => &mut counts.catching,
                };
                *count = count.saturating_add(1);
            }
        }
        Client::Feed(Feed::Live { .. }) => counts.live = 1,
        Client::Feed(Feed::Paging(_)) => counts.catching = 1,
        Client::Feed(Feed::Unknown | Feed::Stopped { .. }) => {}
    }
    counts
}

/// A request, for the host's metrics and traces.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The socket that it came on.
    pub connection: Option<ConnectionId>,
    /// What it asks for.
    pub method: Method,
    /// Its id.
    pub id: &'a str,
    /// How many events it pushes.
    pub events: usize,
    /// The span that its client makes it in.
    pub trace: Option<&'a Trace>,
}

impl<'a> Request<'a> {
    /// One that is no more than its id.
    pub fn of(connection: Option<ConnectionId>, method: Method, id: &'a str) -> Self {
        Self {
            connection,
            method,
            id,
            events: 0,
            trace: None,
        }
    }
}

impl Room {
    /// A request was answered: as it asked, or with the code of a refusal.
    pub(super) fn answered(
        &self,
        imports: &mut impl Imports,
        request: Request<'_>,
        refused: Option<&'static str>,
    ) {
        if self.answered.is_wanted {
            imports.called(&Called {
                connection: request.connection,
                method: request.method,
                request: request.id,
                events: request.events,
                refused,
                parent: request.trace,
            });
        }
    }
}

impl Fault {
    /// As the host is told of it.
    pub(super) fn word(&self) -> &'static str {
        self.code.as_str()
    }
}

impl NotBegun {
    /// As the host is told of it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::BackendIdMismatch { .. } => BACKEND_ID_MISMATCH,
            Self::Fault(fault) => fault.word(),
        }
    }
}

impl PushError {
    /// As the host is told of it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::BackendIdMismatch { .. } => BACKEND_ID_MISMATCH,
            Self::ServerAhead { .. } => SERVER_AHEAD,
            Self::Fault(fault) => fault.word(),
            Self::Overtaken { .. } => Fault::overtaken().word(),
        }
    }
}
