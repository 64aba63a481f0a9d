//! The server: what all its connections share, and its beginning and end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::budget::Budget;
use crate::gateway::Gateway;
use crate::limits::Limits;
use crate::listener;
use crate::shard::Shards;

/// How long answers under way may take once the server stops, beside what
/// sockets may.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The server.
pub struct App {
    gateway: Gateway,
    shards: Shards,
    limits: Limits,
    budget: Budget,
    connections: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl App {
    /// A server on this gateway and these shards.
    #[must_use]
    pub fn new(gateway: Gateway, shards: Shards, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            gateway,
            shards,
            budget: Budget::default(),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            limits,
            stopping: CancellationToken::new(),
        })
    }

    /// Admission.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The rooms.
    #[must_use]
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// What clients may take.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What waiting input may take.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// A permit for each WebSocket there may be.
    #[must_use]
    pub fn connections(&self) -> &Arc<Semaphore> {
        &self.connections
    }

    /// Cancelled when the server stops.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Serves until `stop` returns; then finishes the turns that wait, closes
    /// the sockets with 1012 and the storage.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            stop.await;
            stopping.cancel();
        });
        let serving = async {
            let served = listener::serve(&self, listener).await;
            // However it ended, the rest has to end in good order.
            self.stopping.cancel();
            served
        };
        let stopped = async {
            self.stopping.cancelled().await;
            info!("stopping: turns are finished, then sockets closed");
            self.shards.stop().await;
        };
        let deadline = async {
            self.stopping.cancelled().await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            // Answers under way end with the listener, beside the rooms.
            (served, ()) = async { tokio::join!(serving, stopped) } => served,
            () = deadline => {
                info!("some answers were not taken in time");
                Ok(())
            }
        }
    }
}
