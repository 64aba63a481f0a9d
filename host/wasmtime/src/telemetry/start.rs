//! What of telemetry is on, and its beginning and end. Metrics and traces go
//! to a collector where `OTEL_EXPORTER_OTLP_ENDPOINT` names one, or the
//! signal's own variable; metrics also to whoever asks, where that is wanted.

use std::env;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::Registry;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

use crate::telemetry::Telemetry;
use crate::telemetry::dropped::Dropped;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::ids;
use crate::telemetry::meters::Meters;
use crate::telemetry::otlp::{Caller, Metrics, Queue};
use crate::telemetry::traces::Traces;

/// The name of what measures.
const SCOPE: &str = "syncline";

/// The threads that send: one may wait before it tries again.
const THREADS: usize = 2;

/// How long what is there may take to leave when the server ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why telemetry cannot begin.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The variables name no collector that there could be.
    #[error("OTEL_EXPORTER_OTLP_…: {0}")]
    Collector(#[from] ExporterBuildError),
    /// No calls can be made.
    #[error("no collector can be called: {0}")]
    Client(#[from] reqwest::Error),
    /// The metrics cannot be gathered.
    #[error("the metrics cannot be gathered: {0}")]
    Metrics(#[from] OTelSdkError),
    /// The system gives no thread.
    #[error("the system gives telemetry no thread: {0}")]
    Thread(#[from] io::Error),
    /// Something else than HTTP is asked for.
    #[error(
        "OTEL_EXPORTER_OTLP_PROTOCOL is {0:?}: this server speaks `http/protobuf`, usually on port 4318"
    )]
    Protocol(String),
}

/// What is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Metrics for whoever asks.
    pub exposition: bool,
    /// Metrics to a collector.
    pub metrics: bool,
    /// Traces to a collector.
    pub traces: bool,
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

impl Wanted {
    /// As the standard variables say.
    #[must_use]
    pub fn from_env(exposition: bool) -> Self {
        let is_off = env::var("OTEL_SDK_DISABLED").is_ok_and(|it| it.eq_ignore_ascii_case("true"));
        let to_collector = |signal: &str| {
            let names_none =
                env::var(format!("OTEL_{signal}_EXPORTER")).is_ok_and(|it| it == "none");
            let has_place = is_set("OTEL_EXPORTER_OTLP_ENDPOINT")
                || is_set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
            has_place && !names_none && !is_off
        };
        Self {
            exposition,
            metrics: to_collector("METRICS"),
            traces: to_collector("TRACES"),
        }
    }
}

/// Telemetry that has begun.
pub struct Started {
    telemetry: Telemetry,
    exposition: Option<Exposition>,
    meters: Option<SdkMeterProvider>,
    tracers: Option<SdkTracerProvider>,
    event_loop: Option<Runtime>,
}

impl Started {
    /// Begins what is wanted.
    ///
    /// # Errors
    /// When the variables ask for what there is not.
    pub fn begin(wanted: Wanted) -> Result<Self, TelemetryError> {
        if env::var("TELEMETRY_HASH_IDS").is_ok_and(|it| it == "true") {
            ids::hash_all();
        }
        let mut started = Self {
            telemetry: Telemetry::off(),
            exposition: None,
            meters: None,
            tracers: None,
            event_loop: None,
        };
        if wanted.metrics || wanted.traces {
            let protocol = env::var("OTEL_EXPORTER_OTLP_PROTOCOL").unwrap_or_default();
            if !["", "http/protobuf"].contains(&protocol.as_str()) {
                return Err(TelemetryError::Protocol(protocol));
            }
            let event_loop = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("telemetry")
                .enable_all()
                .build()?;
            started.event_loop = Some(event_loop);
        }
        let dropped = Arc::<Dropped>::default();
        let resource = resource();
        if wanted.traces {
            started.begin_traces(&resource, &dropped)?;
        }
        if wanted.metrics || wanted.exposition {
            started.begin_metrics(wanted, resource, dropped)?;
        }
        Ok(started)
    }

    fn begin_traces(
        &mut self,
        resource: &Resource,
        dropped: &Arc<Dropped>,
    ) -> Result<(), TelemetryError> {
        let Some(event_loop) = &self.event_loop else {
            return Ok(());
        };
        let handle = event_loop.handle();
        let caller = Caller::new(handle.clone(), "TRACES")?;
        let queue = Queue::start(handle, caller, resource, Arc::clone(dropped))?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_span_processor(queue)
            .build();
        let traces = Traces::new(provider.tracer(SCOPE));
        self.telemetry.traces = Some(Arc::new(traces));
        self.tracers = Some(provider);
        Ok(())
    }

    fn begin_metrics(
        &mut self,
        wanted: Wanted,
        resource: Resource,
        dropped: Arc<Dropped>,
    ) -> Result<(), TelemetryError> {
        let mut builder = SdkMeterProvider::builder().with_resource(resource);
        if wanted.exposition {
            let registry = Registry::new();
            let exporter = opentelemetry_prometheus::exporter()
                .with_registry(registry.clone())
                .scope_info_enabled(false)
                .build()?;
            builder = builder.with_reader(exporter);
            self.exposition = Some(Exposition::new(registry));
        }
        if let Some(event_loop) = self.event_loop.as_ref().filter(|_| wanted.metrics) {
            let caller = Caller::new(event_loop.handle().clone(), "METRICS")?;
            let metrics = Metrics::new(caller, Arc::clone(&dropped))?;
            builder = builder.with_reader(PeriodicReader::builder(metrics).build());
        }
        let provider = builder.build();
        let meters = Meters::new(provider.meter(SCOPE), dropped);
        self.telemetry.meters = Some(Arc::new(meters));
        self.meters = Some(provider);
        Ok(())
    }

    /// The metrics and traces.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The metrics for whoever asks, if that is wanted.
    #[must_use]
    pub fn exposition(&self) -> Option<&Exposition> {
        self.exposition.as_ref()
    }

    /// Sends what is there, for as long as it may take.
    pub fn stop(self) {
        let Self {
            meters,
            tracers,
            event_loop,
            ..
        } = self;
        let Some(event_loop) = event_loop else {
            return;
        };
        let (done, stopped) = mpsc::channel();
        let stopping = std::thread::Builder::new().spawn(move || {
            let traces = tracers.map(|it| it.shutdown_with_timeout(STOP_TIMEOUT).is_ok());
            let metrics = meters.map(|it| it.shutdown_with_timeout(STOP_TIMEOUT).is_ok());
            let _ = done.send(traces != Some(false) && metrics != Some(false));
        });
        let has_left = stopping.is_ok() && stopped.recv_timeout(STOP_TIMEOUT) == Ok(true);
        if !has_left {
            warn!(
                event = "telemetry_failed",
                "the collector has not taken the last of the telemetry in time: it is dropped"
            );
        }
        event_loop.shutdown_background();
    }
}

/// What the collector is told of the server: the standard variables add to it.
fn resource() -> Resource {
    let mut builder = Resource::builder();
    let names_itself =
        env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|it| it.contains("service.name="));
    if !is_set("OTEL_SERVICE_NAME") && !names_itself {
        builder = builder.with_service_name(SCOPE);
    }
    builder
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}
