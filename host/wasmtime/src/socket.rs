//! A WebSocket's task: frames in to the room, frames out from its outbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::component::{Admission, Frame};
use crate::outbox::{Inlet, Outbox, Outgoing, outbox};
use crate::room::Event;
use crate::server::App;

/// Cloudflare's limit on a received message, in bytes (limits.md).
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Frames of one socket that wait for their turn. Then the socket is not
/// read: its client's TCP window fills instead of this server's memory.
const FRAMES_WAITING_MAX: usize = 16;

/// How long a close may take: a client that does not answer is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Too large a message (RFC 6455).
const TOO_BIG: u16 = 1009;

/// The close of a client whose outbox is full: it may try again.
const OVERFLOW: (u16, &str) = (1013, "TOO_SLOW");

/// Numbers for connections. Unique among the open ones: it takes four billion
/// to come round.
static NEXT_CONNECTION: AtomicU32 = AtomicU32::new(1);

/// Limits for an upgrade.
#[must_use]
pub fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
}

/// Serves an admitted socket until it ends.
pub async fn serve(app: Arc<App>, socket: WebSocket, admission: Admission) {
    let connection = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    let store: Arc<str> = admission.store_id.as_str().into();
    let auto_response = admission.auto_response.clone();
    let (outbox, inlet) = outbox();
    let watch = inlet.watch();
    app.shards().deliver(
        &store,
        Event::Open {
            connection,
            admission: Box::new(admission),
            outbox: outbox.clone(),
        },
    );
    let (sink, mut stream) = socket.split();
    let mut writer = std::pin::pin!(write(sink, inlet));
    let reader = async {
        tokio::select! {
            () = read(&app, &store, connection, &mut stream, &outbox, auto_response) => {}
            // The turns under way are finished; nothing new begins.
            () = app.stopping().cancelled() => std::future::pending().await,
        }
    };
    let drained = async {
        loop {
            watch.drained().await;
            app.shards().deliver(&store, Event::Drained { connection });
        }
    };
    let finished = tokio::select! {
        sink = &mut writer => Some(sink),
        () = reader => None,
        () = drained => None,
        () = watch.overflow() => None,
    };
    app.shards().deliver(&store, Event::Closed { connection });
    drop(outbox);
    match finished {
        // The close was sent: let the client answer it.
        Some(sink) => finish(sink, stream).await,
        // What is in the outbox still goes out, as far as the client takes it.
        None => {
            if let Ok(sink) = timeout(CLOSE_TIMEOUT, writer).await {
                finish(sink, stream).await;
            }
        }
    }
}

/// Accepts a socket only to tell why it is refused.
pub async fn refuse(mut socket: WebSocket, code: u16, reason: String) {
    let _ = timeout(CLOSE_TIMEOUT, async {
        let _ = socket.send(close(code, reason)).await;
        while let Some(Ok(_)) = socket.recv().await {}
    })
    .await;
}

async fn read(
    app: &App,
    store: &Arc<str>,
    connection: u32,
    stream: &mut SplitStream<WebSocket>,
    outbox: &Outbox,
    auto_response: Option<(String, String)>,
) {
    let waiting = Arc::new(Semaphore::new(FRAMES_WAITING_MAX));
    while let Some(message) = stream.next().await {
        let frame = match message {
            Ok(Message::Text(text)) => {
                if let Some((request, response)) = &auto_response
                    && text.as_str() == request
                {
                    outbox.send(response.clone().into());
                    continue;
                }
                Frame::Text(text.as_str().to_owned())
            }
            Ok(Message::Binary(bytes)) => Frame::Binary(bytes.into()),
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(Message::Close(_)) => return,
            Err(error) => {
                if is_too_large(&error) {
                    outbox.close(TOO_BIG, "MESSAGE_TOO_LARGE".to_owned());
                }
                return;
            }
        };
        let Ok(permit) = Arc::clone(&waiting).acquire_owned().await else {
            return;
        };
        app.shards().deliver(
            store,
            Event::Message {
                connection,
                frame,
                permit,
            },
        );
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let error: &dyn std::error::Error = error;
    error
        .source()
        .and_then(|source| source.downcast_ref())
        .is_some_and(|error| matches!(error, tungstenite::Error::Capacity(_)))
}

type Sink = SplitSink<WebSocket, Message>;

/// Writes what the outbox holds, until a close, an error, or the room's end.
async fn write(mut sink: Sink, mut inlet: Inlet) -> Sink {
    let watch = inlet.watch();
    loop {
        let written = tokio::select! {
            written = write_burst(&mut sink, &mut inlet) => written,
            () = watch.overflow() => {
                let (code, reason) = OVERFLOW;
                let _ = timeout(CLOSE_TIMEOUT, sink.send(close(code, reason.to_owned()))).await;
                Written::End
            }
        };
        if matches!(written, Written::End) {
            return sink;
        }
    }
}

enum Written {
    More,
    End,
}

/// Waits for something to write and writes all there is before it flushes.
async fn write_burst(sink: &mut Sink, inlet: &mut Inlet) -> Written {
    let mut next = inlet.next().await;
    let mut bytes = 0;
    loop {
        match next {
            Some(Outgoing::Frame(frame)) => {
                let length = frame.len();
                if sink.feed(Message::Text(frame)).await.is_err() {
                    return Written::End;
                }
                bytes += length;
            }
            Some(Outgoing::Close { code, reason }) => {
                let _ = sink.send(close(code, reason)).await;
                return Written::End;
            }
            None => return Written::End,
        }
        next = match inlet.next_now() {
            Some(outgoing) => Some(outgoing),
            None => break,
        };
    }
    let flushed = sink.flush().await;
    inlet.taken(bytes);
    match flushed {
        Ok(()) => Written::More,
        Err(_) => Written::End,
    }
}

/// Ends the connection: answers the client's close, or waits for its answer.
async fn finish(mut sink: Sink, mut stream: SplitStream<WebSocket>) {
    let _ = timeout(CLOSE_TIMEOUT, async {
        let _ = sink.close().await;
        while let Some(Ok(_)) = stream.next().await {}
    })
    .await;
}

fn close(code: u16, reason: String) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}
