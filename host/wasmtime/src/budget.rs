//! The memory that input may take while it waits for its turn: a budget for
//! each socket and one for the server. Whoever has to wait for it is not read
//! meanwhile, so the clients' TCP windows fill instead.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for, in bytes.
pub const UNIT_BYTES: usize = 1024;

/// What sockets' messages that wait may take in the whole server, in bytes.
const SERVER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What may wait of one socket, in bytes: one message of the largest size,
/// or many small ones.
const SOCKET_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a message counts for beside its bytes.
const OVERHEAD_BYTES: usize = 512;

/// Room taken from both budgets. Given back when it is dropped.
pub struct Permits {
    _socket: Option<OwnedSemaphorePermit>,
    _server: Option<OwnedSemaphorePermit>,
}

/// What waiting requests' bodies may take in the whole server, in bytes.
/// Apart from the sockets', so that slow bodies do not hold frames up.
const BODIES_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What refused requests' bodies may take in the whole server, in bytes.
/// Anybody can send those.
const REFUSED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The server's budgets.
pub struct Budget {
    sockets: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    refused: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        let units = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT_BYTES));
        Self {
            sockets: units(SERVER_BYTES_MAX),
            bodies: units(BODIES_BYTES_MAX),
            refused: units(REFUSED_BYTES_MAX),
        }
    }
}

impl Budget {
    /// A socket's share.
    #[must_use]
    pub fn of_socket(&self) -> SocketBudget {
        SocketBudget {
            socket: Arc::new(Semaphore::new(SOCKET_BYTES_MAX / UNIT_BYTES)),
            server: Arc::clone(&self.sockets),
        }
    }

    /// The budget of all sockets' messages.
    #[must_use]
    pub fn of_sockets(&self) -> Arc<Semaphore> {
        Arc::clone(&self.sockets)
    }

    /// The share of an admitted request's body: it grows as the body arrives.
    #[must_use]
    pub fn of_body(&self) -> BodyBudget {
        BodyBudget(Arc::clone(&self.bodies), None)
    }

    /// The share of a refused request's body.
    #[must_use]
    pub fn of_refused(&self) -> BodyBudget {
        BodyBudget(Arc::clone(&self.refused), None)
    }
}

/// A body's budget. What has arrived is paid for, not what is announced: a
/// slow body costs nothing.
pub struct BodyBudget(Arc<Semaphore>, Option<OwnedSemaphorePermit>);

impl BodyBudget {
    /// Waits for room for the next piece.
    pub async fn take(&mut self, bytes: usize) {
        let Some(units) = units(bytes, REFUSED_BYTES_MAX) else {
            return;
        };
        // It fails only when the semaphore is closed, which nobody does.
        if let Ok(permit) = Arc::clone(&self.0).acquire_many_owned(units).await {
            match &mut self.1 {
                Some(all) => all.merge(permit),
                None => self.1 = Some(permit),
            }
        }
    }

    /// What was taken, to be given back when the turn is over.
    #[must_use]
    pub fn permits(self) -> Permits {
        Permits {
            _socket: None,
            _server: self.1,
        }
    }
}

/// A socket's budget, within the server's.
pub struct SocketBudget {
    socket: Arc<Semaphore>,
    server: Arc<Semaphore>,
}

impl SocketBudget {
    /// Waits for room for a message.
    pub async fn take(&self, bytes: usize) -> Option<Permits> {
        Some(Permits {
            _socket: Some(acquire(&self.socket, bytes, SOCKET_BYTES_MAX).await?),
            _server: Some(acquire(&self.server, bytes, SERVER_BYTES_MAX).await?),
        })
    }
}

/// `None` only when the semaphore is closed, which nobody does.
async fn acquire(
    semaphore: &Arc<Semaphore>,
    bytes: usize,
    bytes_max: usize,
) -> Option<OwnedSemaphorePermit> {
    let units = units(bytes, bytes_max)?;
    Arc::clone(semaphore).acquire_many_owned(units).await.ok()
}

fn units(bytes: usize, bytes_max: usize) -> Option<u32> {
    let bytes = bytes.saturating_add(OVERHEAD_BYTES).min(bytes_max);
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()
}
