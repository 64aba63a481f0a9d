//! A socket's outbox: frames on their way from the room's thread to the
//! socket's task, bounded in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

/// What may wait for a socket that does not read, in bytes. The windows of a
/// connection's pulls fit in, so this is reached by clients without
/// acknowledgements only.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a queued frame counts for beside its bytes.
const OVERHEAD_BYTES: usize = 64;

/// What a frame takes of an outbox, in bytes.
#[must_use]
pub fn weight(frame: &Utf8Bytes) -> usize {
    frame.len() + OVERHEAD_BYTES
}

/// Something for the socket's task.
pub enum Outgoing {
    /// A text frame.
    Frame(Utf8Bytes),
    /// A ping of the WebSocket's own.
    Ping,
    /// What was queued before has left: the room wants to know.
    Drained,
    /// A close; nothing follows.
    Close {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
}

/// The room's end. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::UnboundedSender<Outgoing>,
    shared: Arc<Shared>,
}

/// The socket's end.
pub struct Inlet {
    queue: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    bytes: AtomicUsize,
    /// Cancelled when a frame found no room: from then on nothing is queued,
    /// or the client would see a gap.
    overflow: CancellationToken,
}

/// An outbox and its other end.
#[must_use]
pub fn outbox() -> (Outbox, Inlet) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::default());
    let outbox = Outbox {
        queue: sender,
        shared: Arc::clone(&shared),
    };
    let inlet = Inlet {
        queue: receiver,
        shared,
    };
    (outbox, inlet)
}

impl Outbox {
    /// Queues a frame. A socket that has taken too little of what is queued
    /// already is told to close with 1013 instead.
    pub fn send(&self, frame: Utf8Bytes) {
        if self.shared.overflow.is_cancelled() {
            return;
        }
        let bytes = weight(&frame);
        let queued = self.shared.bytes.fetch_add(bytes, Ordering::SeqCst);
        if queued > 0 && queued.saturating_add(bytes) > BYTES_MAX {
            self.shared.overflow.cancel();
            return;
        }
        // The task may be gone; then nobody reads.
        let _ = self.queue.send(Outgoing::Frame(frame));
    }

    /// Queues a ping.
    pub fn ping(&self) {
        let _ = self.queue.send(Outgoing::Ping);
    }

    /// Queues a close.
    pub fn close(&self, code: u16, reason: String) {
        let _ = self.queue.send(Outgoing::Close { code, reason });
    }

    /// Asks for one notice when what is queued by now has left.
    pub fn notify_drained(&self) {
        let _ = self.queue.send(Outgoing::Drained);
    }
}

impl Inlet {
    /// The next thing to write; `None` when the room has let go.
    pub async fn next(&mut self) -> Option<Outgoing> {
        self.queue.recv().await
    }

    /// The next thing to write, if it is there already.
    pub fn next_now(&mut self) -> Option<Outgoing> {
        self.queue.try_recv().ok()
    }

    /// A frame has left; `bytes` is its [`weight`].
    pub fn taken(&self, bytes: usize) {
        self.shared.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Returns when the outbox has overflowed: something to watch while a
    /// frame waits for its socket.
    pub fn overflow(&self) -> impl Future<Output = ()> + use<'_> {
        self.shared.overflow.cancelled()
    }

    /// Whether it has overflowed.
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.shared.overflow.is_cancelled()
    }
}
