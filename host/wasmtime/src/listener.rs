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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::http;
use crate::server::App;

/// Connections beside WebSockets: HTTP requests, and sockets that are told
/// why they are refused. Whoever comes beyond waits to be accepted.
const REQUESTS_MAX: usize = 1_000;

/// When a silent peer is asked for a sign by TCP itself. Clients' and the
/// host's own keep-alives come first; this is for peers that vanished while
/// they were reading.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// How long nothing is accepted after the machine has refused to: it is out
/// of file descriptors, or of memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Leave to be connected, returned when the last holder lets go.
pub type Permit = Arc<OwnedSemaphorePermit>;

/// Accepts connections and answers their requests until the server stops, and
/// what was under way then.
///
/// # Errors
/// None: a connection that fails harms itself only.
pub async fn serve(app: &Arc<App>, listener: TcpListener) -> Result<()> {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(app.limits().connections_max + REQUESTS_MAX));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(app.limits().handshake_timeout);
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((Arc::new(permit), listener.accept().await))
        };
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
    drop(listener);
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
