//! HTTP requests: each is put to the gateway; what it admits goes to its
//! store's room. Nothing here knows the protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode};
use opentelemetry::trace::SpanContext;
use tokio::sync::oneshot;
use tracing::error;
use tungstenite::handshake::server::create_response_with_body;

use crate::app::App;
use crate::component::turn::Overloaded;
use crate::contract::services::Service;
use crate::contract::{self, Admission, Decision, Entry, Refusal, Verdict};
use crate::exchange::answer::{Response, body_of, http_response, with_head};
use crate::exchange::body::read_body;
use crate::exchange::received::Received;
use crate::flow::intake::Permits;
use crate::net::answer::stream;
use crate::net::metrics::{METRICS_PATH, metrics_response};
use crate::net::places::Place;
use crate::net::socket;
use crate::process::patience;
use crate::rooms::event::Event;
use crate::telemetry::codes;
use crate::telemetry::peer::{Peer, bounded};
use crate::telemetry::traces::of_headers;

/// Cloudflare's limits on a request, in bytes.
const URL_BYTES_MAX: usize = 16 * 1024;
const HEADERS_BYTES_MAX: usize = 128 * 1024;

/// How long a refused client may take with its body, which anybody can be.
const REFUSED_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A request.
pub type Request = hyper::Request<Received>;

/// The header with which a client can quote a refusal, or a socket's life.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Of a path that a span has, in characters.
const PATH_CHARS_MAX: usize = 256;

/// Answers a request, which came from this address, and tells metrics and
/// traces of it.
pub async fn handle(
    app: Arc<App>,
    request: Request,
    place: Place,
    address: SocketAddr,
) -> Response {
    let peer = Peer::new(address, request.method(), request.uri(), request.headers());
    let request_id = peer.request_id();
    let telemetry = app.telemetry().clone();
    let begun = telemetry.meters().map(|_| Instant::now());
    let mut asked = Asked {
        route: codes::route(request.uri().path()),
        parent: None,
        admit: None,
    };
    let method = request.method().clone();
    let admit = telemetry.traces().map(|traces| {
        asked.parent = of_headers(request.headers());
        let path = bounded(request.uri().path(), PATH_CHARS_MAX);
        let admit = traces.admit(method.as_str(), &path, asked.parent.as_ref());
        asked.admit = Some(admit.context());
        admit
    });
    let mut response = answer(app, request, place, peer, &mut asked).await;
    let status = response.status();
    if let (Some(meters), Some(begun)) = (telemetry.meters(), begun) {
        let (method, status) = (method.as_str(), status.as_u16());
        meters.requested(method, asked.route, status, begun.elapsed());
    }
    if let Some(admit) = admit {
        admit.end(asked.route, status.as_u16());
    }
    // A socket that is refused is told so in its close, which has no room for
    // more: its upgrade has the id.
    let is_upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
    if is_upgraded || status.is_client_error() || status.is_server_error() {
        let id = request_id.and_then(|id| HeaderValue::try_from(id).ok());
        if let Some(id) = id {
            identify(response.headers_mut(), id);
        }
    }
    response
}

/// Gives an answer the id that its client can quote; a website that may read
/// the answer may read that, too.
fn identify(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(REQUEST_ID, id);
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, REQUEST_ID.into());
    }
}

/// What is known of a request that is being answered.
struct Asked {
    /// What it is for.
    route: &'static str,
    /// The span that it is made in, as it says.
    parent: Option<SpanContext>,
    /// The span of its admission.
    admit: Option<SpanContext>,
}

/// Answers a request.
async fn answer(
    app: Arc<App>,
    mut request: Request,
    place: Place,
    peer: Peer,
    about: &mut Asked,
) -> Response {
    let refused = |code: &str, status: StatusCode, why: &str| {
        app.refusals()
            .refused(&peer, None, code, Some(status.as_u16()), why);
    };
    if let Some((status, code, why)) = oversized(&request.uri().to_string(), request.headers()) {
        refused(code, status, why);
        return with_head(status, vec![], "");
    }
    let asks_how_it_is = ["/healthz", "/readyz"].contains(&request.uri().path());
    if place.is_reserved() && !asks_how_it_is {
        return app.turn_away(&peer, None, &app.gateway().faults().overloaded.refusal, &[]);
    }
    if let Some(exposition) = app.exposition()
        && request.uri().path() == METRICS_PATH
    {
        return metrics_response(request.method(), exposition);
    }
    let upgrade = request.method() == Method::GET && is_upgrade(request.headers());
    if upgrade {
        // Of several protocols offered, this is the one that is spoken.
        let websocket = HeaderValue::from_static("websocket");
        request.headers_mut().insert(header::UPGRADE, websocket);
    }
    let asked = contract::Request {
        method: request.method().as_str().to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        headers: app.headers_for_admission(request.headers()),
        upgrade,
    };
    let Decision { verdict, cause } = match app.gateway().admit(&asked) {
        Ok(decision) => decision,
        Err(error) => {
            error!(event = "gateway_failed", "the gateway failed: {error:#}");
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
        _ if place.is_reserved() => {
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
        Verdict::Enter(admission) if admission.entry == Entry::Exchange => {
            about.enters(&app);
            let parent = about.admit.take().or(about.parent.take());
            let body = request.into_body();
            app.request(admission, body, &peer, parent).await
        }
        Verdict::Enter(admission) => {
            about.enters(&app);
            let parent = about.parent.take();
            accept(&app, &mut request, peer, |upgrade, peer| {
                socket::admit(Arc::clone(&app), upgrade, admission, place, (peer, parent));
            })
        }
        Verdict::Close(close) => accept(&app, &mut request, peer, |upgrade, _| {
            tokio::spawn(socket::refuse(upgrade, close.code, close.reason, place));
        }),
        Verdict::Serve(service) => {
            if matches!(service, Service::Asset(_)) {
                about.route = "assets";
            }
            let parent = about.admit.take().or(about.parent.take());
            app.services().serve(service, request, &peer, parent).await
        }
    }
}

impl Asked {
    /// It is let in.
    fn enters(&mut self, app: &App) {
        self.route = "sync";
        if let Some(meters) = app.telemetry().meters() {
            meters.admitted(None);
        }
    }
}

/// What a client is told that may not enter: an HTTP status, or a close code.
fn answer_of(verdict: &Verdict) -> Option<u16> {
    match verdict {
        Verdict::Respond(response) => Some(response.status),
        Verdict::Refuse(refusal) => Some(refusal.status),
        Verdict::Close(close) => Some(close.code),
        Verdict::Enter(_) | Verdict::Serve(_) => None,
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
                error!(event = "gateway_failed", "the gateway failed: {error:#}");
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

    async fn request(
        &self,
        admission: Admission,
        body: Received,
        peer: &Peer,
        parent: Option<SpanContext>,
    ) -> Response {
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
            arrived: self.telemetry().is_on().then(Instant::now),
            parent: parent.map(Box::new),
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
