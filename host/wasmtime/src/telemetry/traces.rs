//! Spans: of a request its admission, and of a turn that answers requests what
//! it did, from the request's arrival to the socket that takes the answer.
//! They are made when it is over, of times that were noted; whether one is
//! kept is decided by its parent, or by `OTEL_TRACES_SAMPLER`.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt,
    TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

use crate::contract::telemetry::{Method, Parent};
use crate::telemetry::ids;
use crate::telemetry::meters::{Operation, method_name};

/// Of a request's id that is shown, in characters: as long as one may be.
const REQUEST_CHARS_MAX: usize = 64;

/// Makes spans.
pub struct Traces(SdkTracer);

/// A request that a turn answered.
#[derive(Debug, Clone)]
pub struct Call {
    /// The socket that it came on.
    pub connection: Option<u32>,
    /// What it asked for.
    pub method: Method,
    /// Its id.
    pub request: String,
    /// How many events it pushed.
    pub events: u32,
    /// With which code it was refused, if it was.
    pub refused: Option<String>,
    /// Its client's span.
    pub parent: Option<SpanContext>,
}

/// Something that a turn asked of its storage.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What.
    pub operation: Operation,
    /// When it began.
    pub begun: Instant,
    /// How long it took.
    pub took: Duration,
    /// How many events it was about, if it was about some.
    pub events: Option<usize>,
    /// As which error it failed, if it did.
    pub error: Option<&'static str>,
}

/// A turn that answered requests, and is durable.
pub struct Turn<'a> {
    /// Its store.
    pub store: &'a str,
    /// When what it is about arrived.
    pub arrived: Instant,
    /// When it began.
    pub begun: Instant,
    /// When it was over.
    pub ended: Instant,
    /// When what it sends was let go.
    pub released: Instant,
    /// The span that those requests are made in that name none.
    pub parent: Option<&'a SpanContext>,
    /// The requests.
    pub calls: &'a [&'a Call],
    /// What it asked of its storage.
    pub stored: &'a [&'a Stored],
}

/// What others refer to of a turn whose spans are kept.
#[derive(Default)]
pub struct Traced {
    /// The turn.
    pub turn: Option<SpanContext>,
    /// What it appended.
    pub append: Option<SpanContext>,
    /// What was appended, now or before, that it tells others of.
    pub told: Arc<[SpanContext]>,
    /// Of the pulls that it answered, by their sockets.
    pub pulls: Vec<(u32, SpanContext)>,
}

/// A request's admission, on its way.
pub struct Admit {
    span: opentelemetry_sdk::trace::Span,
}

/// Turns points in time into dates: all of one moment's alike.
struct Clock(Instant, SystemTime);

impl Clock {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    fn date(&self, at: Instant) -> SystemTime {
        let Self(now, date) = self;
        let ago = now.saturating_duration_since(at);
        date.checked_sub(ago).unwrap_or(*date)
    }
}

/// A client's span, as its request names it: `None` if it does not name one.
#[must_use]
pub fn remote(parent: &Parent) -> Option<SpanContext> {
    let trace_id = TraceId::from_hex(&parent.trace_id).ok()?;
    let span_id = SpanId::from_hex(&parent.span_id).ok()?;
    let flags = TraceFlags::default().with_sampled(parent.sampled);
    let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

/// The span that a request is made in, as its `traceparent` says.
#[must_use]
pub fn of_headers(headers: &HeaderMap) -> Option<SpanContext> {
    let propagator = TraceContextPropagator::new();
    let context = propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let found = context.span().span_context().clone();
    found.is_valid().then_some(found)
}

fn within(parent: Option<&SpanContext>) -> Context {
    let context = Context::new();
    match parent {
        Some(parent) => context.with_remote_span_context(parent.clone()),
        None => context,
    }
}

fn links<'a>(to: impl IntoIterator<Item = &'a SpanContext>) -> Vec<Link> {
    let links = to.into_iter().cloned();
    links.map(Link::with_context).collect()
}

impl Traces {
    /// Spans of this tracer's.
    #[must_use]
    pub fn new(tracer: SdkTracer) -> Self {
        Self(tracer)
    }

    /// Makes a span whose end is known. Returns what others refer to, if it is
    /// kept.
    fn span(
        &self,
        builder: SpanBuilder,
        parent: Option<&SpanContext>,
        end: SystemTime,
        error: Option<&str>,
    ) -> Option<SpanContext> {
        let mut span = self.0.build_with_context(builder, &within(parent));
        if let Some(error) = error {
            span.set_status(Status::error(error.to_owned()));
        }
        let context = span.span_context().clone();
        span.end_with_timestamp(end);
        context.is_sampled().then_some(context)
    }

    /// Begins a span that ends when what it is about does.
    #[must_use]
    pub fn begin(
        &self,
        name: &'static str,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        parent: Option<&SpanContext>,
    ) -> opentelemetry_sdk::trace::Span {
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes);
        self.0.build_with_context(builder, &within(parent))
    }

    /// A request is being admitted.
    #[must_use]
    pub fn admit(&self, method: &str, path: &str, parent: Option<&SpanContext>) -> Admit {
        let attributes = vec![
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("url.path", path.to_owned()),
        ];
        Admit {
            span: self.begin("admit", SpanKind::Server, attributes, parent),
        }
    }

    /// A turn is durable, and what it sends is let go.
    #[must_use]
    pub fn turn(&self, turn: &Turn<'_>) -> Traced {
        let clock = Clock::now();
        let mut traced = Traced::default();
        for call in turn.calls {
            let parent = call.parent.as_ref().or(turn.parent);
            let request: String = call.request.chars().take(REQUEST_CHARS_MAX).collect();
            let mut attributes = vec![
                KeyValue::new("rpc.system", "effect-rpc"),
                KeyValue::new("rpc.method", method_name(call.method)),
                KeyValue::new("syncline.request.id", request),
            ];
            if call.method == Method::Push {
                attributes.push(KeyValue::new("syncline.events", i64::from(call.events)));
            }
            let refused = call.refused.as_deref();
            if let Some(code) = refused {
                attributes.push(KeyValue::new("error.type", code.to_owned()));
            }
            let builder = SpanBuilder::from_name(method_name(call.method))
                .with_kind(SpanKind::Server)
                .with_start_time(clock.date(turn.arrived))
                .with_attributes(attributes);
            let end = clock.date(turn.released);
            let Some(span) = self.span(builder, parent, end, refused) else {
                continue;
            };
            if let (Method::Pull, Some(connection)) = (call.method, call.connection) {
                traced.pulls.push((connection, span.clone()));
            }
            // Several requests may come in a frame: the turn is the first's.
            if traced.turn.is_none() {
                traced.turn = self.inside(turn, &span, &clock, &mut traced.append);
            }
        }
        traced
    }

    /// The turn itself, and what it asked of its storage.
    fn inside(
        &self,
        turn: &Turn<'_>,
        call: &SpanContext,
        clock: &Clock,
        append: &mut Option<SpanContext>,
    ) -> Option<SpanContext> {
        let store = ids::shown(turn.store).into_owned();
        let builder = SpanBuilder::from_name("turn")
            .with_kind(SpanKind::Internal)
            .with_start_time(clock.date(turn.begun))
            .with_attributes([KeyValue::new("syncline.store.id", store)]);
        let span = self.span(builder, Some(call), clock.date(turn.ended), None);
        for stored in turn.stored {
            let name = stored.operation.name();
            let mut attributes = vec![
                KeyValue::new("db.system.name", "sqlite"),
                KeyValue::new("db.operation.name", name),
            ];
            if let Some(events) = stored.events {
                let events = i64::try_from(events).unwrap_or(i64::MAX);
                attributes.push(KeyValue::new("syncline.events", events));
            }
            if let Some(error) = stored.error {
                attributes.push(KeyValue::new("error.type", error));
            }
            let builder = SpanBuilder::from_name(name)
                .with_kind(SpanKind::Client)
                .with_start_time(clock.date(stored.begun))
                .with_attributes(attributes);
            let end = clock.date(stored.begun + stored.took);
            let made = self.span(builder, span.as_ref(), end, stored.error);
            if stored.operation == Operation::Append && stored.error.is_none() {
                *append = made;
            }
        }
        span
    }

    /// What these appended goes to so many sockets, as far as others than who
    /// pushed it have to be told: often later, and of several pushes at once.
    /// It is shown with the first.
    pub fn broadcast(&self, appends: &[SpanContext], sockets: usize) {
        let sockets = i64::try_from(sockets).unwrap_or(i64::MAX);
        let at = Clock::now().1;
        let builder = SpanBuilder::from_name("broadcast")
            .with_kind(SpanKind::Producer)
            .with_start_time(at)
            .with_attributes([KeyValue::new("syncline.sockets", sockets)])
            .with_links(links(appends));
        self.span(builder, appends.first(), at, None);
    }

    /// A commit of these turns, the first of which it is shown with.
    pub fn commit(
        &self,
        turns: &[SpanContext],
        (begun, ended): (Instant, Instant),
        error: Option<&'static str>,
    ) {
        let Some((first, others)) = turns.split_first() else {
            return;
        };
        let clock = Clock::now();
        let builder = SpanBuilder::from_name("commit")
            .with_kind(SpanKind::Internal)
            .with_start_time(clock.date(begun))
            .with_attributes([KeyValue::new("db.operation.name", "commit")])
            .with_links(links(others));
        self.span(builder, Some(first), clock.date(ended), error);
    }

    /// A subscriber's socket has taken a frame that left at `since`, of the
    /// pull, and linked to the appends that it may be about.
    pub fn delivered(&self, pull: &SpanContext, appends: &[SpanContext], since: Instant) {
        let clock = Clock::now();
        let builder = SpanBuilder::from_name("deliver")
            .with_kind(SpanKind::Consumer)
            .with_start_time(clock.date(since))
            .with_links(links(appends));
        self.span(builder, Some(pull), clock.date(Instant::now()), None);
    }
}

impl Admit {
    /// What others refer to.
    #[must_use]
    pub fn context(&self) -> SpanContext {
        self.span.span_context().clone()
    }

    /// It is answered.
    pub fn end(mut self, route: &'static str, status: u16) {
        self.span.set_attribute(KeyValue::new("http.route", route));
        let code = i64::from(status);
        let attribute = KeyValue::new("http.response.status_code", code);
        self.span.set_attribute(attribute);
        if status >= 500 {
            self.span.set_status(Status::error(""));
        }
        self.span.end();
    }
}
