//! What services ask of others, a call each: a span within that of the request
//! that it is made for, and how long it took. The LLM proxy's upstream is told
//! of the span, so that its own go on in it; an object store is not: what is
//! sent to it is signed.

use std::time::Instant;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Uri};
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status};
use opentelemetry::{KeyValue, Value};

use crate::telemetry::Telemetry;
use crate::telemetry::codes;

/// W3C Trace Context's header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What is asked of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The object store, to keep an image.
    ImageUpload,
    /// The object store, for an image.
    ImageDeliver,
    /// The object store, to delete an image.
    ImageRemove,
    /// The LLM proxy's upstream.
    Relay,
}

impl Service {
    /// As its span is called, and as `syncline.service` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageUpload => "image.upload",
            Self::ImageDeliver => "image.deliver",
            Self::ImageRemove => "image.remove",
            Self::Relay => "relay",
        }
    }
}

/// The server that is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    address: String,
    port: Option<u16>,
}

impl Server {
    /// The one that a URI names; `None` if it names none.
    #[must_use]
    pub fn of_uri(uri: &Uri) -> Option<Self> {
        let known = match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        Some(Self {
            address: uri.host()?.to_owned(),
            port: uri.port_u16().or(known),
        })
    }
}

/// A request as it was sent to a server, the last of those that a call took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// HTTP's.
    pub method: Method,
    /// Whom.
    pub server: Option<Server>,
    /// What was answered, if anything was.
    pub status: Option<u16>,
    /// How often it was sent again.
    pub resends: u32,
}

/// A request that others are called for.
#[derive(Clone, Default)]
pub struct Within {
    telemetry: Telemetry,
    parent: Option<SpanContext>,
}

impl Within {
    /// A request whose span is this, if there is one.
    #[must_use]
    pub fn new(telemetry: &Telemetry, parent: Option<SpanContext>) -> Self {
        Self {
            telemetry: telemetry.clone(),
            parent,
        }
    }

    /// A call begins: `None` where nobody wants to know. What is not remote is
    /// asked of this machine.
    #[must_use]
    pub fn call(&self, service: Service, is_remote: bool) -> Option<Outward> {
        if !self.telemetry.is_on() {
            return None;
        }
        let kind = if is_remote {
            SpanKind::Client
        } else {
            SpanKind::Internal
        };
        let parent = self.parent.as_ref();
        let traces = self.telemetry.traces();
        Some(Outward {
            telemetry: self.telemetry.clone(),
            service,
            begun: Instant::now(),
            span: traces.map(|it| it.begin(service.name(), kind, Vec::new(), parent)),
            error: None,
        })
    }
}

/// A call that is under way. To drop it ends it.
pub struct Outward {
    telemetry: Telemetry,
    service: Service,
    begun: Instant,
    span: Option<opentelemetry_sdk::trace::Span>,
    error: Option<&'static str>,
}

impl Outward {
    /// What the other is told of the span, if it is kept.
    #[must_use]
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let span = self.span.as_ref()?.span_context();
        let (trace, id) = (span.trace_id(), span.span_id());
        // Without what the client's own tracing keeps there: that is nothing
        // to the upstream.
        span.is_sampled()
            .then(|| HeaderValue::try_from(format!("00-{trace}-{id}-01")).ok())
            .flatten()
    }

    fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// This was asked, and answered if there is a status.
    pub fn asked(&mut self, asked: &Asked) {
        let method = codes::method(asked.method.as_str());
        self.set("http.request.method", method);
        if let Some(Server { address, port }) = &asked.server {
            self.set("server.address", address.clone());
            if let Some(port) = port {
                self.set("server.port", i64::from(*port));
            }
        }
        if asked.resends > 0 {
            self.set("http.request.resend_count", i64::from(asked.resends));
        }
        asked.status.inspect(|status| self.answered(*status));
    }

    /// It is answered with this status. One that refuses is how it failed,
    /// unless more is known.
    pub fn answered(&mut self, status: u16) {
        self.set("http.response.status_code", i64::from(status));
        match status {
            400..500 => self.failed("refused"),
            500.. => self.failed("unavailable"),
            _ => {}
        }
    }

    /// It failed: a word of the vocabulary's. The first counts.
    pub fn failed(&mut self, error: &'static str) {
        self.error.get_or_insert(error);
    }

    /// So many tokens were used by it.
    pub fn used(&mut self, tokens: u64) {
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        self.set("syncline.llm.tokens", tokens);
    }
}

impl Drop for Outward {
    fn drop(&mut self) {
        if let Some(span) = &mut self.span {
            if let Some(error) = self.error {
                span.set_attribute(KeyValue::new("error.type", error));
                span.set_status(Status::error(error));
            }
            span.end();
        }
        if let Some(meters) = self.telemetry.meters() {
            meters.called_out(self.service.name(), self.error, self.begun.elapsed());
        }
    }
}
