//! Places for connections: how many there may be, which of them are kept for
//! those who ask how the server is, and who makes room for whom.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::asked::Asked;
use crate::net::asking::Idle;
use crate::net::taken::Taken;

/// Connections beside WebSockets: HTTP requests, and sockets that are told
/// why they are refused. Whoever comes beyond waits to be accepted.
const REQUESTS_MAX: usize = 1_000;

/// Connections that may ask how the server is, and nothing else, when all
/// others are taken.
const RESERVED_MAX: usize = 64;

/// Connections that there may be beside WebSockets.
pub const OTHERS_MAX: usize = REQUESTS_MAX + RESERVED_MAX;

/// A place for a connection, given back when the last holder lets go.
#[derive(Clone)]
pub struct Place(Arc<Taking>);

struct Taking {
    _permit: OwnedSemaphorePermit,
    is_reserved: bool,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, is_reserved: bool) -> Self {
        Self(Arc::new(Taking {
            _permit: permit,
            is_reserved,
        }))
    }

    /// Whether it is one of those that are kept to ask how the server is.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.is_reserved
    }
}

/// A connection as it was accepted.
pub type Stream = Taken<Asked<TcpStream>>;

/// The places of a server.
pub struct Places {
    all: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    /// Connections that give theirs up when somebody else needs it.
    idle: Arc<Idle>,
}

impl Places {
    /// For so many WebSockets, and the requests beside them.
    #[must_use]
    pub fn new(sockets_max: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(sockets_max + REQUESTS_MAX)),
            reserved: Arc::new(Semaphore::new(RESERVED_MAX)),
            idle: Arc::default(),
        }
    }

    /// The next free place. `None` would be a semaphore that is closed.
    pub async fn next(&self) -> Option<Place> {
        if let Ok(permit) = Arc::clone(&self.all).try_acquire_owned() {
            return Some(Place::new(permit, false));
        }
        tokio::select! {
            biased;
            permit = Arc::clone(&self.all).acquire_owned() => Some(Place::new(permit.ok()?, false)),
            permit = Arc::clone(&self.reserved).acquire_owned() => Some(Place::new(permit.ok()?, true)),
        }
    }

    /// For somebody who has come: the place, or instead of a reserved one
    /// that of an idle connection, which ends.
    pub async fn best(&self, place: Place) -> Place {
        if !place.is_reserved() {
            return place;
        }
        loop {
            if let Ok(permit) = Arc::clone(&self.all).try_acquire_owned() {
                return Place::new(permit, false);
            }
            let Some(stays) = self.idle.dismiss() else {
                return place;
            };
            tokio::select! {
                biased;
                Ok(permit) = Arc::clone(&self.all).acquire_owned() => return Place::new(permit, false),
                Ok(()) = stays => {}
                // Neither comes: a semaphore that is closed.
                else => return place,
            }
        }
    }

    /// Connections that give their places up when somebody needs them.
    #[must_use]
    pub fn idle(&self) -> &Arc<Idle> {
        &self.idle
    }

    /// Ends some that are idle: the machine has no more to give.
    pub fn dismiss_some(&self) {
        self.idle.dismiss_some();
    }
}
