//! The metrics as Prometheus reads them.

use std::sync::Arc;

use prometheus::{Registry, TextEncoder};
use tracing::warn;

/// What [`Exposition::text`] is, as an HTTP header says it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics, for whoever asks for them. Cheap to clone.
#[derive(Clone)]
pub struct Exposition(Arc<Registry>);

impl Exposition {
    /// What is gathered in this registry.
    #[must_use]
    pub(super) fn new(registry: Registry) -> Self {
        Self(Arc::new(registry))
    }

    /// All metrics, in Prometheus's text format.
    #[must_use]
    pub fn text(&self) -> String {
        let encoded = TextEncoder::new().encode_to_string(&self.0.gather());
        encoded.unwrap_or_else(|error| {
            warn!(
                event = "telemetry_failed",
                "the metrics cannot be written: {error}"
            );
            String::new()
        })
    }
}
