//! Accepting connections, and HTTP/1.1 on them.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::app::App;
use crate::exchange::received::Received;
use crate::net::asked::Asked;
use crate::net::asking::{Answer, Asking, Due, Times};
use crate::net::http;
use crate::net::listen::Listeners;
use crate::net::places::{Places, Stream};
use crate::net::taken::Taken;
use crate::telemetry::peer::Peer;

/// How long such a one may take to ask.
const RESERVED_TIMEOUT: Duration = Duration::from_secs(1);

/// When a silent peer is asked for a sign by TCP itself. Clients' and the
/// host's own keep-alives come first; this is for peers that vanished while
/// they were reading.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// How long nothing is accepted after the machine has refused to: it is out
/// of file descriptors, or of memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and answers their requests until the server stops, and
/// what was under way then.
/// A connection that fails harms itself only.
pub async fn serve(app: &Arc<App>, mut listeners: Listeners) {
    let connections = TaskTracker::new();
    let limits = app.limits();
    let places = Places::new(limits.connections_max);
    let times = Times {
        head_max: limits.handshake_timeout,
        idle_max: limits.keep_alive_timeout,
    };
    let mut http = http1::Builder::new();
    // It would count what is idle with what is slow.
    http.header_read_timeout(None);
    let mut reserved = http.clone();
    reserved.keep_alive(false);
    loop {
        let accepted = async { Some((places.next().await?, listeners.accept().await)) };
        // None would be a semaphore that somebody has closed.
        let (place, accepted) = tokio::select! {
            Some(accepted) = accepted => accepted,
            () = app.stopping().cancelled() => break,
            else => break,
        };
        let accepted = accepted.and_then(|(stream, address)| Ok((configured(stream)?, address)));
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                warn!(
                    event = "accept_failed",
                    "cannot accept connections: {error}"
                );
                places.dismiss_some();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = places.best(place).await;
        let (http, times) = if place.is_reserved() {
            let head_max = times.head_max.min(RESERVED_TIMEOUT);
            (&reserved, Times { head_max, ..times })
        } else {
            (&http, times)
        };
        let asking = Asking::new(Arc::clone(places.idle()), times);
        let stream = Asked::new(stream, Arc::clone(&asking));
        let stream: Stream = Taken::new(stream, limits.message_timeout);
        let (served, app) = (Arc::clone(app), Arc::clone(app));
        let asks = Arc::clone(&asking);
        let service = service_fn(move |request| {
            let app = Arc::clone(&served);
            // A WebSocket outlives its request.
            let place = place.clone();
            let serving = asks.serve();
            async move {
                let response = http::handle(app, request.map(Received::new), place, address).await;
                let serving = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    serving.for_good();
                    None
                } else {
                    Some(serving)
                };
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, serving)))
            }
        });
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let stopping = app.stopping().clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(event = "connection_failed", "a connection failed: {error}");
                if let Some((code, answer)) = turned_away(&error, &asking) {
                    let (peer, why) = (Peer::silent(address), error.to_string());
                    app.refusals().refused(&peer, None, code, answer, &why);
                }
            }
        });
    }
    drop(listeners);
    connections.close();
    connections.wait().await;
}

/// What the server did about a connection that failed, if it did anything:
/// the code, and what the client was told. A kept connection that rests for
/// long is closed in the ordinary course.
fn turned_away(error: &hyper::Error, asking: &Asking) -> Option<(&'static str, Option<u16>)> {
    if error.is_parse() {
        let status = if error.is_parse_too_large() { 431 } else { 400 };
        return Some(("BAD_REQUEST", Some(status)));
    }
    let mut sources = std::iter::successors(error.source(), |error| (*error).source());
    let is_late = sources.any(|error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    });
    match asking.due() {
        Due::Head if is_late => Some(("HEAD_TIMEOUT", None)),
        Due::Answer if is_late => Some(("ANSWER_TIMEOUT", None)),
        _ => None,
    }
}

/// Small frames leave at once, and a peer that is gone is noticed.
fn configured(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE)
        .with_interval(TCP_KEEPALIVE / 4);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// Whether only the connection that was being accepted is to blame.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotConnected
    )
}
