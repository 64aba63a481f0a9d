//! HTTP requests: each is put to the gateway; what it admits goes to its
//! store's room. Nothing here knows the protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode};
use tokio::sync::oneshot::{self, error::RecvError};
use tracing::error;
use tungstenite::handshake::server::create_response_with_body;

use crate::component::{self, Admission, Decision, Fault, Refusal, Transport, Verdict};
use crate::intake::{FREE_BYTES, Permits, Reservation, Share};
use crate::listener::Permit;
use crate::patience::{self, Moment};
use crate::peer::Peer;
use crate::server::App;
use crate::shards::RoomQueue;
use crate::socket;
use crate::turn::{Answer, Event, Overloaded, Page};

/// Cloudflare's limits on a request, in bytes.
const URL_BYTES_MAX: usize = 16 * 1024;
const HEADERS_BYTES_MAX: usize = 128 * 1024;

/// How long a refused client may take with its body, which anybody can be.
const REFUSED_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What is reserved for a body that does not say how large it will be, and
/// is larger than a small message, at first, in bytes.
const UNKNOWN_BODY_BYTES: usize = 64 * 1024;

/// What a page counts for while it is made, in bytes: about what one has.
const PAGE_BYTES: usize = 1_000_000;

/// How long a page waits until the store's clients have taken of those before.
const PAGE_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether they have.
const PAGE_WAIT: Duration = Duration::from_millis(20);

/// A request.
pub type Request = hyper::Request<Incoming>;

/// An answer. Its body fails only when a room's turn does: then it is cut
/// off, so that nobody takes it for the whole.
pub type Response = hyper::Response<UnsyncBoxBody<Bytes, RecvError>>;

/// Answers a request, which came from this address.
pub async fn handle(
    app: Arc<App>,
    mut request: Request,
    permit: Permit,
    address: SocketAddr,
) -> Response {
    let peer = Peer::new(address, request.headers());
    let refused = |code: &str, status: StatusCode, why: &str| {
        app.refusals()
            .refused(&peer, None, code, Some(status.as_u16()), why);
    };
    if let Some((status, code, why)) = oversized(&request.uri().to_string(), request.headers()) {
        refused(code, status, why);
        return with_head(status, vec![], "");
    }
    let asks_how_it_is = ["/healthz", "/readyz"].contains(&request.uri().path());
    if permit.is_reserved() && !asks_how_it_is {
        return app.turn_away(&peer, None, &app.gateway().faults().overloaded.refusal, &[]);
    }
    let upgrade = request.method() == Method::GET && is_upgrade(request.headers());
    if upgrade {
        // Of several protocols offered, this is the one that is spoken.
        let websocket = HeaderValue::from_static("websocket");
        request.headers_mut().insert(header::UPGRADE, websocket);
    }
    let asked = component::Request {
        method: request.method().as_str().to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        headers: app.headers_for_admission(request.headers()),
        upgrade,
    };
    let Decision { verdict, cause } = match app.gateway().admit(&asked) {
        Ok(decision) => decision,
        Err(error) => {
            error!("the gateway failed: {error:#}");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            refused("INTERNAL", status, "The gateway failed: see the errors.");
            return with_head(status, vec![], "");
        }
    };
    if let (Some(cause), answer @ Some(_)) = (cause, answer_of(&verdict)) {
        let store = cause.store_id.as_deref();
        app.refusals()
            .refused(&peer, store, &cause.code, answer, &cause.message);
    }
    match verdict {
        Verdict::Respond(response) => {
            // The gateway knows what is asked, and nothing of the machine.
            let says_ready = asked.path == "/readyz" && response.status == StatusCode::OK;
            match says_ready.then(|| app.complaint()).flatten() {
                Some(complaint) => {
                    let complaint = format!("{complaint}\n");
                    with_head(StatusCode::SERVICE_UNAVAILABLE, vec![], complaint)
                }
                None => http_response(response),
            }
        }
        // Whoever syncs by such a path has no place either.
        _ if permit.is_reserved() => {
            app.turn_away(&peer, None, &app.gateway().faults().overloaded.refusal, &[])
        }
        Verdict::Refuse(refusal) => {
            // Whoever cannot be told within that time is told without.
            let share = app.refused_bodies().of_store("");
            let limits = (app.gateway().refused_body_bytes_max(), REFUSED_BODY_TIMEOUT);
            let body = read_body(request.into_body(), limits, share);
            let body = patience::timeout(REFUSED_BODY_TIMEOUT, body).await;
            match body {
                Some(Ok((body, _reservation))) => app.refuse(&refusal, &body),
                _ => app.refuse(&refusal, &[]),
            }
        }
        Verdict::Enter(admission) if admission.transport == Transport::HttpV4 => {
            app.request(admission, request.into_body(), &peer).await
        }
        Verdict::Enter(admission) => accept(&app, &mut request, peer, |upgrade, peer| {
            socket::admit(Arc::clone(&app), upgrade, admission, permit, peer);
        }),
        Verdict::Close(close) => accept(&app, &mut request, peer, |upgrade, _| {
            tokio::spawn(socket::refuse(upgrade, close.code, close.reason, permit));
        }),
    }
}

/// What a client is told that may not enter: an HTTP status, or a close code.
fn answer_of(verdict: &Verdict) -> Option<u16> {
    match verdict {
        Verdict::Respond(response) => Some(response.status),
        Verdict::Refuse(refusal) => Some(refusal.status),
        Verdict::Close(close) => Some(close.code),
        Verdict::Enter(_) => None,
    }
}

/// Upgrades to a WebSocket, unless the handshake is not one.
fn accept(
    app: &App,
    request: &mut Request,
    peer: Peer,
    then: impl FnOnce(OnUpgrade, Peer),
) -> Response {
    match create_response_with_body(request, || ()) {
        Ok(response) => {
            then(hyper::upgrade::on(request), peer);
            response.map(|()| body_of(""))
        }
        Err(error) => {
            let (status, why) = (StatusCode::BAD_REQUEST, error.to_string());
            app.refusals()
                .refused(&peer, None, "BAD_HANDSHAKE", Some(status.as_u16()), &why);
            with_head(status, vec![], format!("{why}\n"))
        }
    }
}

impl App {
    fn headers_for_admission(&self, headers: &HeaderMap) -> Vec<(String, String)> {
        self.gateway()
            .headers_read()
            .iter()
            .filter_map(|name| {
                let value = String::from_utf8_lossy(headers.get(name)?.as_bytes());
                Some((name.clone(), value.into_owned()))
            })
            .collect()
    }

    fn refuse(&self, refusal: &Refusal, body: &[u8]) -> Response {
        match self.gateway().refuse(refusal, body) {
            Ok(response) => http_response(response),
            Err(error) => {
                error!("the gateway failed: {error:#}");
                with_head(StatusCode::INTERNAL_SERVER_ERROR, vec![], "")
            }
        }
    }

    /// Refuses a request, and has it in the log.
    fn turn_away(
        &self,
        peer: &Peer,
        store: Option<&str>,
        refusal: &Refusal,
        body: &[u8],
    ) -> Response {
        let (code, why) = (&refusal.code, &refusal.message);
        self.refusals()
            .refused(peer, store, code, Some(refusal.status), why);
        self.refuse(refusal, body)
    }

    async fn request(&self, admission: Admission, body: Incoming, peer: &Peer) -> Response {
        let room = self.shards().room(&admission.store_id);
        let store = admission.store_id.clone();
        let response_headers = admission.response_headers.clone();
        let turn_away = |refusal: &Refusal, body: &[u8]| {
            let refusal = Refusal {
                headers: response_headers,
                ..refusal.clone()
            };
            let seen = body.get(..self.gateway().refused_body_bytes_max());
            self.turn_away(peer, Some(&store), &refusal, seen.unwrap_or(body))
        };
        let faults = self.gateway().faults();
        let share = self.bodies().of_store(&admission.store_id);
        let Some(_under_way) = share.begin_request() else {
            return turn_away(&faults.overloaded.refusal, &[]);
        };
        let limits = (self.limits().frame_bytes_max, self.limits().message_timeout);
        let (body, reservation) = match read_body(body, limits, share).await {
            Ok(read) => read,
            Err(error) => {
                let refusal = error.refusal(self.limits().frame_bytes_max, &faults.overloaded);
                return turn_away(&refusal, &[]);
            }
        };
        let (reply, answer) = oneshot::channel();
        let event = Event::Request {
            admission: Box::new(admission),
            body: body.clone(),
            permits: Permits::new(None, reservation),
            reply,
        };
        // What is not taken is dropped, `reply` too, which ends the wait.
        room.as_ref().map(|room| room.deliver(event));
        match (answer.await, room) {
            (Ok(Ok(answer)), Some(room)) => {
                if answer.status >= StatusCode::BAD_REQUEST.as_u16() {
                    let why = "The store's room refuses it: its answer says why.";
                    self.refusals().refused(
                        peer,
                        Some(&store),
                        "BY_ROOM",
                        Some(answer.status),
                        why,
                    );
                }
                stream(room, answer)
            }
            (Ok(Err(Overloaded)), _) => turn_away(&faults.overloaded.refusal, &body),
            _ => turn_away(&faults.unavailable.refusal, &body),
        }
    }
}

/// Writes an answer page by page: a page is asked for only when the client
/// has taken all before the last one.
fn stream(room: RoomQueue, answer: Answer) -> Response {
    let Answer {
        status,
        headers,
        first,
        output,
    } = answer;
    let body = if first.continuation.is_none() {
        body_of(first.body)
    } else {
        let begin = (room, output, Step::Write(first));
        let pages = stream::try_unfold(begin, async |(room, output, step)| {
            let page = match step {
                Step::Write(page) => page,
                Step::Ask(continuation) => {
                    // The client has taken the page before; others have not
                    // taken theirs.
                    let waiting = Moment::now();
                    while output.is_over() && waiting.left(PAGE_WAIT_MAX).is_some() {
                        tokio::time::sleep(PAGE_WAIT).await;
                    }
                    // Or all that wait would go on at once.
                    let _count = output.expect(PAGE_BYTES);
                    next_page(&room, continuation).await?
                }
                Step::End => return Ok(None),
            };
            let next = page.continuation.map_or(Step::End, Step::Ask);
            Ok(Some((Frame::data(page.body), (room, output, next))))
        });
        StreamBody::new(pages).boxed_unsync()
    };
    response(status_of(status), headers, body)
}

/// What is next of a paged answer.
enum Step {
    Write(Page),
    Ask(String),
    End,
}

/// Asks a room for a page. If its turn fails, the answer is cut off, so that
/// nobody takes it for the whole.
async fn next_page(room: &RoomQueue, continuation: String) -> Result<Page, RecvError> {
    let (reply, page) = oneshot::channel();
    room.deliver(Event::Resume {
        continuation,
        reply,
    });
    page.await
}

/// Why a body could not be read.
enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
    Overloaded,
}

impl BodyError {
    fn refusal(&self, bytes_max: usize, overloaded: &Fault) -> Refusal {
        let (status, code, message) = match self {
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "BODY_TOO_LARGE",
                format!("The body has more than {bytes_max} bytes."),
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "BODY_TIMEOUT",
                "The body did not arrive in time.".to_owned(),
            ),
            Self::Broken => (
                StatusCode::BAD_REQUEST,
                "BODY_BROKEN",
                "The body ended before its end.".to_owned(),
            ),
            Self::Overloaded => return overloaded.refusal.clone(),
        };
        Refusal {
            status: status.as_u16(),
            code: code.to_owned(),
            message,
            retry_after_ms: None,
            headers: vec![],
        }
    }
}

/// Reads a body within its limits, in bytes and time; what it has reserved.
/// Its time passes while it arrives, not while it waits for memory.
async fn read_body(
    body: Incoming,
    (bytes_max, time_max): (usize, Duration),
    share: Arc<Share>,
) -> Result<(Bytes, Option<Reservation>), BodyError> {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(BodyError::TooLarge);
    }
    let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
    let reserve = async |bytes| {
        let reservation = Arc::clone(&share).reserve(bytes).await;
        reservation.map(Some).ok_or(BodyError::Overloaded)
    };
    let mut body = Limited::new(body, bytes_max);
    // What it may have until it has to reserve more.
    let (mut reserved_bytes, mut reservation) = match announced {
        Some(bytes) => (bytes, reserve(bytes).await?),
        None => (FREE_BYTES, None),
    };
    let mut all = BytesMut::new();
    let mut since = Moment::now();
    loop {
        let left = since.left(time_max).ok_or(BodyError::TooSlow)?;
        let frame = patience::timeout(left, body.frame()).await;
        let Some(frame) = frame.ok_or(BodyError::TooSlow)? else {
            break;
        };
        let piece = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) if error.is::<LengthLimitError>() => return Err(BodyError::TooLarge),
            Err(_) => return Err(BodyError::Broken),
        };
        let bytes = all.len() + piece.len();
        if bytes > reserved_bytes {
            // Twice at most: to what a small one has, and to all that it may
            // become. What waits for more holds less, of another class.
            let waiting = Moment::now();
            let wanted = if bytes <= UNKNOWN_BODY_BYTES {
                UNKNOWN_BODY_BYTES
            } else {
                bytes_max
            };
            reservation = reserve(wanted).await?;
            reserved_bytes = wanted;
            since = since.later(waiting.elapsed());
        }
        all.extend_from_slice(&piece);
    }
    if let Some(reservation) = &mut reservation {
        reservation.shrink(all.len());
    }
    Ok((all.freeze(), reservation))
}

fn http_response(answer: component::Response) -> Response {
    with_head(status_of(answer.status), answer.headers, answer.body)
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn body_of(text: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, RecvError> {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn with_head(
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: impl Into<Bytes>,
) -> Response {
    response(status, headers, body_of(body))
}

fn response(
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: UnsyncBoxBody<Bytes, RecvError>,
) -> Response {
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// What is too large of a request: the answer's status, its code and why.
fn oversized(url: &str, headers: &HeaderMap) -> Option<(StatusCode, &'static str, &'static str)> {
    if url.len() > URL_BYTES_MAX {
        let why = "The URL has more than 16 KiB.";
        return Some((StatusCode::URI_TOO_LONG, "URL_TOO_LONG", why));
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let why = "The headers have more than 128 KiB.";
    (bytes > HEADERS_BYTES_MAX).then_some((status, "HEADERS_TOO_LARGE", why))
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
