//! What of telemetry found no way out: counted, so that a gap is not taken for
//! silence.

use std::sync::atomic::{AtomicU64, Ordering};

/// How much was dropped.
#[derive(Debug, Default)]
pub struct Dropped {
    traces: AtomicU64,
    metrics: AtomicU64,
}

impl Dropped {
    /// Spans were dropped.
    pub fn traces(&self, spans: usize) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        self.traces.fetch_add(spans, Ordering::Relaxed);
    }

    /// What the metrics were at one time was not taken.
    pub fn metrics(&self) {
        self.metrics.fetch_add(1, Ordering::Relaxed);
    }

    /// All that was dropped, by signal.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u64); 2] {
        [
            ("traces", self.traces.load(Ordering::Relaxed)),
            ("metrics", self.metrics.load(Ordering::Relaxed)),
        ]
    }
}
