//! A connection whose peer has to ask: the head of its first request in so
//! much time, and of each later one once it has begun. Between requests it is
//! kept alive longer, and leaves when others need its place.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::asking::Asking;

/// A stream that can tell what its runtime may not have noticed yet.
pub trait Input {
    /// Whether there is something to read.
    fn has_input(&self) -> bool;
}

impl Input for TcpStream {
    fn has_input(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        matches!(SockRef::from(self).peek(&mut byte), Ok(1))
    }
}

/// A stream that fails with [`ErrorKind::TimedOut`] when its peer does not ask
/// in time, or is sent away.
pub struct Asked<S> {
    stream: S,
    asking: End,
}

/// Ends what it holds when the connection does.
struct End(Arc<Asking>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<S> Asked<S> {
    /// A stream whose requests are told to `asking`.
    pub fn new(stream: S, asking: Arc<Asking>) -> Self {
        Self {
            stream,
            asking: End(asking),
        }
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Input + Unpin> AsyncRead for Asked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, asking } = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut *stream).poll_read(task, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    asking.0.heard();
                }
                Poll::Ready(read)
            }
            Poll::Pending => {
                let over = asking.0.poll_over(task, || stream.has_input());
                over.map(|()| Err(ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Asked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Everything has been written by now.
        self.asking.0.wrote(task);
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::net::asking::{Idle, Times};

    const LONG: Duration = Duration::from_secs(3_600);

    /// A stream whose runtime may be late to notice what has come.
    struct Late {
        stream: DuplexStream,
        has_input: Arc<AtomicBool>,
    }

    impl Input for Late {
        fn has_input(&self) -> bool {
            self.has_input.load(Ordering::Relaxed)
        }
    }

    impl AsyncRead for Late {
        fn poll_read(
            mut self: Pin<&mut Self>,
            task: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(task, buffer)
        }
    }

    impl AsyncWrite for Late {
        fn poll_write(
            mut self: Pin<&mut Self>,
            task: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(task, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(task)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(task)
        }
    }

    struct Connection {
        asked: Asked<Late>,
        asking: Arc<Asking>,
        client: DuplexStream,
        has_input: Arc<AtomicBool>,
    }

    impl Connection {
        fn new(idle: &Arc<Idle>, head_max: Duration, idle_max: Duration) -> Self {
            let (stream, client) = duplex(64);
            let has_input = Arc::new(AtomicBool::new(false));
            let times = Times { head_max, idle_max };
            let asking = Asking::new(Arc::clone(idle), times);
            let late = Late {
                stream,
                has_input: Arc::clone(&has_input),
            };
            Self {
                asked: Asked::new(late, Arc::clone(&asking)),
                asking,
                client,
                has_input,
            }
        }

        /// `Some(true)` when something is read, `Some(false)` when it is over.
        fn read(&mut self) -> Option<bool> {
            let read = self.asked.read_u8().now_or_never()?;
            Some(read.is_ok())
        }

        async fn ask(&mut self) {
            self.client.write_u8(b'G').await.unwrap();
            assert_eq!(self.read(), Some(true));
        }

        /// A request and its answer.
        async fn answer(&mut self) {
            self.ask().await;
            drop(self.asking.serve());
            self.asked.flush().await.unwrap();
        }
    }

    #[tokio::test]
    async fn i7_a_head_has_its_time_and_what_is_served_is_not_hurried() {
        let idle = Arc::new(Idle::default());
        let mut connection = Connection::new(&idle, Duration::ZERO, LONG);
        assert_eq!(connection.read(), Some(false), "it never asked");
        let mut connection = Connection::new(&idle, Duration::ZERO, LONG);
        connection.ask().await;
        assert_eq!(connection.read(), Some(false), "it did not end its head");
        let serving = connection.asking.serve();
        assert_eq!(connection.read(), None);
        drop(serving);
        assert_eq!(connection.read(), None, "not all is written");
        connection.asked.flush().await.unwrap();
        assert_eq!(connection.read(), None, "it is kept alive");
        connection.ask().await;
        assert_eq!(connection.read(), Some(false), "its next head is as any");
    }

    #[tokio::test]
    async fn i7_who_asks_nothing_more_is_let_go_but_not_if_it_asks_at_last() {
        let idle = Arc::new(Idle::default());
        let mut connection = Connection::new(&idle, LONG, Duration::ZERO);
        connection.answer().await;
        connection.has_input.store(true, Ordering::Relaxed);
        assert_eq!(connection.read(), None, "what it sent is on its way");
        connection.answer().await;
        connection.has_input.store(false, Ordering::Relaxed);
        assert_eq!(connection.read(), Some(false));
    }

    #[tokio::test]
    async fn i7_the_idlest_is_sent_away_first_unless_it_asks() {
        let idle = Arc::new(Idle::default());
        let mut connections = [(); 4].map(|()| Connection::new(&idle, LONG, LONG));
        assert!(idle.dismiss().is_none(), "they have not asked yet");
        for connection in &mut connections {
            connection.answer().await;
            assert_eq!(connection.read(), None);
        }
        let [first, second, third, fourth] = &mut connections;
        // It has asked since.
        first.answer().await;
        // And it is asking.
        let stays = idle.dismiss().unwrap();
        second.has_input.store(true, Ordering::Relaxed);
        assert_eq!(second.read(), None);
        assert_eq!(stays.await, Ok(()));
        let stays = idle.dismiss().unwrap();
        third.ask().await;
        assert_eq!(stays.await, Ok(()));
        assert_eq!(third.read(), None);
        // A request that has come with the last one is being served.
        let stays = idle.dismiss().unwrap();
        let serving = fourth.asking.serve();
        assert_eq!(stays.await, Ok(()));
        serving.for_good();
        fourth.asked.flush().await.unwrap();
        // What waits for its answer is nobody's to send away.
        let mut stays = idle.dismiss().unwrap();
        assert!(idle.dismiss().is_none());
        assert_eq!(first.read(), Some(false));
        drop(connections);
        assert!(stays.try_recv().is_err(), "it does not stay");
        assert!(idle.dismiss().is_none());
    }

    #[tokio::test]
    async fn who_waits_is_woken_to_be_sent_away_and_who_ends_is_forgotten() {
        let idle = Arc::new(Idle::default());
        let mut connection = Connection::new(&idle, LONG, LONG);
        connection.answer().await;
        let reading = tokio::spawn(async move {
            let read = connection.asked.read_u8().await;
            (read.unwrap_err().kind(), connection)
        });
        tokio::task::yield_now().await;
        let _stays = idle.dismiss().unwrap();
        let (kind, mut connection) = reading.await.unwrap();
        assert_eq!(kind, ErrorKind::TimedOut);
        connection.answer().await;
        drop(connection.asked);
        assert!(idle.dismiss().is_none());
    }
}
