//! Messages on their way in: what has arrived of one counts in the server's
//! budget, and it has so much time to arrive in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::PollSemaphore;

use crate::budget::UNIT_BYTES;

/// What may have arrived of a message before it counts, in bytes: as much as
/// the messages of real clients have.
const FREE_BYTES: usize = 64 * 1024;

/// What is taken of the budget at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// A stream whose reader is held up while the server has no room, and which
/// fails with [`io::ErrorKind::TimedOut`] when a message takes too long.
pub struct Arrivals<S> {
    stream: S,
    time_max: Duration,
    /// Set while a message has begun and is not whole.
    timer: Option<Pin<Box<Sleep>>>,
    budget: PollSemaphore,
    permits: Option<OwnedSemaphorePermit>,
    /// Of the message under way.
    bytes: usize,
    bytes_max: usize,
    whole: Arc<AtomicBool>,
}

/// The reader's end: where it says that a message is whole.
pub struct Whole(Arc<AtomicBool>);

impl Whole {
    /// What arrives from here on is another message's.
    pub fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S> Arrivals<S> {
    /// Counts what arrives on `stream` in `budget`.
    pub fn new(stream: S, budget: Arc<Semaphore>, time_max: Duration) -> (Self, Whole) {
        let whole = Arc::new(AtomicBool::new(false));
        let arrivals = Self {
            stream,
            time_max,
            timer: None,
            budget: PollSemaphore::new(budget),
            permits: None,
            bytes: 0,
            bytes_max: FREE_BYTES,
            whole: Arc::clone(&whole),
        };
        (arrivals, Whole(whole))
    }

    /// `Pending`, unless the message has taken too long.
    fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes == 0 {
            return Poll::Pending;
        }
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep(self.time_max)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Arrivals<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.whole.swap(false, Ordering::Relaxed) {
            this.bytes = 0;
            this.bytes_max = FREE_BYTES;
            this.permits = None;
            this.timer = None;
        }
        while this.bytes >= this.bytes_max {
            let units = u32::try_from(PIECE_BYTES / UNIT_BYTES).unwrap_or(u32::MAX);
            let Poll::Ready(permit) = this.budget.poll_acquire_many(context, units) else {
                return this.poll_time(context);
            };
            this.bytes_max += PIECE_BYTES;
            match (&mut this.permits, permit) {
                (Some(all), Some(permit)) => all.merge(permit),
                (permits, permit) => *permits = permit,
            }
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                this.bytes += buffer.filled().len() - before;
                Poll::Ready(read)
            }
            Poll::Pending => this.poll_time(context),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Arrivals<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn units(bytes: usize) -> usize {
        bytes / UNIT_BYTES
    }

    #[tokio::test]
    async fn i7_a_message_that_arrives_counts_and_is_given_back_when_it_is_whole() {
        let budget = Arc::new(Semaphore::new(units(4 * PIECE_BYTES)));
        let (mut client, server) = duplex(1024 * 1024);
        let (mut arrivals, whole) =
            Arrivals::new(server, Arc::clone(&budget), Duration::from_secs(60));
        client.write_all(&vec![0; 3 * PIECE_BYTES]).await.unwrap();
        // As a socket reads it.
        for _ in 0..3 * PIECE_BYTES / 4096 {
            arrivals.read_exact(&mut [0; 4096]).await.unwrap();
        }
        assert!(budget.available_permits() <= units(2 * PIECE_BYTES));
        whole.mark();
        client.write_all(b"next").await.unwrap();
        arrivals.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(budget.available_permits(), units(4 * PIECE_BYTES));
    }

    #[tokio::test]
    async fn i7_a_message_that_does_not_end_is_given_up() {
        let budget = Arc::new(Semaphore::new(units(PIECE_BYTES)));
        let (mut client, server) = duplex(64);
        let time_max = Duration::from_millis(1);
        let (mut arrivals, whole) = Arrivals::new(server, budget, time_max);
        // A socket that says nothing has all the time there is.
        let silence = arrivals.read_u8();
        assert!(tokio::time::timeout(time_max * 50, silence).await.is_err());
        client.write_all(b"begun").await.unwrap();
        arrivals.read_exact(&mut [0; 5]).await.unwrap();
        let error = arrivals.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        whole.mark();
        let silence = arrivals.read_u8();
        assert!(tokio::time::timeout(time_max * 50, silence).await.is_err());
    }
}
