//! What an HTTP connection is at: a head is due, a request is served, or
//! nothing is due and it may leave when others need its place.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::process::patience::Countdown;

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

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The head of a request.
    Head,
    /// An answer, to be made or to be taken.
    Answer,
    /// Nothing: it is kept alive.
    Nothing,
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

    /// What the connection waits for.
    #[must_use]
    pub fn due(&self) -> Due {
        match self.lock().stage {
            Stage::Head => Due::Head,
            Stage::Serving | Stage::Answered => Due::Answer,
            Stage::Idle { .. } => Due::Nothing,
        }
    }

    fn answered(&self) {
        self.turn(&mut self.lock(), Stage::Answered);
    }

    /// Something was read. A piece of the next request that came before the
    /// last one's answer had left does not count: a client that sends ahead,
    /// and then stops within a head, is idle until it goes on.
    pub fn heard(&self) {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Idle { .. }) {
            self.turn(&mut state, Stage::Head);
        }
    }

    /// Everything was written. The task is woken when it is over: hyper does
    /// not look for the next head by itself.
    pub fn wrote(self: &Arc<Self>, task: &mut Context<'_>) {
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
    pub fn poll_over(&self, task: &mut Context<'_>, has_input: impl Fn() -> bool) -> Poll<()> {
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
    pub fn end(&self) {
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
