//! A connection whose peer has to take what it is sent: while something waits
//! to be written, so much of it in so much time.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::process::patience::Countdown;

/// What has to be taken while something waits, each time, in bytes: what a
/// slow mobile network takes in a few seconds.
const BYTES_MIN: usize = 64 * 1024;

/// A stream that fails with [`ErrorKind::TimedOut`] when its peer does not
/// take what is written.
pub struct Taken<S> {
    stream: S,
    time_max: Duration,
    /// Runs while something waits.
    countdown: Countdown,
    /// What was taken since it began, in bytes.
    bytes: usize,
}

impl<S> Taken<S> {
    /// A stream whose peer may take so long.
    pub fn new(stream: S, time_max: Duration) -> Self {
        Self {
            stream,
            time_max,
            countdown: Countdown::default(),
            bytes: 0,
        }
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn wrote(
        &mut self,
        task: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                if self.countdown.is_running() {
                    self.bytes += written.as_ref().map_or(0, |bytes| *bytes);
                    if self.bytes >= BYTES_MIN {
                        self.rest();
                    }
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                self.countdown.begin();
                let over = self.countdown.poll_over(task, self.time_max);
                over.map(|()| Err(ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Nothing waits, or enough of it was taken.
    fn rest(&mut self) {
        self.countdown.stop();
        self.bytes = 0;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.wrote(task, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(task, slices);
        self.wrote(task, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Everything has been written by now.
        self.rest();
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn i7_who_takes_nothing_is_given_up() {
        let (server, client) = duplex(1_000);
        let mut taken = Taken::new(server, Duration::from_millis(1));
        let error = taken.write_all(&[0; 10_000]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test]
    async fn who_takes_some_now_and_then_is_served() {
        let (server, mut client) = duplex(1_000);
        let mut taken = Taken::new(server, Duration::from_secs(3_600));
        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        taken.write_all(&[0; 1_000_000]).await.unwrap();
        taken.flush().await.unwrap();
        assert!(!taken.countdown.is_running(), "nothing waits");
        drop(taken);
        assert_eq!(read.await.unwrap(), 1_000_000);
    }
}
