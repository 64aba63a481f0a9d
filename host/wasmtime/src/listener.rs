//! Accepting connections, and HTTP/1.1 on them.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::http;
use crate::listen::Listeners;
use crate::server::App;
use crate::taken::Taken;

/// Connections beside WebSockets: HTTP requests, and sockets that are told
/// why they are refused. Whoever comes beyond waits to be accepted.
const REQUESTS_MAX: usize = 1_000;

/// Connections that may ask how the server is, and nothing else, when all
/// others are taken.
const RESERVED_MAX: usize = 64;

/// How long such a one may take to ask.
const RESERVED_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that there may be beside WebSockets.
pub const OTHERS_MAX: usize = REQUESTS_MAX + RESERVED_MAX;

/// When a silent peer is asked for a sign by TCP itself. Clients' and the
/// host's own keep-alives come first; this is for peers that vanished while
/// they were reading.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// How long nothing is accepted after the machine has refused to: it is out
/// of file descriptors, or of memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Leave to be connected, returned when the last holder lets go.
pub type Permit = Arc<Place>;

/// A place for a connection.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    is_reserved: bool,
}

impl Place {
    /// Whether it is one of those that are kept to ask how the server is.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.is_reserved
    }
}

/// The places of a server.
struct Places {
    all: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

impl Places {
    /// The next free place. `None` would be a semaphore that is closed.
    async fn next(&self) -> Option<Permit> {
        let place = |permit, is_reserved| {
            Arc::new(Place {
                _permit: permit,
                is_reserved,
            })
        };
        if let Ok(permit) = Arc::clone(&self.all).try_acquire_owned() {
            return Some(place(permit, false));
        }
        tokio::select! {
            biased;
            permit = Arc::clone(&self.all).acquire_owned() => Some(place(permit.ok()?, false)),
            permit = Arc::clone(&self.reserved).acquire_owned() => Some(place(permit.ok()?, true)),
        }
    }
}

/// Accepts connections and answers their requests until the server stops, and
/// what was under way then.
///
/// # Errors
/// None: a connection that fails harms itself only.
pub async fn serve(app: &Arc<App>, mut listeners: Listeners) -> Result<()> {
    let connections = TaskTracker::new();
    let places = Places {
        all: Arc::new(Semaphore::new(app.limits().connections_max + REQUESTS_MAX)),
        reserved: Arc::new(Semaphore::new(RESERVED_MAX)),
    };
    let limits = app.limits();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout);
    let mut reserved = http.clone();
    reserved
        .header_read_timeout(limits.handshake_timeout.min(RESERVED_TIMEOUT))
        .keep_alive(false);
    loop {
        let accepted = async { Some((places.next().await?, listeners.accept().await)) };
        // None would be a semaphore that somebody has closed.
        let (permit, accepted) = tokio::select! {
            Some(accepted) = accepted => accepted,
            () = app.stopping().cancelled() => break,
            else => break,
        };
        let stream = match accepted.and_then(|(stream, _)| configured(stream)) {
            Ok(stream) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                warn!("cannot accept connections: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let http = if permit.is_reserved() {
            &reserved
        } else {
            &http
        };
        let stream = Taken::new(stream, limits.message_timeout);
        let served = Arc::clone(app);
        let service = service_fn(move |request| {
            let app = Arc::clone(&served);
            // A WebSocket outlives its request.
            let permit = Arc::clone(&permit);
            async move { Ok::<_, Infallible>(http::handle(app, request, permit).await) }
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
                debug!("a connection failed: {error}");
            }
        });
    }
    drop(listeners);
    connections.close();
    connections.wait().await;
    Ok(())
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
