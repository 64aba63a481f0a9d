//! Flow control of one pull: what was sent and not acknowledged yet.

use crate::limits::{WINDOW_BYTES_MAX, WINDOW_CHUNKS_MAX, WINDOW_LIVE_CHUNKS_MAX};

/// Unacknowledged Chunks and their bytes. Acks carry no sizes, so each one is
/// taken for an average Chunk: no list is kept, and nothing in flight is
/// always no bytes.
#[derive(Debug, Default, Clone)]
pub struct Window {
    chunks: u32,
    bytes: usize,
}

impl Window {
    /// Whether a frame may be sent while catching up.
    #[must_use]
    pub fn admits(&self, frame_bytes: usize) -> bool {
        self.has_room(frame_bytes, WINDOW_CHUNKS_MAX)
    }

    /// Whether a frame may be sent to a live pull.
    #[must_use]
    pub fn admits_live(&self, frame_bytes: usize) -> bool {
        self.has_room(frame_bytes, WINDOW_LIVE_CHUNKS_MAX)
    }

    fn has_room(&self, frame_bytes: usize, chunks_max: u32) -> bool {
        self.is_empty()
            || (self.chunks < chunks_max
                && self.bytes.saturating_add(frame_bytes) <= WINDOW_BYTES_MAX)
    }

    /// How many Chunks may follow while catching up.
    #[must_use]
    pub fn chunks_free(&self) -> usize {
        if self.bytes >= WINDOW_BYTES_MAX {
            return 0;
        }
        usize::try_from(WINDOW_CHUNKS_MAX.saturating_sub(self.chunks)).unwrap_or(0)
    }

    /// Whether everything is acknowledged, as far as this instance knows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks == 0
    }

    /// A frame was sent.
    pub fn sent(&mut self, frame_bytes: usize) {
        self.chunks = self.chunks.saturating_add(1);
        self.bytes = self.bytes.saturating_add(frame_bytes);
    }

    /// A Chunk was acknowledged. After waking there may be more Acks than
    /// are remembered.
    pub fn acknowledged(&mut self) {
        let average = self
            .bytes
            .checked_div(usize::try_from(self.chunks).unwrap_or(usize::MAX))
            .unwrap_or(0);
        self.chunks = self.chunks.saturating_sub(1);
        self.bytes = if self.chunks == 0 {
            0
        } else {
            self.bytes.saturating_sub(average)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_larger_than_the_window_goes_alone() {
        let mut window = Window::default();
        assert!(window.admits(WINDOW_BYTES_MAX * 2));
        window.sent(WINDOW_BYTES_MAX * 2);
        assert!(!window.admits(1));
        assert_eq!(window.chunks_free(), 0);
        window.acknowledged();
        assert!(window.is_empty() && window.admits(1));
    }

    #[test]
    fn more_acks_than_chunks_do_no_harm() {
        let mut window = Window::default();
        window.acknowledged();
        window.sent(10);
        window.sent(30);
        window.acknowledged();
        window.acknowledged();
        window.acknowledged();
        assert!(window.is_empty());
        assert_eq!(window.bytes, 0);
    }

    #[test]
    fn i7_the_window_is_bounded_in_number_too() {
        let mut window = Window::default();
        let mut sent = 0;
        while window.admits(1) {
            window.sent(1);
            sent += 1;
        }
        assert_eq!(sent, WINDOW_CHUNKS_MAX);
        assert!(window.admits_live(1));
    }
}
