//! The server: what all its connections share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::component::gateway::Gateway;
use crate::flow::intake::Intake;
use crate::flow::output::Output;
use crate::limits::Limits;
use crate::rooms::shards::Shards;
use crate::services::{Equipment, Services};
use crate::telemetry::refusals::Refusals;
use crate::telemetry::watch::Watch;

/// What refused requests' bodies may take in the whole server, in bytes.
/// Anybody can send those.
const REFUSED_BYTES_MAX: usize = 24 * 1024 * 1024;

/// The server.
pub struct App {
    gateway: Arc<Gateway>,
    services: Services,
    shards: Shards,
    limits: Limits,
    frames: Arc<Intake>,
    bodies: Arc<Intake>,
    refused_bodies: Arc<Intake>,
    watch: Watch,
    refusals: Arc<Refusals>,
    connections: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl App {
    /// A server on this gateway and these shards, with this for its services.
    #[must_use]
    pub fn new(
        gateway: Gateway,
        shards: Shards,
        limits: Limits,
        equipment: Equipment,
    ) -> Arc<Self> {
        let gateway = Arc::new(gateway);
        let refusals = Arc::<Refusals>::default();
        let frames = Intake::new(limits.input_bytes_max);
        let bodies = Intake::new(limits.input_bytes_max);
        let watched = vec![
            ("WebSocket messages", Arc::clone(&frames)),
            ("requests' bodies", Arc::clone(&bodies)),
        ];
        Arc::new(Self {
            services: Services::new(
                Arc::clone(&gateway),
                Arc::clone(&refusals),
                equipment,
                limits.message_timeout,
            ),
            gateway,
            watch: Watch::new(shards.pulses(), watched),
            refusals,
            shards,
            frames,
            bodies,
            refused_bodies: Intake::new(REFUSED_BYTES_MAX),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            limits,
            stopping: CancellationToken::new(),
        })
    }

    /// Admission.
    #[must_use]
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The services beside sync.
    #[must_use]
    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// The rooms.
    #[must_use]
    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// What clients may take.
    #[must_use]
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What WebSocket messages may take.
    #[must_use]
    pub(crate) fn frames(&self) -> &Arc<Intake> {
        &self.frames
    }

    /// What admitted requests' bodies may take. Apart from the sockets', so
    /// that slow bodies do not hold frames up.
    #[must_use]
    pub(crate) fn bodies(&self) -> &Arc<Intake> {
        &self.bodies
    }

    /// What refused requests' bodies may take.
    #[must_use]
    pub(crate) fn refused_bodies(&self) -> &Arc<Intake> {
        &self.refused_bodies
    }

    /// What waits to be taken.
    #[must_use]
    pub(crate) fn output(&self) -> &Arc<Output> {
        self.shards.output()
    }

    /// What the log says of those who are turned away.
    #[must_use]
    pub(crate) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// The watch over it.
    #[must_use]
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Why the server is not ready, if it is not.
    #[must_use]
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.stopping.is_cancelled() {
            return Some("stopping".to_owned());
        }
        self.watch.complaint()
    }

    /// A permit for each WebSocket there may be.
    #[must_use]
    pub(crate) fn connections(&self) -> &Arc<Semaphore> {
        &self.connections
    }

    /// Cancelled when the server stops.
    #[must_use]
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }
}
