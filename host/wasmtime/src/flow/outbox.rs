//! A socket's outbox: frames on their way from the room to the socket's task,
//! bounded in bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::flow::output::TextFrame;

/// What may wait for a socket that does not read, in bytes. The windows of a
/// connection's pulls fit in, so this is reached by clients without
/// acknowledgements only.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a queued frame counts for beside its bytes.
const OVERHEAD_BYTES: usize = 64;

/// What may wait for a socket that has not been told of it, in bytes: it could
/// use the time.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// Places that an empty queue keeps: an idle socket has no more.
const PLACES_KEPT: usize = 4;

/// What a client is told whose outbox is full: it may try again.
pub const OVERFLOW: (u16, &str) = (1013, "TOO_SLOW");

/// Who ended a connection, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The client, with this code.
    Client(u16),
    /// This server, with this code and reason.
    Server(u16, String),
}

/// What a frame takes of an outbox, in bytes.
#[must_use]
pub fn weight(frame: &TextFrame) -> usize {
    frame.len() + OVERHEAD_BYTES
}

/// Something for the socket's task.
pub enum Outgoing {
    /// A text frame.
    Frame(TextFrame),
    /// A ping of the WebSocket's own.
    Ping,
    /// What was queued before has left: the room wants to know.
    Drained,
    /// To be called when what was queued before has left.
    Then(Box<dyn FnOnce() + Send>),
    /// A close; nothing follows.
    Close {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
}

/// The room's end. Cheap to clone.
pub struct Outbox(Arc<Shared>);

/// The socket's end.
pub struct Inlet(Arc<Shared>);

/// Tells a socket's task of frames that were queued and held.
pub struct Nudge(Arc<Shared>);

#[derive(Default)]
struct Shared(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    outgoing: VecDeque<Outgoing>,
    /// What is queued and what the task has taken and not written yet.
    bytes: usize,
    /// The frames among that.
    frames: usize,
    /// A frame found no room: from then on nothing is queued, or the client
    /// would see a gap.
    has_overflowed: bool,
    /// The task has not been told of what is queued.
    is_held: bool,
    /// Somebody has a [`Nudge`].
    has_nudge: bool,
    /// The task that waits.
    waker: Option<Waker>,
    /// The room's ends.
    outboxes: usize,
    /// The task is gone: nobody reads.
    is_deserted: bool,
    /// Who began to end the connection first.
    end: Option<End>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.is_held = false;
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Queues, and tells the task.
    fn push(&self, outgoing: Outgoing) {
        let mut queue = self.lock();
        if !queue.is_deserted {
            queue.outgoing.push_back(outgoing);
            self.wake(queue);
        }
    }
}

/// What has become of a frame.
#[derive(PartialEq, Eq)]
enum Pushed {
    Queued,
    /// There was no room, for the first time: the task has to close.
    Overflowed,
    /// There is nobody to get it.
    Dropped,
}

impl Queue {
    /// Queues a frame, if it may be.
    fn push_frame(&mut self, frame: TextFrame) -> Pushed {
        if self.has_overflowed || self.is_deserted {
            return Pushed::Dropped;
        }
        let bytes = weight(&frame);
        if self.bytes > 0 && self.bytes.saturating_add(bytes) > BYTES_MAX {
            self.overflow();
            return Pushed::Overflowed;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.frames += 1;
        self.outgoing.push_back(Outgoing::Frame(frame));
        Pushed::Queued
    }

    /// Returns whether it is new.
    fn overflow(&mut self) -> bool {
        let (code, reason) = OVERFLOW;
        self.ends(End::Server(code, reason.to_owned()));
        !std::mem::replace(&mut self.has_overflowed, true)
    }

    /// Whoever comes later has not ended it.
    fn ends(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    fn pop(&mut self) -> Option<Outgoing> {
        let next = self.outgoing.pop_front();
        // Who takes it all knows of it all.
        self.is_held &= !self.outgoing.is_empty();
        next
    }

    /// `Pending` as long as `ready` finds nothing.
    fn poll<T>(
        &mut self,
        context: &Context<'_>,
        ready: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Poll<T> {
        if let Some(found) = ready(self) {
            return Poll::Ready(found);
        }
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// An outbox and its other end.
#[must_use]
pub fn outbox() -> (Outbox, Inlet) {
    let shared = Arc::new(Shared::default());
    shared.lock().outboxes = 1;
    (Outbox(Arc::clone(&shared)), Inlet(shared))
}

impl Clone for Outbox {
    fn clone(&self) -> Self {
        self.0.lock().outboxes += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.outboxes -= 1;
        if queue.outboxes == 0 {
            self.0.wake(queue);
        }
    }
}

impl Outbox {
    /// Queues a frame. A socket that has taken too little of what is queued
    /// already is told to close with 1013 instead.
    pub fn send(&self, frame: TextFrame) {
        let mut queue = self.0.lock();
        if queue.push_frame(frame) != Pushed::Dropped {
            self.0.wake(queue);
        }
    }

    /// The same, but the task need not be told before the nudge is given.
    /// `None` when there is a nudge already, or no need of one.
    pub fn hold(&self, frame: TextFrame) -> Option<Nudge> {
        let mut queue = self.0.lock();
        match queue.push_frame(frame) {
            Pushed::Queued if queue.bytes <= HELD_BYTES_MAX => {
                queue.is_held = true;
                let is_new = !std::mem::replace(&mut queue.has_nudge, true);
                is_new.then(|| Nudge(Arc::clone(&self.0)))
            }
            Pushed::Queued | Pushed::Overflowed => {
                self.0.wake(queue);
                None
            }
            Pushed::Dropped => None,
        }
    }

    /// What waits for the socket, in bytes: frames that others wait for too
    /// are counted whole.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// The frames that the socket has not taken, and their text in bytes. Those
    /// that are written together count until all of them are.
    #[must_use]
    pub fn unsent(&self) -> (usize, usize) {
        let queue = self.0.lock();
        let overhead = queue.frames.saturating_mul(OVERHEAD_BYTES);
        (queue.frames, queue.bytes.saturating_sub(overhead))
    }

    /// Tells the task to close with 1013, as if a frame had found no room.
    /// Returns whether it did not know.
    pub fn overflow(&self) -> bool {
        let mut queue = self.0.lock();
        let is_new = queue.overflow();
        self.0.wake(queue);
        is_new
    }

    /// Queues a ping.
    pub fn ping(&self) {
        self.0.push(Outgoing::Ping);
    }

    /// Queues a close of this server's own.
    pub fn close(&self, code: u16, reason: String) {
        self.0.lock().ends(End::Server(code, reason.clone()));
        self.0.push(Outgoing::Close { code, reason });
    }

    /// Queues the answer to the client's close.
    pub fn answer_close(&self, code: u16) {
        self.0.lock().ends(End::Client(code));
        let reason = String::new();
        self.0.push(Outgoing::Close { code, reason });
    }

    /// Who began to end the connection, if anybody did.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.0.lock().end.clone()
    }

    /// Has this called when what is queued by now has left. The task need not
    /// be told: it is told of what was queued.
    pub fn then(&self, call: Box<dyn FnOnce() + Send>) {
        let mut queue = self.0.lock();
        if !queue.is_deserted && !queue.has_overflowed {
            queue.outgoing.push_back(Outgoing::Then(call));
        }
    }

    /// Asks for one notice when what is queued by now has left.
    pub fn notify_drained(&self) {
        self.0.push(Outgoing::Drained);
    }
}

impl Nudge {
    /// Tells the task. Returns whether it did not know.
    pub fn give(self) -> bool {
        let mut queue = self.0.lock();
        queue.has_nudge = false;
        let is_held = queue.is_held;
        if is_held {
            self.0.wake(queue);
        }
        is_held
    }
}

impl Inlet {
    /// The next thing to write; `None` when the room has let go.
    pub async fn next(&mut self) -> Option<Outgoing> {
        poll_fn(|context| {
            self.0.lock().poll(context, |queue| {
                let next = queue.pop();
                if next.is_none() {
                    queue.outgoing.shrink_to(PLACES_KEPT);
                }
                match next {
                    None if queue.outboxes == 0 => Some(None),
                    next => next.map(Some),
                }
            })
        })
        .await
    }

    /// The next thing to write, if it is there already.
    pub fn next_now(&mut self) -> Option<Outgoing> {
        self.0.lock().pop()
    }

    /// Frames have left; `bytes` is the sum of their [`weight`]s.
    pub fn taken(&self, frames: usize, bytes: usize) {
        let mut queue = self.0.lock();
        queue.frames = queue.frames.saturating_sub(frames);
        queue.bytes = queue.bytes.saturating_sub(bytes);
    }

    /// Returns when the outbox has overflowed: something to watch while a
    /// frame waits for its socket.
    pub async fn overflow(&self) {
        poll_fn(|context| {
            let mut queue = self.0.lock();
            queue.poll(context, |queue| queue.has_overflowed.then_some(()))
        })
        .await;
    }

    /// Whether something is queued that the task has not been told of.
    #[cfg(test)]
    pub fn is_held(&self) -> bool {
        self.0.lock().is_held
    }

    /// Whether it has overflowed.
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.0.lock().has_overflowed
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.is_deserted = true;
        let rest = std::mem::take(&mut queue.outgoing);
        let waker = queue.waker.take();
        drop(queue);
        drop((rest, waker));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::flow::output::tests::{frame as frame_of, text};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A task that waits for something that is not there.
    fn wait(what: impl Future, wakes: &Arc<Wakes>) {
        let waker = Waker::from(Arc::clone(wakes));
        let poll = pin!(what).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }

    fn frame(bytes: usize) -> TextFrame {
        frame_of("x".repeat(bytes))
    }

    fn texts(inlet: &mut Inlet) -> Vec<String> {
        let outgoing = std::iter::from_fn(|| inlet.next_now());
        outgoing
            .map(|outgoing| match outgoing {
                Outgoing::Frame(frame) => text(&frame),
                _ => "other".to_owned(),
            })
            .collect()
    }

    #[tokio::test]
    async fn i3_held_frames_keep_their_place() {
        let (outbox, mut inlet) = outbox();
        let wakes = Arc::default();
        wait(inlet.next(), &wakes);
        let nudge = outbox.hold(frame_of("a")).unwrap();
        assert!(outbox.hold(frame_of("b")).is_none(), "one nudge is enough");
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        outbox.send(frame_of("c"));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(texts(&mut inlet), ["a", "b", "c"]);
        wait(inlet.next(), &wakes);
        assert!(outbox.hold(frame_of("d")).is_none(), "it is still in line");
        assert!(nudge.give());
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
        assert_eq!(texts(&mut inlet), ["d"]);
        assert!(outbox.hold(frame_of("e")).is_some());
    }

    #[tokio::test]
    async fn a_nudge_for_what_is_known_wakes_nobody() {
        let (outbox, mut inlet) = outbox();
        let nudge = outbox.hold(frame_of("a")).unwrap();
        outbox.send(frame_of("b"));
        assert_eq!(texts(&mut inlet), ["a", "b"]);
        let wakes = Arc::default();
        wait(inlet.next(), &wakes);
        assert!(!nudge.give());
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn i7_much_is_not_held() {
        let (outbox, mut inlet) = outbox();
        let wakes = Arc::default();
        wait(inlet.next(), &wakes);
        let _nudge = outbox.hold(frame_of("a")).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        assert!(outbox.hold(frame(HELD_BYTES_MAX)).is_none());
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        wait(inlet.overflow(), &wakes);
        assert!(outbox.hold(frame(BYTES_MAX)).is_none());
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2, "it has to close now");
    }

    #[tokio::test]
    async fn i7_what_a_task_does_not_take_is_bounded() {
        let (outbox, mut inlet) = outbox();
        // Whatever its size, one frame goes.
        outbox.send(frame(2 * BYTES_MAX));
        assert!(!inlet.has_overflowed());
        outbox.send(frame(1));
        assert!(inlet.has_overflowed());
        // No gap: nothing comes after what was left out.
        assert_eq!(outbox.unsent(), (1, 2 * BYTES_MAX));
        inlet.taken(1, 3 * BYTES_MAX);
        assert_eq!(outbox.unsent(), (0, 0));
        outbox.send(frame(1));
        assert!(outbox.hold(frame(1)).is_none());
        assert_eq!(texts(&mut inlet).len(), 1);
    }

    #[tokio::test]
    async fn i7_frames_for_a_task_that_is_gone_are_not_kept() {
        let (outbox, inlet) = outbox();
        outbox.send(frame(1));
        drop(inlet);
        outbox.send(frame(1));
        assert!(outbox.0.lock().outgoing.is_empty());
    }

    #[tokio::test]
    async fn who_ends_a_connection_first_has_ended_it() {
        let (outbox, _inlet) = outbox();
        assert_eq!(outbox.end(), None);
        outbox.overflow();
        outbox.close(1011, "INTERNAL".to_owned());
        outbox.answer_close(1000);
        let (code, reason) = OVERFLOW;
        assert_eq!(outbox.end(), Some(End::Server(code, reason.to_owned())));
        let (outbox, _inlet) = super::outbox();
        outbox.answer_close(1001);
        outbox.send(frame(BYTES_MAX));
        outbox.send(frame(BYTES_MAX));
        assert_eq!(outbox.end(), Some(End::Client(1001)));
    }

    #[tokio::test]
    async fn a_task_learns_that_the_room_has_let_go() {
        let (outbox, mut inlet) = outbox();
        let clone = outbox.clone();
        drop(outbox);
        let wakes = Arc::default();
        wait(inlet.next(), &wakes);
        drop(clone);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(inlet.next().await.is_none());
    }
}
