//! The metrics: what is counted and measured, under the names of
//! `observability.md`. One set of instruments is the source of both outputs,
//! OTLP and `/metrics`. What is on the way of each frame is bound to its
//! attributes beforehand and costs an atomic addition, or a short lock.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Histogram, Meter,
};

use crate::contract::StorageError;
use crate::contract::telemetry::Method;
use crate::flow::outbox::End;
use crate::telemetry::codes;
use crate::telemetry::dropped::Dropped;

/// The bounds of durations' buckets, in seconds: from a turn in memory to a
/// client that has nearly given up.
const SECONDS: [f64; 15] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// The bounds of calls of others, in seconds: from an object store's to an
/// answer of a model's that is read as it is made.
const CALL_SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];

/// The bounds of a commit's buckets, in turns: up to as many as one has.
const TURNS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What storage is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To open a log.
    Open,
    /// To append to it.
    Append,
    /// To read from it.
    Read,
    /// To begin it anew.
    Reset,
    /// To make it durable.
    Commit,
}

impl Operation {
    /// As `db.operation.name` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Append => "append",
            Self::Read => "read",
            Self::Reset => "reset",
            Self::Commit => "commit",
        }
    }
}

/// Why a guest's instance was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It trapped, which a panic is.
    Trap,
    /// It took too long.
    Deadline,
    /// It wanted more memory than it may have.
    Memory,
    /// The host failed it.
    Host,
}

impl Failure {
    /// As `error.type` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Host => "host",
        }
    }
}

/// A method, as `rpc.method` has it.
#[must_use]
pub fn method_name(method: Method) -> &'static str {
    match method {
        Method::Pull => "pull",
        Method::Push => "push",
        Method::Ping => "ping",
        Method::Admin => "admin",
        Method::Other => codes::OTHER,
    }
}

/// A storage's error, as `error.type` has it.
#[must_use]
pub fn error_name(error: &StorageError) -> &'static str {
    match error {
        StorageError::Conflict(_) => "conflict",
        StorageError::Full(_) => "full",
        StorageError::TooLarge(_) => "too_large",
        StorageError::Unavailable(_) => "unavailable",
    }
}

/// A histogram, with what is on the way of every request bound.
struct Timed<const N: usize> {
    all: Histogram<f64>,
    bound: [BoundHistogram<f64>; N],
}

impl<const N: usize> Timed<N> {
    fn new(all: Histogram<f64>, key: &'static str, values: [&'static str; N]) -> Self {
        let bound = values.map(|value| all.bind(&[KeyValue::new(key, value)]));
        Self { all, bound }
    }
}

/// The instruments.
pub struct Meters {
    /// Where those are made that look at something when they are asked.
    pub(super) meter: Meter,
    dropped: Arc<Dropped>,
    connections: BoundUpDownCounter<i64>,
    calls: Timed<5>,
    events: BoundCounter<u64>,
    event_bytes: BoundCounter<u64>,
    frames: BoundCounter<u64>,
    frame_bytes: BoundCounter<u64>,
    deliveries: BoundHistogram<f64>,
    storage: Timed<5>,
    storage_errors: Counter<u64>,
    turns: BoundHistogram<f64>,
    wakes: BoundCounter<u64>,
    failures: Counter<u64>,
    admissions: Counter<u64>,
    closes: Counter<u64>,
    claims: Counter<u64>,
    requests: Histogram<f64>,
    services: Histogram<f64>,
    tokens: BoundCounter<u64>,
    ahead: BoundCounter<u64>,
}

impl Meters {
    /// Instruments of this meter's.
    #[must_use]
    pub fn new(meter: Meter, dropped: Arc<Dropped>) -> Self {
        let counter = |name: &'static str, unit: &'static str, what: &'static str| {
            let builder = meter.u64_counter(name).with_unit(unit);
            builder.with_description(what).build()
        };
        let seconds = |name: &'static str, what: &'static str| {
            let builder = meter.f64_histogram(name).with_unit("s");
            let builder = builder.with_description(what);
            builder.with_boundaries(SECONDS.to_vec()).build()
        };
        let connections = meter
            .i64_up_down_counter("syncline.connections")
            .with_unit("{connection}")
            .with_description("Connections that are open")
            .build();
        let calls = seconds(
            "rpc.server.call.duration",
            "From a request's arrival until its answer is released",
        );
        let storage = seconds(
            "db.client.operation.duration",
            "What storage takes for an operation",
        );
        let turns = meter
            .f64_histogram("syncline.commit.turns")
            .with_unit("{turn}")
            .with_description("Turns that share a commit")
            .with_boundaries(TURNS.to_vec())
            .build();
        let meters = Self {
            connections: connections.bind(&[KeyValue::new("network.protocol.name", "websocket")]),
            calls: Timed::new(
                calls,
                "rpc.method",
                [
                    Method::Pull,
                    Method::Push,
                    Method::Ping,
                    Method::Admin,
                    Method::Other,
                ]
                .map(method_name),
            ),
            events: counter("syncline.events.appended", "{event}", "Events appended").bind(&[]),
            event_bytes: counter("syncline.append.size", "By", "Text of events appended").bind(&[]),
            frames: counter(
                "syncline.frames.delivered",
                "{frame}",
                "Frames that sockets have taken",
            )
            .bind(&[]),
            frame_bytes: counter(
                "syncline.delivered.size",
                "By",
                "Text of frames that sockets have taken",
            )
            .bind(&[]),
            deliveries: seconds(
                "syncline.delivery.duration",
                "From a turn's commit until the socket has taken its frame",
            )
            .bind(&[]),
            storage: Timed::new(
                storage,
                "db.operation.name",
                [
                    Operation::Open,
                    Operation::Append,
                    Operation::Read,
                    Operation::Reset,
                    Operation::Commit,
                ]
                .map(Operation::name),
            ),
            storage_errors: counter("syncline.storage.errors", "{error}", "Storage failed"),
            turns: turns.bind(&[]),
            wakes: counter("syncline.room.wakes", "{room}", "Rooms that woke").bind(&[]),
            failures: counter(
                "syncline.guest.failures",
                "{failure}",
                "Instances of the guest that were thrown away",
            ),
            admissions: counter("syncline.admissions", "{request}", "Requests decided on"),
            closes: counter("syncline.closes", "{connection}", "Connections that ended"),
            claims: counter("syncline.claims.lookups", "{lookup}", "Claims looked up"),
            requests: seconds(
                "http.server.request.duration",
                "From a request's head until the head of its answer",
            ),
            services: meter
                .f64_histogram("syncline.service.call.duration")
                .with_unit("s")
                .with_description("What others take for a call of a service's")
                .with_boundaries(CALL_SECONDS.to_vec())
                .build(),
            ahead: counter(
                "syncline.clients.ahead",
                "{request}",
                "Requests whose client has seen more than the log holds",
            )
            .bind(&[]),
            tokens: counter("syncline.llm.tokens", "{token}", "Tokens that relays used").bind(&[]),
            dropped,
            meter,
        };
        meters.begin();
        meters
    }

    /// Shows what has not happened yet: a counter that is not there cannot be
    /// told from a server that is not measured.
    fn begin(&self) {
        self.connections.add(0);
        self.appended(0, 0);
        self.delivered(0, 0);
        self.tokens.add(0);
        self.ahead.add(0);
        self.wakes.add(0);
        for failure in [
            Failure::Trap,
            Failure::Deadline,
            Failure::Memory,
            Failure::Host,
        ] {
            let attribute = KeyValue::new("error.type", failure.name());
            self.failures.add(0, &[attribute]);
        }
        for error in ["conflict", "full", "too_large", "unavailable"] {
            self.storage_errors
                .add(0, &[KeyValue::new("error.type", error)]);
        }
        self.admissions
            .add(0, &[KeyValue::new("syncline.code", "OK")]);
        self.claims.add(0, &[]);
    }

    /// What was dropped of telemetry itself.
    #[must_use]
    pub fn dropped(&self) -> &Arc<Dropped> {
        &self.dropped
    }

    /// A WebSocket was let in.
    pub fn connected(&self) {
        self.connections.add(1);
    }

    /// A WebSocket has ended.
    pub fn closed(&self, end: Option<&End>) {
        /// Stands for a connection that ended without a close (RFC 6455).
        const ABNORMAL: u16 = 1006;
        self.connections.add(-1);
        let (by, code) = match end {
            Some(End::Client(code)) => ("client", *code),
            Some(End::Server(code, _)) => ("server", *code),
            None => ("network", ABNORMAL),
        };
        let attributes = [
            KeyValue::new("syncline.closed.by", by),
            KeyValue::new("syncline.close.code", codes::close(code)),
        ];
        self.closes.add(1, &attributes);
    }

    /// A request was answered, so long after it came.
    pub fn called(&self, method: Method, refused: Option<&str>, took: Duration) {
        let seconds = took.as_secs_f64();
        let Some(refused) = refused else {
            let [pull, push, ping, admin, other] = &self.calls.bound;
            let bound = match method {
                Method::Pull => pull,
                Method::Push => push,
                Method::Ping => ping,
                Method::Admin => admin,
                Method::Other => other,
            };
            return bound.record(seconds);
        };
        let attributes = [
            KeyValue::new("rpc.method", method_name(method)),
            KeyValue::new("error.type", codes::code(refused)),
        ];
        self.calls.all.record(seconds, &attributes);
    }

    /// Events are durable.
    pub fn appended(&self, events: u64, bytes: u64) {
        self.events.add(events);
        self.event_bytes.add(bytes);
    }

    /// A socket has taken frames.
    pub fn delivered(&self, frames: u64, bytes: u64) {
        self.frames.add(frames);
        self.frame_bytes.add(bytes);
    }

    /// A socket has taken a frame, so long after its turn's commit.
    pub fn delivery(&self, took: Duration) {
        self.deliveries.record(took.as_secs_f64());
    }

    /// Storage has done something, or failed to.
    pub fn stored(&self, operation: Operation, took: Duration, error: Option<&StorageError>) {
        let seconds = took.as_secs_f64();
        let Some(error) = error else {
            let [open, append, read, reset, commit] = &self.storage.bound;
            let bound = match operation {
                Operation::Open => open,
                Operation::Append => append,
                Operation::Read => read,
                Operation::Reset => reset,
                Operation::Commit => commit,
            };
            return bound.record(seconds);
        };
        let error = KeyValue::new("error.type", error_name(error));
        self.storage_errors.add(1, std::slice::from_ref(&error));
        let name = KeyValue::new("db.operation.name", operation.name());
        self.storage.all.record(seconds, &[name, error]);
    }

    /// So many turns that wrote share a commit.
    pub fn committed(&self, turns: usize) {
        self.turns.record(turns as f64);
    }

    /// A room woke.
    pub fn woke(&self) {
        self.wakes.add(1);
    }

    /// An instance was thrown away.
    pub fn failed(&self, failure: Failure) {
        let attribute = KeyValue::new("error.type", failure.name());
        self.failures.add(1, &[attribute]);
    }

    /// Somebody asked to be let in: with which code it is refused, if it is.
    pub fn admitted(&self, refused: Option<&str>) {
        let code = refused.map_or("OK", codes::code);
        self.admissions
            .add(1, &[KeyValue::new("syncline.code", code)]);
    }

    /// A user's claims were looked up.
    pub fn looked_up(&self, has_failed: bool) {
        if has_failed {
            let error = KeyValue::new("error.type", "unavailable");
            self.claims.add(1, &[error]);
        } else {
            self.claims.add(1, &[]);
        }
    }

    /// A request was answered.
    pub fn requested(&self, method: &str, route: &'static str, status: u16, took: Duration) {
        let attributes = [
            KeyValue::new("http.request.method", codes::method(method)),
            KeyValue::new("http.response.status_code", i64::from(status)),
            KeyValue::new("http.route", route),
        ];
        self.requests.record(took.as_secs_f64(), &attributes);
    }

    /// Another was called for a service, and how it failed if it did.
    pub fn called_out(&self, service: &'static str, error: Option<&'static str>, took: Duration) {
        let service = KeyValue::new("syncline.service", service);
        let seconds = took.as_secs_f64();
        match error {
            None => self.services.record(seconds, &[service]),
            Some(error) => {
                let error = KeyValue::new("error.type", error);
                self.services.record(seconds, &[service, error]);
            }
        }
    }

    /// A client has seen more than the log holds.
    pub fn ahead(&self) {
        self.ahead.add(1);
    }

    /// A relay used tokens.
    pub fn tokens(&self, tokens: u64) {
        self.tokens.add(tokens);
    }
}
