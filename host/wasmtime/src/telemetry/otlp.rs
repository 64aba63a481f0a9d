//! The way to a collector: OTLP over HTTP, protobuf. Spans wait in a bounded
//! queue, and what finds no place there, or is not taken, is dropped and
//! counted: a collector that is dead, slow or lying harms nobody.

use std::env;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::runtime::Handle;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::process::tls;
use crate::telemetry::dropped::Dropped;
use crate::telemetry::taken::Rejected;

/// What is read of a collector's answer, in bytes: it says in a few how much
/// it has taken.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How often it is said that a collector does not take what it is sent.
const QUIET: Duration = Duration::from_secs(60);

/// A variable's number of milliseconds, or of things.
fn number(name: &str, default: u64) -> u64 {
    let value = env::var(name).ok();
    value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(default)
}

/// How much and how long, as the standard variables say.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// Spans that may wait.
    queue_max: usize,
    /// Spans that are sent together.
    batch_max: usize,
    /// How long spans wait for others.
    delay: Duration,
}

impl Batches {
    /// As the environment says.
    #[must_use]
    pub fn from_env() -> Self {
        let size = |name, default| usize::try_from(number(name, default)).unwrap_or(usize::MAX);
        let queue_max = size("OTEL_BSP_MAX_QUEUE_SIZE", 2_048).clamp(1, 1_000_000);
        Self {
            queue_max,
            batch_max: size("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).clamp(1, queue_max),
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", 5_000).max(1)),
        }
    }
}

/// Calls a collector on telemetry's own event loop, whoever asks.
pub struct Caller {
    client: reqwest::Client,
    event_loop: Handle,
    rejected: Rejected,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

impl Caller {
    /// A caller that gives up after `OTEL_EXPORTER_OTLP_TIMEOUT`, or the
    /// signal's own of that name, in milliseconds; 10 s.
    ///
    /// # Errors
    /// When there is no TLS.
    pub fn new(event_loop: Handle, signal: &str) -> Result<Self, reqwest::Error> {
        tls::prepare();
        let general = number("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000);
        let own = number(&format!("OTEL_EXPORTER_OTLP_{signal}_TIMEOUT"), general);
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(own.max(1)))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .build()?;
        Ok(Self {
            client,
            event_loop,
            rejected: Rejected::default(),
        })
    }
}

/// Calls, and reads no more of the answer than one has.
async fn call(
    client: reqwest::Client,
    rejected: Rejected,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = request.into_parts();
    let request = client
        .request(head.method, head.uri.to_string())
        .headers(head.headers)
        .body(body);
    let mut answer = request.send().await.map_err(reqwest::Error::without_url)?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let mut read = BytesMut::new();
    while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if read.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err("the collector's answer does not end".into());
        }
        read.extend_from_slice(&piece);
    }
    if answer.status().is_success() && !rejected.read(&read) {
        return Err("who answers is no collector".into());
    }
    Ok(response.body(read.freeze())?)
}

impl HttpClient for Caller {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let call = call(self.client.clone(), self.rejected.clone(), request);
        let called = self.event_loop.spawn(call);
        Box::pin(async move { called.await? })
    }
}

/// Says now and then that a collector does not take what it is sent.
#[derive(Debug, Default)]
struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    fn are_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let are_due = last.is_none_or(|at| at.elapsed() >= QUIET);
        if are_due {
            *last = Some(Instant::now());
        }
        are_due
    }

    fn about(&self, signal: &str, error: &OTelSdkError) {
        if self.are_due() {
            warn!(
                event = "telemetry_failed",
                signal, "the collector does not take what it is sent: {error}. It is dropped"
            );
        }
    }

    /// It takes the rest.
    fn about_a_part(&self, signal: &str, rejected: usize, why: &str) {
        if self.are_due() {
            warn!(
                event = "telemetry_failed",
                signal,
                rejected,
                why,
                "the collector does not take a part of what it is sent. It is dropped"
            );
        }
    }
}

/// What the queue's other end is told.
enum Order {
    Span(Box<SpanData>),
    /// To send what is there, and say when it is done.
    Flush(oneshot::Sender<()>),
}

/// Spans on their way to the collector.
#[derive(Debug)]
pub struct Queue {
    orders: mpsc::UnboundedSender<Order>,
    /// Spans that wait.
    waiting: Arc<AtomicU64>,
    waiting_max: u64,
    dropped: Arc<Dropped>,
}

impl Queue {
    /// A queue whose other end runs on this event loop.
    ///
    /// # Errors
    /// When the variables name no place to send to.
    pub fn start(
        event_loop: &Handle,
        caller: Caller,
        resource: &Resource,
        dropped: Arc<Dropped>,
    ) -> Result<Self, opentelemetry_otlp::ExporterBuildError> {
        let rejected = caller.rejected.clone();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(caller)
            .build()?;
        exporter.set_resource(resource);
        let batches = Batches::from_env();
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::<AtomicU64>::default();
        let end = End {
            exporter,
            rejected,
            batches,
            waiting: Arc::clone(&waiting),
            dropped: Arc::clone(&dropped),
            complaints: Complaints::default(),
        };
        event_loop.spawn(end.run(receiver));
        Ok(Self {
            orders: sender,
            waiting,
            waiting_max: u64::try_from(batches.queue_max).unwrap_or(u64::MAX),
            dropped,
        })
    }

    /// Waits until what is there has been sent, or has failed to be.
    fn flush(&self, timeout: Duration) -> OTelSdkResult {
        let (done, mut flushed) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).is_err() {
            return Ok(());
        }
        let deadline = Instant::now() + timeout;
        // Not on an event loop, whoever asks: the other end has its own.
        loop {
            match flushed.try_recv() {
                Err(TryRecvError::Empty) if Instant::now() >= deadline => {
                    return Err(OTelSdkError::Timeout(timeout));
                }
                Err(TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(5)),
                _ => return Ok(()),
            }
        }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max
            || self.orders.send(Order::Span(Box::new(span))).is_err()
        {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.traces(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.flush(Duration::from_secs(5))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.flush(timeout)
    }
}

/// The queue's other end.
struct End {
    exporter: SpanExporter,
    rejected: Rejected,
    batches: Batches,
    waiting: Arc<AtomicU64>,
    dropped: Arc<Dropped>,
    complaints: Complaints,
}

impl End {
    async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut batch = Vec::new();
        let mut flushed = Vec::new();
        while let Some(first) = orders.recv().await {
            let mut next = Some(first);
            let over = tokio::time::sleep(self.batches.delay);
            tokio::pin!(over);
            while let Some(order) = next {
                match order {
                    Order::Span(span) => batch.push(*span),
                    Order::Flush(done) => {
                        flushed.push(done);
                        break;
                    }
                }
                if batch.len() >= self.batches.batch_max {
                    break;
                }
                next = tokio::select! {
                    order = orders.recv() => order,
                    () = &mut over => None,
                };
            }
            self.send(std::mem::take(&mut batch)).await;
            for done in flushed.drain(..) {
                let _ = done.send(());
            }
        }
    }

    async fn send(&self, batch: Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len();
        let sent = self.exporter.export(batch).await;
        // Until now they took memory.
        let spans = u64::try_from(count).unwrap_or(u64::MAX);
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        match sent {
            Ok(()) => {
                if let Some((rejected, why)) = self.rejected.take(count) {
                    self.dropped.traces(rejected);
                    self.complaints.about_a_part("traces", rejected, &why);
                }
            }
            Err(error) => {
                self.dropped.traces(count);
                self.complaints.about("traces", &error);
            }
        }
    }
}

/// Sends what the metrics are, and counts what is not taken.
pub struct Metrics {
    exporter: MetricExporter,
    rejected: Rejected,
    dropped: Arc<Dropped>,
    complaints: Complaints,
}

impl Metrics {
    /// To the collector that the variables name.
    ///
    /// # Errors
    /// When they name none.
    pub fn new(
        caller: Caller,
        dropped: Arc<Dropped>,
    ) -> Result<Self, opentelemetry_otlp::ExporterBuildError> {
        let rejected = caller.rejected.clone();
        let exporter = MetricExporter::builder()
            .with_http()
            .with_http_client(caller)
            .build()?;
        Ok(Self {
            exporter,
            rejected,
            dropped,
            complaints: Complaints::default(),
        })
    }
}

impl PushMetricExporter for Metrics {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let sent = self.exporter.export(metrics).await;
        if let Some((_, why)) = self.rejected.take(1) {
            self.dropped.metrics();
            self.complaints.about_a_part("metrics", 1, &why);
        } else if let Err(error) = &sent {
            self.dropped.metrics();
            self.complaints.about("metrics", error);
        }
        sent
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
