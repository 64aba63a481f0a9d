//! A WebSocket's task: frames in to the room, frames out from its outbox. It
//! runs on its store's shard, beside the room.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use opentelemetry::trace::SpanContext;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::error;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::app::App;
use crate::contract::{Admission, Close, Frame};
use crate::flow::intake::{FREE_BYTES, InFlight, Permits, Share};
use crate::flow::outbox::{Inlet, OVERFLOW, Outbox, Outgoing, outbox, weight};
use crate::flow::output::TextFrame;
use crate::net::arrival::{self, Arrivals};
use crate::net::places::{Place, Stream};
use crate::net::silence::Silence;
use crate::net::websocket::WebSocket;
use crate::rooms::event::Event;
use crate::rooms::shards::RoomQueue;
use crate::telemetry::life::Life;
use crate::telemetry::peer::Peer;

/// Of a socket's read buffer, in bytes: an idle socket keeps it.
const READ_BUFFER_BYTES: usize = FREE_BYTES;

/// Messages that a socket takes in before others of its shard have their
/// turn: one read has room for a hundred.
const MESSAGES_AT_ONCE: usize = 32;

/// What is taken from an outbox before it is flushed, in bytes.
const FLUSH_BYTES: usize = 64 * 1024;

/// Messages of a socket that is only told why it is refused, in bytes.
const REFUSED_MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// How long a close may take: a client that does not answer is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Too large a message (RFC 6455).
const TOO_BIG: (u16, &str) = (1009, "MESSAGE_TOO_LARGE");

/// Frames that no WebSocket client sends (RFC 6455).
const PROTOCOL_ERROR: (u16, &str) = (1002, "PROTOCOL_ERROR");

/// A text message that is not UTF-8 (RFC 6455).
const NOT_UTF8: (u16, &str) = (1007, "NOT_UTF8");

/// Stands for a close without a code (RFC 6455).
const NO_STATUS: u16 = 1005;

/// The close of a client whose room is not there: the server is stopping.
const STOPPING: (u16, &str) = (1012, "RESTART");

/// The close of a client whose message does not end.
const UNFINISHED: (u16, &str) = (1008, "MESSAGE_TIMEOUT");

/// The close of a client that has said nothing, not even a pong.
const SILENT: (u16, &str) = (1001, "SILENT");

/// Numbers for connections. Unique among the open ones: it takes four billion
/// to come round.
static NEXT_CONNECTION: AtomicU32 = AtomicU32::new(1);

fn config(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

/// Lets an admitted socket in: its room knows of it before its client does, so
/// that nothing that a client does once it is connected comes first.
///
/// `parent` is the span that its client connects in, if it says so.
pub fn admit(
    app: Arc<App>,
    upgrade: OnUpgrade,
    admission: Admission,
    place: Place,
    (peer, parent): (Peer, Option<SpanContext>),
) {
    let Ok(slot) = Arc::clone(app.connections()).try_acquire_owned() else {
        let Close { code, reason } = &app.gateway().faults().too_many_connections.close;
        let why = "The server has as many WebSockets as it may (--connections-max).";
        let store = Some(admission.store_id.as_str());
        app.refusals()
            .refused(&peer, store, reason, Some(*code), why);
        tokio::spawn(refuse(upgrade, *code, reason.clone(), place));
        return;
    };
    let Some(room) = app.shards().room(&admission.store_id) else {
        return;
    };
    let store = admission.store_id.clone();
    let auto_response = admission.auto_response.clone();
    let (outbox, inlet) = outbox();
    let admitted = Admitted {
        connection: NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed),
        share: app.frames().of_store(&store),
        life: Life::new(Arc::clone(app.refusals()), peer, Arc::clone(room.store())),
        room,
        auto_response: auto_response.map(|it| {
            // However many it asks for, they are one.
            (it.frame, app.output().of_room().frame(it.answer))
        }),
    };
    let opened = admitted.room.deliver(Event::Open {
        connection: admitted.connection,
        admission: Box::new(admission),
        outbox: outbox.clone(),
        parent: parent.map(Box::new),
    });
    if !opened {
        outbox.close(STOPPING.0, STOPPING.1.to_owned());
    }
    tokio::spawn(async move {
        // From this thread's event loop to the shard's.
        let Some((stream, read_already)) = take_over(upgrade).await else {
            return admitted.leave(&outbox);
        };
        let task = {
            let app = Arc::clone(&app);
            async move {
                match TcpStream::from_std(stream) {
                    Ok(stream) => {
                        serve(&app, admitted, (outbox, inlet), stream, read_already).await
                    }
                    Err(_) => admitted.leave(&outbox),
                }
                drop((slot, place));
            }
        };
        app.shards().run_socket(&store, task);
    });
}

/// A socket that its room knows of.
struct Admitted {
    room: RoomQueue,
    connection: u32,
    /// What its store's messages may take.
    share: Arc<Share>,
    life: Life,
    auto_response: Option<(String, TextFrame)>,
}

impl Admitted {
    fn leave(&self, outbox: &Outbox) {
        let connection = self.connection;
        self.life.ended(outbox.end(), outbox.unsent());
        self.room.deliver(Event::Closed { connection });
    }
}

/// The connection below a request, with what was read of it already; `None`
/// when the client has gone.
async fn take_over(upgrade: OnUpgrade) -> Option<(std::net::TcpStream, Bytes)> {
    let Ok(parts) = upgrade.await.ok()?.downcast::<TokioIo<Stream>>() else {
        error!(
            event = "bug",
            "a connection is not what the listener has accepted"
        );
        return None;
    };
    let stream = parts.io.into_inner().into_inner().into_inner();
    let stream = stream.into_std().ok()?;
    Some((stream, parts.read_buf))
}

/// Serves an admitted socket until it ends.
async fn serve(
    app: &App,
    admitted: Admitted,
    (outbox, inlet): (Outbox, Inlet),
    stream: TcpStream,
    read_already: Bytes,
) {
    let limits = app.limits();
    let arrivals = Arrivals::new(
        Arc::clone(&admitted.share),
        limits.frame_bytes_max,
        limits.message_timeout,
    );
    let config = config(limits.frame_bytes_max);
    let socket = WebSocket::new(stream, &read_already, config, Some(arrivals));
    let mut writer = pin!(write(&admitted, &socket, inlet));
    let reader = read(app, &admitted, &socket, &outbox);
    let is_closed = tokio::select! {
        biased;
        () = &mut writer => true,
        () = reader => false,
    };
    admitted.leave(&outbox);
    drop(outbox);
    // What is in the outbox still goes out, as far as the client takes it.
    if is_closed || timeout(CLOSE_TIMEOUT, writer).await.is_ok() {
        finish(&socket).await;
    }
}

/// Accepts a socket only to tell why it is refused.
pub async fn refuse(upgrade: OnUpgrade, code: u16, reason: String, _place: Place) {
    let _ = timeout(CLOSE_TIMEOUT, async {
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let config = config(REFUSED_MESSAGE_BYTES_MAX);
        let socket = WebSocket::new(TokioIo::new(upgraded), &[], config, None);
        let _ = socket.close(Some(close(code, reason))).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
}

/// Reads until the socket ends or is to be ended.
async fn read(app: &App, admitted: &Admitted, socket: &TcpSocket, outbox: &Outbox) {
    let Admitted {
        room,
        connection,
        share,
        auto_response,
        life,
    } = admitted;
    let is_measured = life.telemetry().is_on();
    let overloaded = &app.gateway().faults().overloaded.close;
    let places = InFlight::default();
    let mut silence = Silence::new(app.limits().idle_timeout);
    let mut messages = 0;
    loop {
        messages += 1;
        if messages > MESSAGES_AT_ONCE {
            // Those that were read together take no look at the socket.
            messages = 0;
            yield_now().await;
        }
        let message = tokio::select! {
            biased;
            message = socket.next() => message,
            is_over = silence.grows() => {
                if is_over {
                    return outbox.close(SILENT.0, SILENT.1.to_owned());
                }
                outbox.ping();
                continue;
            }
        };
        silence.is_broken();
        let frame = match message {
            Some(Ok(Message::Text(text))) => {
                life.heard(text.len());
                if let Some((request, response)) = auto_response
                    && text.as_str() == request
                {
                    outbox.send(response.clone());
                    continue;
                }
                Frame::Text(text.as_str().to_owned())
            }
            Some(Ok(Message::Binary(bytes))) => {
                life.heard(bytes.len());
                Frame::Binary(bytes.into())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(frame))) => {
                // Its answer does not wait for the room.
                let code = frame.map_or(NO_STATUS, |frame| frame.code.into());
                return outbox.answer_close(code);
            }
            Some(Err(error)) => {
                if let Some((code, reason)) = close_for(&error, overloaded) {
                    outbox.close(code, reason.to_owned());
                }
                return;
            }
            None => return,
        };
        let bytes = match &frame {
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
        };
        let arrived = is_measured.then(std::time::Instant::now);
        let place = places.take().await;
        let reservation = match socket.take_reservation(bytes) {
            None => Arc::clone(share).reserve(bytes).await,
            reserved => reserved,
        };
        if reservation.is_none() {
            return outbox.close(overloaded.code, overloaded.reason.clone());
        }
        let taken = room.deliver(Event::Message {
            connection: *connection,
            frame,
            arrived,
            permits: Permits::new(place, reservation),
        });
        if !taken {
            return outbox.close(STOPPING.0, STOPPING.1.to_owned());
        }
    }
}

/// What the client is told of a message that cannot be taken.
fn close_for<'a>(error: &Error, overloaded: &'a Close) -> Option<(u16, &'a str)> {
    match error {
        Error::Capacity(_) => Some(TOO_BIG),
        Error::Utf8(_) => Some(NOT_UTF8),
        // It is gone: there is nobody to tell.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(PROTOCOL_ERROR),
        Error::Io(error) if arrival::is_timeout(error) => Some(UNFINISHED),
        Error::Io(error) if arrival::is_overload(error) => {
            Some((overloaded.code, &overloaded.reason))
        }
        _ => None,
    }
}

type TcpSocket = WebSocket<TcpStream>;

/// Writes what the outbox holds, until a close, an error, or the room's end.
async fn write(admitted: &Admitted, socket: &TcpSocket, mut inlet: Inlet) {
    // An outbox that overflows meanwhile has frames: the burst finds out.
    while let Some(first) = inlet.next().await {
        let mut burst = Burst {
            socket,
            inlet: &mut inlet,
            bytes: 0,
            life: &admitted.life,
            frames: 0,
            frame_bytes: 0,
            since: Vec::new(),
            then: Vec::new(),
        };
        match burst.write(admitted, first).await {
            Ok(()) => {}
            Err(Unwritten::Ended) => return,
            Err(Unwritten::Overflow) => {
                let (code, reason) = OVERFLOW;
                return close_with(socket, code, reason.to_owned()).await;
            }
        }
    }
}

/// Why nothing more is written.
enum Unwritten {
    /// The connection failed, or is closed.
    Ended,
    /// The outbox has overflowed.
    Overflow,
}

/// A client that does not read has no claim to hear of it.
async fn close_with(socket: &TcpSocket, code: u16, reason: String) {
    let close = socket.close(Some(close(code, reason)));
    let _ = timeout(CLOSE_TIMEOUT, close).await;
}

/// What an outbox holds, on its way.
struct Burst<'a> {
    socket: &'a TcpSocket,
    inlet: &'a mut Inlet,
    /// What was taken from the outbox since the last flush.
    bytes: usize,
    life: &'a Life,
    /// Frames that were taken from it since, and their bytes.
    frames: usize,
    frame_bytes: usize,
    /// When those left their rooms, if anybody wants to know.
    since: Vec<std::time::Instant>,
    /// What is to be called when they are written.
    then: Vec<Box<dyn FnOnce() + Send>>,
}

impl Burst<'_> {
    /// Writes `first` and all that is behind it.
    async fn write(&mut self, admitted: &Admitted, first: Outgoing) -> Result<(), Unwritten> {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Frame(frame) => {
                    self.bytes += weight(&frame);
                    self.frames += 1;
                    self.frame_bytes += frame.len();
                    self.since.extend(frame.since());
                    if self.socket.feed(frame) || self.bytes > FLUSH_BYTES {
                        self.flush().await?;
                    }
                }
                Outgoing::Ping => {
                    let queued = self.socket.ping().await;
                    queued.map_err(|_| Unwritten::Ended)?;
                }
                Outgoing::Then(call) => self.then.push(call),
                Outgoing::Drained => {
                    self.flush().await?;
                    let connection = admitted.connection;
                    admitted.room.deliver(Event::Drained { connection });
                }
                Outgoing::Close { code, reason } => {
                    close_with(self.socket, code, reason).await;
                    return Err(Unwritten::Ended);
                }
            }
            next = self.inlet.next_now();
        }
        self.flush().await
    }

    /// Returns when the socket has taken it.
    async fn flush(&mut self) -> Result<(), Unwritten> {
        tokio::select! {
            biased;
            flushed = self.socket.flush() => flushed.map_err(|_| Unwritten::Ended)?,
            () = self.inlet.overflow() => return Err(Unwritten::Overflow),
        }
        self.inlet
            .taken(self.frames, std::mem::take(&mut self.bytes));
        self.taken();
        if self.inlet.has_overflowed() {
            return Err(Unwritten::Overflow);
        }
        Ok(())
    }

    /// The socket has taken what there was.
    fn taken(&mut self) {
        let frames = std::mem::take(&mut self.frames);
        let bytes = std::mem::take(&mut self.frame_bytes);
        if frames > 0 {
            self.life.taken(frames, bytes);
        }
        if let Some(meters) = self.life.telemetry().meters()
            && !self.since.is_empty()
        {
            let now = std::time::Instant::now();
            for since in self.since.drain(..) {
                meters.delivery(now.saturating_duration_since(since));
            }
        }
        self.then.drain(..).for_each(|call| call());
    }
}

/// Ends the connection: answers the client's close, or waits for its answer.
async fn finish(socket: &TcpSocket) {
    let _ = timeout(CLOSE_TIMEOUT, async {
        let _ = socket.close(None).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
}

fn close(code: u16, reason: String) -> CloseFrame {
    CloseFrame {
        code: code.into(),
        reason: reason.into(),
    }
}
