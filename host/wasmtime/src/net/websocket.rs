//! A WebSocket on an event loop: tungstenite's protocol over a stream of
//! tokio's, and as little memory as may be. Text frames are not tungstenite's
//! to write, which would copy each and keep the buffer: they leave as they
//! are, shared with the other sockets that they are for, those that wait in
//! one system call. And what it needed to read a large frame is not kept.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error, Message};

use crate::flow::intake::Reservation;
use crate::flow::output::TextFrame;
use crate::net::arrival::Arrivals;
use crate::net::boundary::Boundary;
use crate::net::unsent::{BYTES_AT_ONCE, FRAMES_PER_WRITE_MAX, Unsent};
use crate::process::heap;

/// What tungstenite may have to write, in bytes: answers to pings. Of a client
/// that sends pings and reads nothing the latest are answered.
const CONTROL_BYTES_MAX: usize = 4 * 1024;

/// The largest frame whose buffer a socket keeps, in bytes: as much as a small
/// batch. What is larger costs an allocation each time.
const READ_BYTES_KEPT_MAX: u64 = 16 * 1024;

/// A server's end of a WebSocket. One task has it: it may read and write at
/// once, as two futures.
pub struct WebSocket<S>(Mutex<Protocol<S>>);

struct Protocol<S> {
    stream: S,
    context: WebSocketContext,
    boundary: Boundary,
    /// `None` where nothing of size is taken.
    arrivals: Option<Arrivals>,
    unsent: Unsent,
    has_ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A WebSocket on `stream`, whose handshake is done; `read_already` is
    /// what was read beyond it. Its messages are read as `arrivals` lets
    /// them, if they count at all.
    pub fn new(
        stream: S,
        read_already: &[u8],
        config: WebSocketConfig,
        mut arrivals: Option<Arrivals>,
    ) -> Self {
        let mut boundary = Boundary::default();
        boundary.read(read_already);
        if let Some(arrivals) = &mut arrivals {
            arrivals.read(&boundary);
        }
        // A copy: what it is a part of has 8 KiB.
        let read_already = read_already.to_vec();
        let config = config
            .write_buffer_size(0)
            .max_write_buffer_size(CONTROL_BYTES_MAX);
        let context =
            WebSocketContext::from_partially_read(read_already, Role::Server, Some(config));
        Self(Mutex::new(Protocol {
            stream,
            context,
            boundary,
            arrivals,
            unsent: Unsent::default(),
            has_ended: false,
        }))
    }

    /// Never waits: the task's futures run one at a time.
    fn lock(&self) -> MutexGuard<'_, Protocol<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message; `None` when there is none to come. Pings are
    /// answered meanwhile.
    ///
    /// # Errors
    /// When the connection fails, or the client breaks the protocol: there is
    /// none to come then either.
    pub async fn next(&self) -> Option<Result<Message, Error>> {
        poll_fn(|task| self.lock().poll_next(task)).await
    }

    /// What a message of `bytes` that [`WebSocket::next`] has returned
    /// reserved; `None` when it was small.
    pub fn take_reservation(&self, bytes: usize) -> Option<Reservation> {
        self.lock().arrivals.as_mut()?.take(bytes)
    }

    /// Queues a text frame, which leaves with the next flush. Returns whether
    /// that is due.
    pub fn feed(&self, frame: TextFrame) -> bool {
        self.lock().unsent.push(frame) >= FRAMES_PER_WRITE_MAX
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// When the connection fails, or is closed.
    pub async fn flush(&self) -> Result<(), Error> {
        poll_fn(|task| self.lock().poll_flush(task)).await
    }

    /// Queues a ping.
    ///
    /// # Errors
    /// When the connection fails, or is closed.
    pub async fn ping(&self) -> Result<(), Error> {
        let queue = |task: &mut Context<'_>| {
            let ping = Message::Ping(Bytes::new());
            let socket = &mut *self.lock();
            let queued = socket.with_context(task, |context, io| context.write(io, ping));
            Poll::Ready(match queued {
                // What cannot be written yet is queued all the same, unless so
                // much is that the client has enough to read.
                Poll::Pending | Poll::Ready(Err(Error::WriteBufferFull(_))) => Ok(()),
                Poll::Ready(result) => result,
            })
        };
        poll_fn(queue).await
    }

    /// Writes what is queued, and then a close, or the answer to one. To be
    /// called also after the client's close: its answer may not have found
    /// room before.
    ///
    /// # Errors
    /// When the connection fails, or is closed already.
    pub async fn close(&self, frame: Option<CloseFrame>) -> Result<(), Error> {
        self.flush().await?;
        // Once it is queued, it is flushed.
        poll_fn(|task| {
            self.lock()
                .with_context(task, |context, io| context.close(io, frame.clone()))
        })
        .await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Protocol<S> {
    fn with_context<T>(
        &mut self,
        task: &mut Context<'_>,
        call: impl FnOnce(&mut WebSocketContext, &mut Io<'_, '_, S>) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        let mut io = Io {
            stream: &mut self.stream,
            task,
            boundary: &mut self.boundary,
            arrivals: self.arrivals.as_mut(),
            may_write: !self.unsent.is_begun(),
        };
        match call(&mut self.context, &mut io) {
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }

    fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let read = match self.with_context(task, |context, io| context.read(io)) {
            Poll::Ready(read) => read,
            Poll::Pending => match self.flush_context(task) {
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) => {
                    self.shrink();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            },
        };
        self.has_ended = read.is_err();
        Poll::Ready(match read {
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => None,
            read => Some(read),
        })
    }

    /// Writes what tungstenite has to write. Twice: an answer to a ping that
    /// finds no room goes in behind the rest, and it does not tell.
    fn flush_context(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.with_context(task, |context, io| {
            context.flush(io)?;
            context.flush(io)
        })
    }

    /// Gives back what reading a large frame took. To be called when there is
    /// nothing more to read, and nothing of tungstenite's to write.
    fn shrink(&mut self) {
        let is_large = self.boundary.largest() > READ_BYTES_KEPT_MAX;
        if is_large && self.boundary.is_between_messages() && self.context.can_write() {
            let config = *self.context.get_config();
            self.context = WebSocketContext::new(Role::Server, Some(config));
            let largest = self.boundary.take_largest();
            heap::gone(usize::try_from(largest).unwrap_or(usize::MAX));
        }
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut written = 0;
        loop {
            if !self.unsent.is_begun() {
                ready!(self.flush_context(task))?;
            }
            if self.unsent.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if written >= BYTES_AT_ONCE {
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            written += ready!(self.unsent.poll_write(&mut self.stream, task))?;
        }
    }
}

/// The stream as tungstenite sees it for the time of one call.
struct Io<'a, 'b, S> {
    stream: &'a mut S,
    task: &'a mut Context<'b>,
    boundary: &'a mut Boundary,
    arrivals: Option<&'a mut Arrivals>,
    /// Not within a frame of ours.
    may_write: bool,
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead + Unpin> Read for Io<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        if let Some(arrivals) = &mut self.arrivals {
            now(arrivals.poll_ready(self.task, self.boundary))?;
        }
        match Pin::new(&mut *self.stream).poll_read(self.task, &mut buffer) {
            Poll::Ready(read) => read?,
            Poll::Pending => {
                if let Some(arrivals) = &mut self.arrivals {
                    now(arrivals.poll_time(self.task))?;
                }
                return Err(ErrorKind::WouldBlock.into());
            }
        }
        self.boundary.read(buffer.filled());
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.read(self.boundary);
        }
        Ok(buffer.filled().len())
    }
}

impl<S: AsyncWrite + Unpin> Write for Io<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.may_write {
            return Err(ErrorKind::WouldBlock.into());
        }
        now(Pin::new(&mut *self.stream).poll_write(self.task, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        now(Pin::new(&mut *self.stream).poll_flush(self.task))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::{unconstrained, yield_now};

    use super::*;
    use crate::flow::output::tests::frame;
    use crate::net::boundary::tests::sent;

    /// Lengths at which a header changes, and around them.
    const LENGTHS: [usize; 8] = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000];

    fn texts() -> Vec<String> {
        let letters = ('a'..='z').cycle();
        let texts = LENGTHS.iter().cycle().zip(letters).take(48);
        texts
            .map(|(&length, letter)| letter.to_string().repeat(length))
            .collect()
    }

    fn pings_and_a_text() -> Vec<u8> {
        let pings = (0..20_u8).map(|n| Message::Ping(vec![n].into()));
        sent(pings.chain([Message::text("end")]))
    }

    /// Everything that a server has sent.
    fn messages(bytes: Vec<u8>) -> Vec<Message> {
        let mut bytes = io::Cursor::new(bytes);
        let mut client = WebSocketContext::new(Role::Client, None);
        std::iter::from_fn(|| client.read(&mut bytes).ok()).collect()
    }

    async fn read_slowly(mut stream: tokio::io::ReadHalf<DuplexStream>) -> Vec<u8> {
        let mut all = Vec::new();
        let mut piece = [0; 5];
        loop {
            match stream.read(&mut piece).await.unwrap() {
                0 => return all,
                count => all.extend_from_slice(piece.get(..count).unwrap()),
            }
        }
    }

    #[tokio::test]
    async fn i3_frames_leave_whole_and_in_order_though_pings_are_answered_meanwhile() {
        for capacity in [3, 64, 1_000, 1_000_000] {
            let (server, client) = duplex(capacity);
            let socket = WebSocket::new(server, &[], WebSocketConfig::default(), None);
            let (from_server, mut to_server) = tokio::io::split(client);
            let serve = async {
                let write = async {
                    for text in texts() {
                        if socket.feed(frame(text)) {
                            socket.flush().await.unwrap();
                        }
                    }
                    socket.flush().await.unwrap();
                };
                let read = async { while !socket.next().await.unwrap().unwrap().is_text() {} };
                tokio::join!(write, read);
                socket.close(None).await.unwrap();
                drop(socket);
            };
            let send = async {
                for byte in pings_and_a_text() {
                    to_server.write_all(&[byte]).await.unwrap();
                }
            };
            let (sent, (), ()) = tokio::join!(read_slowly(from_server), serve, send);
            let (texts_sent, others): (Vec<_>, Vec<_>) =
                messages(sent).into_iter().partition(Message::is_text);
            let texts_sent: Vec<&str> = texts_sent.iter().map(|it| it.to_text().unwrap()).collect();
            assert_eq!(texts_sent, texts(), "with {capacity} bytes on the way");
            // Of pings that come close together, the last is answered.
            let pongs: Vec<_> = others.iter().filter(|it| it.is_pong()).collect();
            assert_eq!(pongs.last().unwrap().to_text().unwrap(), "\u{13}");
            assert_eq!(others.last(), Some(&Message::Close(None)));
        }
    }

    #[tokio::test]
    async fn i7_a_large_message_leaves_no_buffer_and_nothing_is_lost_by_it() {
        let (server, mut client) = duplex(1_000_000);
        let socket = WebSocket::new(server, &[], WebSocketConfig::default(), None);
        let largest_kept = || socket.lock().boundary.largest();
        for n in 0..3 {
            let text = Message::text("x".repeat(100_000 + n));
            client.write_all(&sent([text.clone()])).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), text);
            assert!(socket.next().now_or_never().is_none());
            assert_eq!(largest_kept(), 0);
        }
        // Of the next message a part is read with it: the buffer stays.
        let text = Message::text("x".repeat(100_000));
        let two = sent([text.clone(), Message::text("next")]);
        let (most, rest) = two.split_at(two.len() - 1);
        client.write_all(most).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), text);
        assert!(socket.next().now_or_never().is_none());
        assert_eq!(largest_kept(), 100_000);
        client.write_all(rest).await.unwrap();
        let next = socket.next().await.unwrap().unwrap();
        assert_eq!(next, Message::text("next"));
        assert!(socket.next().now_or_never().is_none());
        assert_eq!(largest_kept(), 0);
    }

    #[tokio::test]
    async fn i7_of_pings_whose_answers_nobody_reads_the_latest_are_answered() {
        // Room again comes little by little, or all at once.
        for capacity in [64, 8_192] {
            let (server, mut client) = duplex(capacity);
            let socket = WebSocket::new(server, &[], WebSocketConfig::default(), None);
            let pings = (0..500_u16).map(|n| Message::Ping(n.to_be_bytes().repeat(50).into()));
            let sent = sent(pings);
            // As in a server, it is polled when it is woken and not otherwise.
            let serving =
                tokio::spawn(
                    async move { while socket.next().await.unwrap().unwrap().is_ping() {} },
                );
            client.write_all(&sent).await.unwrap();
            // Now it reads, and says nothing.
            let mut read = Vec::new();
            let mut piece = [0; 16_384];
            for _ in 0..2_000 {
                yield_now().await;
                if let Some(count) = unconstrained(client.read(&mut piece)).now_or_never() {
                    read.extend_from_slice(piece.get(..count.unwrap()).unwrap());
                }
            }
            serving.abort();
            assert!(read.len() < capacity + CONTROL_BYTES_MAX + 500);
            let last = Message::Pong(499_u16.to_be_bytes().repeat(50).into());
            assert!(
                messages(read).contains(&last),
                "with {capacity} bytes on the way"
            );
        }
    }

    #[tokio::test]
    async fn what_was_read_with_the_handshake_is_read_first() {
        let (server, _client) = duplex(64);
        let socket = WebSocket::new(
            server,
            &pings_and_a_text(),
            WebSocketConfig::default(),
            None,
        );
        let mut messages = Vec::new();
        for _ in 0..21 {
            messages.push(socket.next().await.unwrap().unwrap());
        }
        assert_eq!(messages.last(), Some(&Message::text("end")));
    }
}
