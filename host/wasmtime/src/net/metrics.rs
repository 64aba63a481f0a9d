//! `/metrics`, for Prometheus: on a listener of its own, or on the server's if
//! that is wanted.

use std::convert::Infallible;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::exchange::answer::{Response, with_head};
use crate::net::listen::Listeners;
use crate::telemetry::exposition::{CONTENT_TYPE, Exposition};

/// Where the metrics are.
pub const METRICS_PATH: &str = "/metrics";

/// Connections that are served at once: who collects metrics has one.
const CONNECTIONS_MAX: usize = 16;

/// How long a connection may take in all: each is for one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long nothing is accepted after the machine has refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The metrics, for who asks for them so.
pub fn metrics_response(method: &Method, exposition: &Exposition) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let allow = vec![("allow".to_owned(), "GET, HEAD".to_owned())];
        return with_head(StatusCode::METHOD_NOT_ALLOWED, allow, "");
    }
    let text = if method == Method::HEAD {
        String::new()
    } else {
        exposition.text()
    };
    let mut response = with_head(StatusCode::OK, vec![], text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// Serves the metrics, and nothing else, for as long as it is polled.
pub async fn serve(mut listeners: Listeners, exposition: Exposition) {
    static PLACES: Semaphore = Semaphore::const_new(CONNECTIONS_MAX);
    loop {
        let Ok(place) = PLACES.acquire().await else {
            return;
        };
        let stream = match listeners.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(
                    event = "accept_failed",
                    "cannot accept connections: {error}"
                );
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let exposition = exposition.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let response = if request.uri().path() == METRICS_PATH {
                    metrics_response(request.method(), &exposition)
                } else {
                    with_head(StatusCode::NOT_FOUND, vec![], "")
                };
                async { Ok::<_, Infallible>(response) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = timeout(CONNECTION_TIMEOUT, served).await {
                debug!(event = "connection_failed", "{error}");
            }
            drop(place);
        });
    }
}
