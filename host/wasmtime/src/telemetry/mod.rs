//! What the server tells its operator: who is turned away, how sockets end,
//! whether it does its work; metrics and traces, where they are wanted.

pub mod codes;
pub mod dropped;
pub mod exposition;
pub mod ids;
pub mod life;
pub mod load;
mod machine;
pub mod meters;
pub mod observed;
mod otlp;
pub mod outward;
pub mod peer;
pub mod refusals;
pub mod start;
mod taken;
pub mod traces;
pub mod watch;

use std::sync::Arc;

use self::meters::Meters;
use self::traces::Traces;

/// The server's metrics and traces, as far as they are wanted. Without them it
/// measures nothing, and looks at no clock.
#[derive(Clone, Default)]
pub struct Telemetry {
    meters: Option<Arc<Meters>>,
    traces: Option<Arc<Traces>>,
}

impl Telemetry {
    /// Neither.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Whether there is either: then the guest tells what it answers.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.meters.is_some() || self.traces.is_some()
    }

    /// The metrics.
    #[must_use]
    pub fn meters(&self) -> Option<&Arc<Meters>> {
        self.meters.as_ref()
    }

    /// The traces.
    #[must_use]
    pub fn traces(&self) -> Option<&Arc<Traces>> {
        self.traces.as_ref()
    }
}
