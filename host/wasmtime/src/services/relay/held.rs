//! What the guest holds for a call that is under way: given back once,
//! whatever becomes of the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use hyper::Method;
use hyper::header::HeaderValue;
use tokio::sync::OwnedSemaphorePermit;
use tracing::error;

use crate::component::Instance;
use crate::component::gateway::Gateway;
use crate::contract::Response;
use crate::contract::relay::{BodyFault, Context, Ending, Failure, Passed, Reading, Step};
use crate::telemetry::outward::{Asked, Outward, Server, Service, Within};

/// Decides on calls: the guest's `relay`, which may fail by a trap only.
#[allow(clippy::missing_errors_doc)]
pub trait Decides: Send + Sync + 'static {
    /// `relay.begin`.
    fn begin(&self, context: &str, body: Result<&[u8], BodyFault>) -> Result<Step>;
    /// `relay.again`.
    fn again(&self, context: &Context) -> Result<Step>;
    /// `relay.failed`.
    fn failed(&self, context: &Context, failure: Failure) -> Result<Step>;
    /// `relay.head-arrived`.
    fn head_arrived(
        &self,
        context: &Context,
        status: u16,
        headers: &[(String, String)],
    ) -> Result<Reading>;
    /// `relay.answer`.
    fn answer(&self, context: &Context, body: Option<&[u8]>) -> Result<Response>;
    /// `relay.piece`.
    fn piece(&self, context: &Context, bytes: &[u8]) -> Result<Passed>;
    /// `relay.end`.
    fn end(&self, context: &Context, ending: Ending) -> Result<Vec<u8>>;
    /// Tokens that were used by now, as far as it is known.
    fn tokens_used(&self) -> u64;
}

/// One relay's guest: it knows what that used.
pub struct Relaying {
    gateway: Arc<Gateway>,
    tokens_used: AtomicU64,
}

impl Relaying {
    /// The guest for a relay that begins.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            tokens_used: AtomicU64::new(0),
        }
    }

    fn with<T>(&self, call: impl FnOnce(&mut Instance) -> Result<T>) -> Result<T> {
        self.gateway.with(|instance| {
            let result = call(instance);
            let tokens = instance.take_tokens_used();
            self.tokens_used.fetch_add(tokens, Ordering::Relaxed);
            result
        })
    }
}

impl Decides for Relaying {
    fn begin(&self, context: &str, body: Result<&[u8], BodyFault>) -> Result<Step> {
        self.with(|it| it.begin(context, body))
    }

    fn again(&self, context: &Context) -> Result<Step> {
        self.with(|it| it.again(context))
    }

    fn failed(&self, context: &Context, failure: Failure) -> Result<Step> {
        self.with(|it| it.failed(context, failure))
    }

    fn head_arrived(
        &self,
        context: &Context,
        status: u16,
        headers: &[(String, String)],
    ) -> Result<Reading> {
        self.with(|it| it.head_arrived(context, status, headers))
    }

    fn answer(&self, context: &Context, body: Option<&[u8]>) -> Result<Response> {
        self.with(|it| it.answer(context, body))
    }

    fn piece(&self, context: &Context, bytes: &[u8]) -> Result<Passed> {
        self.with(|it| it.piece(context, bytes))
    }

    fn end(&self, context: &Context, ending: Ending) -> Result<Vec<u8>> {
        self.with(|it| it.end(context, ending))
    }

    fn tokens_used(&self) -> u64 {
        self.tokens_used.load(Ordering::Relaxed)
    }
}

/// A call under way. If it is dropped before it is over, its client has gone,
/// or the guest has failed: then it is ended here.
pub struct Held<D: Decides> {
    guest: Arc<D>,
    /// What the next step needs.
    context: Context,
    /// Whether the guest has to be told of its end.
    is_under_way: bool,
    /// The request that others are called for.
    within: Within,
    /// The call of the upstream that is under way.
    call: Option<Outward>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<D: Decides> Held<D> {
    /// A call for which the guest holds nothing yet; without a place it is one
    /// that is refused.
    pub fn new(guest: Arc<D>, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            guest,
            context: Context::new(),
            is_under_way: false,
            within: Within::default(),
            call: None,
            _place: place,
        }
    }

    /// Which request it is for.
    pub fn within(mut self, within: Within) -> Self {
        self.within = within;
        self
    }

    /// The upstream is called. What it is to be told of the call's span.
    pub fn calls(&mut self, url: &str) -> Option<HeaderValue> {
        let call = self.call.insert(self.within.call(Service::Relay, true)?);
        call.asked(&Asked {
            method: Method::POST,
            server: url.parse().ok().as_ref().and_then(Server::of_uri),
            status: None,
            resends: 0,
        });
        call.traceparent()
    }

    /// The upstream's part is over, as this error if it has failed.
    pub fn call_is_over(&mut self, error: Option<&'static str>) {
        if let Some(mut call) = self.call.take() {
            if let Some(error) = error {
                call.failed(error);
            }
            let tokens = self.guest.tokens_used();
            if tokens > 0 {
                call.used(tokens);
            }
        }
    }

    /// It goes on, with this context.
    pub fn keep(&mut self, context: Context) {
        self.context = context;
        self.is_under_way = true;
    }

    /// Nothing is held any more.
    pub fn is_over(&mut self) {
        self.is_under_way = false;
        self.call_is_over(None);
    }

    /// The pause is over.
    pub fn again(&self) -> Result<Step> {
        self.guest.again(&self.context)
    }

    /// The upstream was not reached.
    pub fn failed(&mut self, failure: Failure) -> Result<Step> {
        self.call_is_over(Some(match failure {
            Failure::Unreachable => "unreachable",
            Failure::Silent => "silent",
            Failure::Broken => "broken",
        }));
        self.guest.failed(&self.context, failure)
    }

    /// The upstream answers.
    pub fn head_arrived(&mut self, status: u16, headers: &[(String, String)]) -> Result<Reading> {
        if let Some(call) = &mut self.call {
            call.answered(status);
        }
        self.guest.head_arrived(&self.context, status, headers)
    }

    /// Its answer was read whole: that is the end.
    pub fn answer(&mut self, body: Option<&[u8]>) -> Result<Response> {
        if let (None, Some(call)) = (body, &mut self.call) {
            call.failed("cut_off");
        }
        let response = self.guest.answer(&self.context, body)?;
        self.is_over();
        Ok(response)
    }

    /// A piece of its answer.
    pub fn piece(&self, bytes: &[u8]) -> Result<Passed> {
        self.guest.piece(&self.context, bytes)
    }

    /// It has ended like this: what is still to be written.
    pub fn end(&mut self, ending: Ending) -> Result<Vec<u8>> {
        let left = if std::mem::take(&mut self.is_under_way) {
            self.guest.end(&self.context, ending)
        } else {
            Ok(Vec::new())
        };
        self.call_is_over(match ending {
            Ending::Ended => None,
            Ending::Broken => Some("broken"),
            Ending::Stalled => Some("stalled"),
            Ending::Gone => Some("gone"),
        });
        left
    }
}

impl<D: Decides> Drop for Held<D> {
    fn drop(&mut self) {
        // Here and now: a task of its own would be lost when the server stops.
        if let Err(error) = self.end(Ending::Gone) {
            error!(
                event = "relay_failed",
                "a call's end failed, and what it held is held for a while: {error:#}"
            );
        }
    }
}
