//! A connection whose peer has to ask: the head of its first request in so
//! much time, and of each later one once it has begun. Between requests it is
//! kept alive longer, and leaves when others need its place.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::patience::Countdown;

/// Idle connections that leave together when the machine is short of what a
/// connection takes: enough for those who come until it is looked again.
const DISMISSED_AT_ONCE: usize = 64;

/// How long a connection may be without a request.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From its beginning, or the first byte of a later request, to the end
    /// of that request's head.
    pub head_max: Duration,
    /// From an answer to the first byte of the next request.
    pub idle_max: Duration,
}

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

/// Connections between two requests, by when they began to be.
#[derive(Default)]
pub struct Idle(Mutex<Registry>);

#[derive(Default)]
struct Registry {
    next: u64,
    all: BTreeMap<u64, Arc<Asking>>,
}

impl Idle {
    /// Sends away the one that has been idle the longest. What is returned
    /// says so if it stays, because it was about to ask; it fails when the
    /// connection ends. `None`: nobody is idle.
    pub fn dismiss(&self) -> Option<oneshot::Receiver<()>> {
        loop {
            let (number, asking) = self.lock().all.pop_first()?;
            if let Some(stays) = asking.dismiss(number) {
                return Some(stays);
            }
        }
    }

    /// Sends the idlest away, whatever becomes of their places.
    pub fn dismiss_some(&self) {
        for _ in 0..DISMISSED_AT_ONCE {
            if self.dismiss().is_none() {
                break;
            }
        }
    }

    fn enter(&self, asking: &Arc<Asking>) -> u64 {
        let mut registry = self.lock();
        let number = registry.next;
        registry.next += 1;
        registry.all.insert(number, Arc::clone(asking));
        number
    }

    fn leave(&self, number: u64) {
        self.lock().all.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a connection is at: its stream sees bytes come and go, and its
/// requests when they begin and are answered.
pub struct Asking {
    times: Times,
    idle: Arc<Idle>,
    // Locked before the registry, which is never locked around it.
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    /// Runs while a head is due, and while nothing is.
    countdown: Countdown,
}

enum Stage {
    /// A head has to come.
    Head,
    /// A request is served.
    Serving,
    /// Its answer is made, and may have to be written yet.
    Answered,
    /// Nothing is due.
    Idle {
        number: u64,
        /// Whoever waits for this place; is told if it stays.
        dismissed: Option<oneshot::Sender<()>>,
        waker: Option<Waker>,
    },
}

impl Asking {
    /// A connection that has just begun.
    #[must_use]
    pub fn new(idle: Arc<Idle>, times: Times) -> Arc<Self> {
        let mut countdown = Countdown::default();
        countdown.begin();
        let stage = Stage::Head;
        let state = Mutex::new(State { stage, countdown });
        Arc::new(Self { times, idle, state })
    }

    /// A request's head has come; it is served as long as what is returned
    /// lives.
    #[must_use]
    pub fn serve(self: &Arc<Self>) -> Serving {
        self.turn(&mut self.lock(), Stage::Serving);
        Serving(Some(Arc::clone(self)))
    }

    fn answered(&self) {
        self.turn(&mut self.lock(), Stage::Answered);
    }

    /// Something was read. A piece of the next request that came before the
    /// last one's answer had left does not count: a client that sends ahead,
    /// and then stops within a head, is idle until it goes on.
    fn heard(&self) {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Idle { .. }) {
            self.turn(&mut state, Stage::Head);
        }
    }

    /// Everything was written. The task is woken when it is over: hyper does
    /// not look for the next head by itself.
    fn wrote(self: &Arc<Self>, task: &mut Context<'_>) {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Answered) {
            let idle = Stage::Idle {
                number: self.idle.enter(self),
                dismissed: None,
                waker: Some(task.waker().clone()),
            };
            self.turn(&mut state, idle);
            let over = state.countdown.poll_over(task, self.times.idle_max);
            if over.is_ready() {
                task.waker().wake_by_ref();
            }
        }
    }

    /// Ready when the connection has to end; to be asked when there is
    /// nothing to read. `has_input` is the truth about that: what has come is
    /// heard, though late.
    fn poll_over(&self, task: &mut Context<'_>, has_input: impl Fn() -> bool) -> Poll<()> {
        let mut state = self.lock();
        let State { stage, countdown } = &mut *state;
        match stage {
            Stage::Head => return countdown.poll_over(task, self.times.head_max),
            Stage::Serving | Stage::Answered => return Poll::Pending,
            Stage::Idle {
                dismissed, waker, ..
            } => {
                let over = countdown.poll_over(task, self.times.idle_max);
                if over.is_pending() && dismissed.is_none() {
                    *waker = Some(task.waker().clone());
                    return Poll::Pending;
                }
            }
        }
        if !has_input() {
            return Poll::Ready(());
        }
        self.turn(&mut state, Stage::Head);
        state.countdown.poll_over(task, self.times.head_max)
    }

    /// Whoever was idle under this number has to leave; `None` if it is not
    /// any more.
    fn dismiss(&self, number: u64) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        match &mut state.stage {
            Stage::Idle {
                number: current,
                dismissed,
                waker,
            } if *current == number => {
                let (stays, told) = oneshot::channel();
                *dismissed = Some(stays);
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
                Some(told)
            }
            _ => None,
        }
    }

    fn turn(&self, state: &mut State, next: Stage) {
        state.countdown.stop();
        if matches!(next, Stage::Head | Stage::Idle { .. }) {
            state.countdown.begin();
        }
        let before = std::mem::replace(&mut state.stage, next);
        if let Stage::Idle {
            number, dismissed, ..
        } = before
        {
            self.idle.leave(number);
            if let Some(stays) = dismissed {
                // Whoever waited may have found another place.
                let _ = stays.send(());
            }
        }
    }

    /// The connection is no more, or none of requests any more.
    fn end(&self) {
        let state = self.lock();
        if let Stage::Idle { number, .. } = state.stage {
            self.idle.leave(number);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is served, until its answer is made.
pub struct Serving(Option<Arc<Asking>>);

impl Serving {
    /// There will be no next request: the connection becomes something else.
    pub fn for_good(mut self) {
        self.0 = None;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(asking) = &self.0 {
            asking.answered();
        }
    }
}

/// An answer's body, as long as which its request is served.
pub struct Answer<B> {
    body: B,
    _serving: Option<Serving>,
}

impl<B> Answer<B> {
    /// The body of a request's answer; `None` for a connection that becomes
    /// something else.
    pub fn new(body: B, serving: Option<Serving>) -> Self {
        Self {
            body,
            _serving: serving,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(task)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

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
        let mut connections: Vec<_> = (0..4).map(|_| Connection::new(&idle, LONG, LONG)).collect();
        assert!(idle.dismiss().is_none(), "they have not asked yet");
        for connection in &mut connections {
            connection.answer().await;
            assert_eq!(connection.read(), None);
        }
        let [first, second, third, fourth] = &mut *connections else {
            panic!("four connections");
        };
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
        connections.clear();
        assert!(stays.try_recv().is_err(), "it does not stay");
        assert!(idle.lock().all.is_empty());
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
