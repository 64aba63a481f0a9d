//! What is on its way out: frames that wait for sockets, pages that wait for
//! HTTP clients. Each is counted once, however many sockets it is for, until
//! the last of them has taken it: by its room, and by the server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;

/// Of the server's output a room may hold one part in so many: nobody can
/// hold most of it.
const ROOM_PART: usize = 2;

/// The server's output.
pub struct Output {
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// One room's output, within the server's.
pub struct RoomOutput {
    server: Arc<Output>,
    bytes: AtomicUsize,
}

impl Output {
    /// An account of output that should stay within `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
        })
    }

    /// A room's account, within this one.
    #[must_use]
    pub fn of_room(self: &Arc<Self>) -> Arc<RoomOutput> {
        Arc::new(RoomOutput {
            server: Arc::clone(self),
            bytes: AtomicUsize::new(0),
        })
    }

    /// What it should stay within, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What waits to be taken, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether more waits than should.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.bytes() > self.bytes_max
    }
}

impl RoomOutput {
    /// What waits to be taken, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What this room may have waiting, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.server.bytes_max / ROOM_PART
    }

    /// Whether more waits than this room may have, or than the server may.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.bytes() > self.bytes_max() || self.server.is_over()
    }

    /// A frame.
    #[must_use]
    pub fn frame(self: &Arc<Self>, text: String) -> TextFrame {
        TextFrame {
            head: None,
            rest: Arc::new(self.count(text)),
        }
    }

    /// Frames that end alike, one for each head.
    pub fn frames<'a>(
        self: &Arc<Self>,
        heads: impl Iterator<Item = String> + 'a,
        rest: String,
    ) -> impl Iterator<Item = TextFrame> + 'a {
        let rest = Arc::new(self.count(rest));
        heads.map(move |head| TextFrame {
            head: Some(head.into()),
            rest: Arc::clone(&rest),
        })
    }

    /// A page of an HTTP answer.
    #[must_use]
    pub fn page(self: &Arc<Self>, text: String) -> Bytes {
        Bytes::from_owner(self.count(text))
    }

    /// Counts something that is about to be made.
    #[must_use]
    pub fn expect(self: &Arc<Self>, bytes: usize) -> Count {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.server.bytes.fetch_add(bytes, Ordering::Relaxed);
        Count {
            bytes,
            room: Arc::clone(self),
        }
    }

    fn count(self: &Arc<Self>, text: String) -> Counted {
        Counted {
            _count: self.expect(text.len()),
            since: OnceLock::new(),
            text,
        }
    }
}

/// So many bytes that count until this is dropped.
pub struct Count {
    bytes: usize,
    room: Arc<RoomOutput>,
}

/// A text that counts for as long as it is there.
struct Counted {
    text: String,
    /// When it became durable what it says, if anybody wants to know.
    since: OnceLock<Instant>,
    _count: Count,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        let server = &self.room.server;
        server.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A text frame, whose bytes are shared by all that it is for: how it begins,
/// if that is one request's alone, and the rest.
#[derive(Clone)]
pub struct TextFrame {
    head: Option<Arc<str>>,
    rest: Arc<Counted>,
}

impl TextFrame {
    /// Its parts, one behind the other.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 2] {
        let head = self.head.as_deref().unwrap_or_default();
        [head.as_bytes(), self.rest.text.as_bytes()]
    }

    /// It leaves now that its turn is durable.
    pub fn leave(&self, now: Instant) {
        let _ = self.rest.since.set(now);
    }

    /// When it left, if anybody has said so.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.rest.since.get().copied()
    }

    /// Its size, in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// A frame that counts nowhere else.
    pub(crate) fn frame(text: impl Into<String>) -> TextFrame {
        Output::new(usize::MAX).of_room().frame(text.into())
    }

    /// What a client reads.
    pub(crate) fn text(frame: &TextFrame) -> String {
        String::from_utf8(frame.parts().concat()).unwrap()
    }

    #[test]
    fn i7_what_is_shared_counts_once_and_until_the_last_has_taken_it() {
        let server = Output::new(100);
        let (room, other) = (server.of_room(), server.of_room());
        let heads = ["a", "b", "c"].map(str::to_owned).into_iter();
        let mut frames: Vec<TextFrame> = room.frames(heads, "x".repeat(40)).collect();
        let copy = frames.pop().unwrap();
        assert_eq!(text(&copy), format!("c{}", "x".repeat(40)));
        assert_eq!((server.bytes(), room.bytes()), (40, 40));
        let page = other.page("y".repeat(50));
        assert_eq!((server.bytes(), other.bytes()), (90, 50));
        assert!(!room.is_over() && !other.is_over());
        // A room that holds more than its part, and then a server.
        let more = other.frame("z".to_owned());
        assert!(other.is_over() && !room.is_over());
        let most = room.frame("z".repeat(10));
        assert!(room.is_over() && server.is_over());
        drop((page, frames, more, most));
        assert_eq!((server.bytes(), room.bytes(), other.bytes()), (40, 40, 0));
        drop(copy);
        assert_eq!(server.bytes(), 0);
    }
}
