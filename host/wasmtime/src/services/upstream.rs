//! Calls of another server, and what it answers, piece by piece. It is a
//! stranger: it may be silent, break off, or never end.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use tracing::{error, warn};

use crate::contract::relay::{Call, Ending, Failure};
use crate::process::{patience, tls};
use crate::telemetry::outward::TRACEPARENT;

/// The longest piece that the guest is shown, in bytes.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Connections that are kept for the next call, and for how long.
const IDLE_MAX: usize = 32;
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// Calls other servers. A client is made with the first call, and again when
/// the guest asks for another time to connect in.
#[derive(Default)]
pub struct Caller(Mutex<Option<(u32, reqwest::Client)>>);

/// An answer that is arriving. To drop it ends the call.
pub struct Upstream {
    answer: reqwest::Response,
    /// What has arrived and was not asked for yet.
    rest: Bytes,
    idle_max: Duration,
}

impl Caller {
    /// Calls, until the head of the answer is there. `span` is what it is told
    /// of whose trace the call is a part of.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn call(&self, call: Call, span: Option<HeaderValue>) -> Result<Upstream, Failure> {
        let client = self.client(call.connect_timeout_ms).map_err(unusable)?;
        let mut headers = headers(&call.headers).map_err(unusable)?;
        headers.extend(span.map(|span| (TRACEPARENT, span)));
        let request = client.post(call.url).headers(headers).body(call.body);
        let head_max = Duration::from_millis(call.head_timeout_ms.into());
        match patience::timeout(head_max, request.send()).await {
            None => Err(Failure::Silent),
            Some(Ok(answer)) => Ok(Upstream {
                answer,
                rest: Bytes::new(),
                idle_max: Duration::from_millis(call.idle_timeout_ms.into()),
            }),
            Some(Err(error)) => {
                let failure = if error.is_connect() || error.is_builder() {
                    Failure::Unreachable
                } else {
                    Failure::Broken
                };
                // The operator's way to know: a client is told less.
                let why = chain(&error.without_url());
                warn!(
                    event = "upstream_failed",
                    "a call of the services' upstream failed: {why}"
                );
                Err(failure)
            }
        }
    }

    fn client(&self, connect_timeout_ms: u32) -> Result<reqwest::Client, reqwest::Error> {
        let mut client = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((timeout_ms, client)) = &*client
            && *timeout_ms == connect_timeout_ms
        {
            return Ok(client.clone());
        }
        tls::prepare();
        let made = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(connect_timeout_ms.into()))
            // Its key would go wherever the upstream says.
            .redirect(Policy::none())
            // What the environment names is for other programs.
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .build()?;
        *client = Some((connect_timeout_ms, made.clone()));
        Ok(made)
    }
}

impl Upstream {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.answer.status().as_u16()
    }

    /// Its headers. Names are in lower case; bytes that are not UTF-8 are
    /// replaced.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        let headers = self.answer.headers().iter();
        headers
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                (name.as_str().to_owned(), value.into_owned())
            })
            .collect()
    }

    /// How long its body is, if it says so.
    #[must_use]
    pub fn bytes_announced(&self) -> Option<u64> {
        self.answer.content_length()
    }

    /// What comes next of its body; `None` at its end.
    ///
    /// # Errors
    /// When it breaks off or is silent for too long.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Ending> {
        while self.rest.is_empty() {
            match patience::timeout(self.idle_max, self.answer.chunk()).await {
                None => return Err(Ending::Stalled),
                Some(Ok(None)) => return Ok(None),
                Some(Ok(Some(bytes))) => self.rest = bytes,
                Some(Err(error)) => {
                    let why = chain(&error.without_url());
                    warn!(
                        event = "upstream_failed",
                        "an answer of the services' upstream broke off: {why}"
                    );
                    return Err(Ending::Broken);
                }
            }
        }
        let bytes = self.rest.len().min(PIECE_BYTES_MAX);
        Ok(Some(self.rest.split_to(bytes)))
    }
}

/// None of these is ever shown, in a log or elsewhere.
fn headers(headers: &[(String, String)]) -> Result<HeaderMap, hyper::http::Error> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let mut value = HeaderValue::try_from(value)?;
        value.set_sensitive(true);
        map.append(HeaderName::try_from(name)?, value);
    }
    Ok(map)
}

fn unusable(error: impl Error) -> Failure {
    error!(
        event = "upstream_unusable",
        "the services' upstream cannot be called: {}",
        chain(&error)
    );
    Failure::Unreachable
}

/// An error with what it comes from: the first says little.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
