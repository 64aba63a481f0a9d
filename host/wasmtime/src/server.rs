//! HTTP: every request is put to the gateway; what it admits goes to its
//! store's room. Nothing here knows the protocol.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::net::TcpListener;
use tokio::sync::oneshot::{self, error::RecvError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::budget::{BodyBudget, Budget};
use crate::component::{self, Admission, Answer, Page, Refusal, Transport, Verdict};
use crate::gateway::Gateway;
use crate::room::Event;
use crate::shard::Shards;
use crate::socket;

/// Cloudflare's limits on a request, in bytes.
const URL_BYTES_MAX: usize = 16 * 1024;
const HEADERS_BYTES_MAX: usize = 128 * 1024;

/// A request's body: as much as a WebSocket message, in bytes.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is read of a refused request's body, in bytes: enough for any real
/// client's, to name its request id in the answer.
const REFUSED_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a client may take to send a body: its room in memory is taken.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a refused client may take, which anybody can be.
const REFUSED_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long answers under way may take once the server stops, and sockets to
/// close.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client is told to wait after a room's fault.
const RETRY_AFTER_MS: u64 = 1_000;

/// The server.
pub struct App {
    gateway: Gateway,
    shards: Shards,
    budget: Budget,
    stopping: CancellationToken,
    stopped: CancellationToken,
    sockets: TaskTracker,
}

impl App {
    /// A server on this gateway and these shards.
    #[must_use]
    pub fn new(gateway: Gateway, shards: Shards) -> Arc<Self> {
        Arc::new(Self {
            gateway,
            shards,
            budget: Budget::default(),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            sockets: TaskTracker::new(),
        })
    }

    /// The rooms.
    #[must_use]
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// What waiting input may take.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Cancelled when the server stops.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when the rooms are gone.
    #[must_use]
    pub fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Serves until `stop` returns; then finishes the turns that wait, closes
    /// the sockets with 1012 and the storage.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let stopping = self.stopping.clone();
        let router = axum::Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&self));
        let serving = axum::serve(listener, router).with_graceful_shutdown({
            let stopping = stopping.clone();
            async move {
                stop.await;
                stopping.cancel();
            }
        });
        let serving = async {
            let served = serving.await;
            // However it ended, the rest has to end in good order.
            stopping.cancel();
            served
        };
        let stopped = async {
            stopping.cancelled().await;
            info!("stopping: turns are finished, then sockets closed");
            let app = Arc::clone(&self);
            let stopped = tokio::task::spawn_blocking(move || app.shards.stop()).await;
            self.stopped.cancel();
            self.sockets.close();
            // Answers under way end with the listener, beside this.
            if timeout(STOP_TIMEOUT, self.sockets.wait()).await.is_err() {
                info!("some sockets did not close in time");
            }
            stopped
        };
        let deadline = async {
            stopping.cancelled().await;
            tokio::time::sleep(STOP_TIMEOUT * 2).await;
        };
        tokio::select! {
            (served, stopped) = async { tokio::join!(serving, stopped) } => {
                stopped?;
                Ok(served?)
            }
            () = deadline => {
                info!("some answers were not taken in time");
                Ok(())
            }
        }
    }
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(response) = oversized(&parts.uri.to_string(), &parts.headers) {
        return response;
    }
    if parts.uri.path() == "/readyz" && app.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let is_upgrade = parts.method == Method::GET && is_upgrade(&parts.headers);
    let request = component::Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: app.headers_for_admission(&parts.headers),
        upgrade: is_upgrade,
    };
    let verdict = match app.gateway.admit(&request) {
        Ok(verdict) => verdict,
        Err(error) => {
            error!("the gateway failed: {error:#}");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    if is_upgrade {
        // Of several protocols offered, this is the one that is spoken.
        let websocket = HeaderValue::from_static("websocket");
        parts.headers.insert(header::UPGRADE, websocket);
    }
    match verdict {
        Verdict::Respond(response) => http_response(response),
        Verdict::Refuse(refusal) => {
            let limits = (REFUSED_BODY_BYTES_MAX, REFUSED_BODY_TIMEOUT);
            let mut budget = app.budget.of_refused();
            let body = read_body(body, limits, &mut budget).await;
            app.refuse(&refusal, &body.unwrap_or_default())
        }
        Verdict::Enter(admission) if admission.transport == Transport::HttpV4 => {
            app.request(admission, body).await
        }
        Verdict::Enter(admission) => {
            let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
            accept(upgrade, |upgrade| {
                let tracker = app.sockets.clone();
                upgrade.on_upgrade(move |socket| {
                    tracker.track_future(socket::serve(app, socket, admission))
                })
            })
        }
        Verdict::Close(close) => {
            let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
            accept(upgrade, |upgrade| {
                let tracker = app.sockets.clone();
                let upgrade = socket::limited_to_nothing(upgrade);
                upgrade.on_upgrade(move |socket| {
                    tracker.track_future(socket::refuse(socket, close.code, close.reason))
                })
            })
        }
    }
}

/// Upgrades, unless the handshake is not one.
fn accept<R: IntoResponse>(
    upgrade: Result<WebSocketUpgrade, R>,
    then: impl FnOnce(WebSocketUpgrade) -> Response,
) -> Response {
    match upgrade {
        Ok(upgrade) => then(socket::limited(upgrade)),
        Err(rejection) => rejection.into_response(),
    }
}

impl App {
    fn headers_for_admission(&self, headers: &HeaderMap) -> Vec<(String, String)> {
        self.gateway
            .headers_read()
            .iter()
            .filter_map(|name| {
                let value = String::from_utf8_lossy(headers.get(name)?.as_bytes());
                Some((name.clone(), value.into_owned()))
            })
            .collect()
    }

    fn refuse(&self, refusal: &Refusal, body: &[u8]) -> Response {
        match self.gateway.refuse(refusal, body) {
            Ok(response) => http_response(response),
            Err(error) => {
                error!("the gateway failed: {error:#}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }

    async fn request(self: Arc<Self>, admission: Admission, body: Body) -> Response {
        let store: Arc<str> = admission.store_id.as_str().into();
        let response_headers = admission.response_headers.clone();
        let mut budget = self.budget.of_body();
        let body = match read_body(body, (BODY_BYTES_MAX, BODY_TIMEOUT), &mut budget).await {
            Ok(body) => body,
            Err(error) => return self.refuse(&error.refusal(response_headers), &[]),
        };
        let (reply, answer) = oneshot::channel();
        self.shards.deliver(
            &store,
            Event::Request {
                admission: Box::new(admission),
                body: body.clone(),
                permits: budget.permits(),
                reply,
            },
        );
        match answer.await {
            Ok(answer) => self.stream(store, answer),
            Err(_) => {
                let refusal = Refusal {
                    status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                    code: "UNAVAILABLE".to_owned(),
                    message: "The server failed at this request; nothing was stored. Try again."
                        .to_owned(),
                    retry_after_ms: Some(RETRY_AFTER_MS),
                    headers: response_headers,
                };
                let body = body.get(..REFUSED_BODY_BYTES_MAX).unwrap_or(&body);
                self.refuse(&refusal, body)
            }
        }
    }

    /// Writes an answer page by page: a page is asked for only when the
    /// client has taken all before the last one.
    fn stream(self: Arc<Self>, store: Arc<str>, answer: Answer) -> Response {
        let Answer {
            status,
            headers,
            first,
        } = answer;
        let body = if first.continuation.is_none() {
            Body::from(first.body)
        } else {
            let next = Step::Write(first);
            let pages = stream::try_unfold(next, move |step| {
                let app = Arc::clone(&self);
                let store = Arc::clone(&store);
                async move {
                    let page = match step {
                        Step::Write(page) => page,
                        Step::Ask(continuation) => app.next_page(&store, continuation).await?,
                        Step::End => return Ok::<_, RecvError>(None),
                    };
                    let next = page.continuation.map_or(Step::End, Step::Ask);
                    Ok(Some((Bytes::from(page.body), next)))
                }
            });
            Body::from_stream(pages)
        };
        with_head(status, headers, body)
    }
}

/// What is next of a paged answer.
enum Step {
    Write(Page),
    Ask(String),
    End,
}

impl App {
    /// Asks a room for a page. If its turn fails, the answer is cut off, so
    /// that nobody takes it for the whole.
    async fn next_page(&self, store: &Arc<str>, continuation: String) -> Result<Page, RecvError> {
        let (reply, page) = oneshot::channel();
        let event = Event::Resume {
            continuation,
            reply,
        };
        self.shards.deliver(store, event);
        page.await
    }
}

/// Why a body could not be read.
enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

impl BodyError {
    fn refusal(&self, headers: Vec<(String, String)>) -> Refusal {
        let (status, code, message) = match self {
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "BODY_TOO_LARGE",
                "The body has more than 32 MiB.",
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "BODY_TIMEOUT",
                "The body did not arrive in time.",
            ),
            Self::Broken => (
                StatusCode::BAD_REQUEST,
                "BODY_BROKEN",
                "The body ended before its end.",
            ),
        };
        Refusal {
            status: status.as_u16(),
            code: code.to_owned(),
            message: message.to_owned(),
            retry_after_ms: None,
            headers,
        }
    }
}

/// Reads a body within its limits, in bytes and time, and its budget.
async fn read_body(
    body: Body,
    (bytes_max, time_max): (usize, Duration),
    budget: &mut BodyBudget,
) -> Result<Bytes, BodyError> {
    let mut body = Limited::new(body, bytes_max);
    let read = async {
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        budget.take(piece.len()).await;
                        all.extend_from_slice(&piece);
                    }
                }
                Err(error) if error.is::<LengthLimitError>() => return Err(BodyError::TooLarge),
                Err(_) => return Err(BodyError::Broken),
            }
        }
        Ok(all.freeze())
    };
    timeout(time_max, read)
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

fn http_response(response: component::Response) -> Response {
    with_head(response.status, response.headers, Body::from(response.body))
}

fn with_head(status: u16, headers: Vec<(String, String)>, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn oversized(url: &str, headers: &HeaderMap) -> Option<Response> {
    if url.len() > URL_BYTES_MAX {
        return Some(StatusCode::URI_TOO_LONG.into_response());
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    (bytes > HEADERS_BYTES_MAX).then(|| StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response())
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let mut protocols = value.split(',').map(str::trim);
            protocols.any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
        })
}
