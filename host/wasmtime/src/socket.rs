//! A WebSocket's task: frames in to the room, frames out from its outbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;

use crate::component::{Admission, Frame};
use crate::outbox::{Inlet, Outbox, Outgoing, outbox, weight};
use crate::room::Event;
use crate::server::App;

/// Cloudflare's limit on a received message, in bytes.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

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

/// The close of a client whose outbox is full: it may try again.
const OVERFLOW: (u16, &str) = (1013, "TOO_SLOW");

/// Numbers for connections. Unique among the open ones: it takes four billion
/// to come round.
static NEXT_CONNECTION: AtomicU32 = AtomicU32::new(1);

/// Limits for an upgrade.
pub fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
}

/// Limits for a socket that is only told why it is refused.
pub fn limited_to_nothing(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    const BYTES_MAX: usize = 4096;
    upgrade
        .max_message_size(BYTES_MAX)
        .max_frame_size(BYTES_MAX)
}

/// Serves an admitted socket until it ends.
pub async fn serve(app: Arc<App>, socket: WebSocket, admission: Admission) {
    let connection = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    let store: Arc<str> = admission.store_id.as_str().into();
    let auto_response = admission.auto_response.clone();
    let (outbox, inlet) = outbox();
    let watch = inlet.watch();
    let opened = app.shards().deliver(
        &store,
        Event::Open {
            connection,
            admission: Box::new(admission),
            outbox: outbox.clone(),
        },
    );
    if !opened {
        outbox.close(STOPPING.0, STOPPING.1.to_owned());
    }
    let (sink, mut stream) = socket.split();
    let mut writer = std::pin::pin!(write(sink, inlet));
    let reader = async {
        tokio::select! {
            () = read(&app, &store, connection, &mut stream, &outbox, auto_response) => {}
            // The turns under way are finished; nothing new begins.
            () = app.stopping().cancelled() => {
                app.stopped().cancelled().await;
                // In case its room was never there to say so.
                outbox.close(STOPPING.0, STOPPING.1.to_owned());
                std::future::pending().await
            }
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
    let budget = app.budget().of_socket();
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
            Ok(Message::Close(frame)) => {
                // Its answer does not wait for the room.
                outbox.close(frame.map_or(NO_STATUS, |frame| frame.code), String::new());
                return;
            }
            Err(error) => {
                if let Some((code, reason)) = close_for(&error) {
                    outbox.close(code, reason.to_owned());
                }
                return;
            }
        };
        let bytes = match &frame {
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
        };
        let Some(permits) = budget.take(bytes).await else {
            return;
        };
        app.shards().deliver(
            store,
            Event::Message {
                connection,
                frame,
                permits,
            },
        );
    }
}

/// What the client is told of a message that cannot be taken.
fn close_for(error: &axum::Error) -> Option<(u16, &'static str)> {
    let error: &dyn std::error::Error = error;
    match error.source()?.downcast_ref()? {
        tungstenite::Error::Capacity(_) => Some(TOO_BIG),
        tungstenite::Error::Utf8(_) => Some(NOT_UTF8),
        tungstenite::Error::Protocol(_) => Some(PROTOCOL_ERROR),
        _ => None,
    }
}

type Sink = SplitSink<WebSocket, Message>;

/// Writes what the outbox holds, until a close, an error, or the room's end.
async fn write(mut sink: Sink, mut inlet: Inlet) -> Sink {
    let watch = inlet.watch();
    loop {
        let written = tokio::select! {
            biased;
            () = watch.overflow() => {
                let (code, reason) = OVERFLOW;
                let _ = timeout(CLOSE_TIMEOUT, sink.send(close(code, reason.to_owned()))).await;
                Written::End
            }
            written = write_burst(&mut sink, &mut inlet) => written,
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
    loop {
        match next {
            Some(Outgoing::Frame(frame)) => {
                let bytes = weight(&frame);
                // Returns when the socket has taken enough of what is before.
                if sink.feed(Message::Text(frame)).await.is_err() {
                    return Written::End;
                }
                inlet.taken(bytes);
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
    match sink.flush().await {
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
