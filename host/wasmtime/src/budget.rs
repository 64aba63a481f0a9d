//! The memory that input may take while it waits for its turn: a budget for
//! each socket and one for the server. Whoever has to wait for it is not read
//! meanwhile, so the clients' TCP windows fill instead.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for, in bytes.
const UNIT_BYTES: usize = 1024;

/// What may wait in the whole server, in bytes.
const SERVER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What may wait of one socket, in bytes: one message of the largest size,
/// or many small ones.
const SOCKET_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a message counts for beside its bytes.
const OVERHEAD_BYTES: usize = 512;

/// Room taken from both budgets. Given back when it is dropped.
pub struct Permits {
    _socket: Option<OwnedSemaphorePermit>,
    _server: OwnedSemaphorePermit,
}

/// The server's budget. Cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SERVER_BYTES_MAX / UNIT_BYTES)))
    }
}

impl Budget {
    /// A socket's share.
    #[must_use]
    pub fn of_socket(&self) -> SocketBudget {
        SocketBudget {
            socket: Arc::new(Semaphore::new(SOCKET_BYTES_MAX / UNIT_BYTES)),
            server: self.clone(),
        }
    }

    /// Waits for room for a request's body.
    pub async fn take(&self, bytes: usize) -> Option<Permits> {
        Some(Permits {
            _socket: None,
            _server: acquire(&self.0, bytes, SERVER_BYTES_MAX).await?,
        })
    }
}

/// A socket's budget, within the server's.
pub struct SocketBudget {
    socket: Arc<Semaphore>,
    server: Budget,
}

impl SocketBudget {
    /// Waits for room for a message.
    pub async fn take(&self, bytes: usize) -> Option<Permits> {
        Some(Permits {
            _socket: Some(acquire(&self.socket, bytes, SOCKET_BYTES_MAX).await?),
            _server: acquire(&self.server.0, bytes, SERVER_BYTES_MAX).await?,
        })
    }
}

/// `None` only when the semaphore is closed, which nobody does.
async fn acquire(
    semaphore: &Arc<Semaphore>,
    bytes: usize,
    bytes_max: usize,
) -> Option<OwnedSemaphorePermit> {
    let bytes = (bytes + OVERHEAD_BYTES).min(bytes_max);
    let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
    Arc::clone(semaphore).acquire_many_owned(units).await.ok()
}
