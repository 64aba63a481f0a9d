//! Flow control of one pull: what was sent and not acknowledged yet.

use std::collections::VecDeque;

use crate::limits::{PULLS_MAX, WINDOW_BYTES_MAX, WINDOW_CHUNKS_MAX, WINDOW_LIVE_CHUNKS_MAX};

/// Unacknowledged Chunks, by the bytes of their frames. A client takes them
/// in order and acknowledges each, so the first Ack is the first Chunk's.
/// Bounded by the number of Chunks a window admits.
#[derive(Debug, Clone)]
pub struct Window {
    frames: VecDeque<u32>,
    bytes: usize,
    live_chunks_max: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            live_chunks_max: WINDOW_LIVE_CHUNKS_MAX,
        }
    }
}

impl Window {
    /// The window of a pull that is not its connection's only one. Real
    /// clients have one: others would multiply what a room remembers.
    #[must_use]
    pub fn narrow() -> Self {
        Self {
            live_chunks_max: WINDOW_LIVE_CHUNKS_MAX / PULLS_MAX,
            ..Self::default()
        }
    }

    /// The same of a client that was sent Chunks and acknowledged none,
    /// before this instance woke: full until it does.
    #[must_use]
    pub fn filled(mut self) -> Self {
        self.sent(WINDOW_BYTES_MAX);
        self
    }

    /// How many Chunks a live pull may have unacknowledged.
    #[must_use]
    pub fn live_chunks_max(&self) -> usize {
        self.live_chunks_max
    }

    /// Whether a frame may be sent while catching up.
    #[must_use]
    pub fn admits(&self, frame_bytes: usize) -> bool {
        self.has_room(frame_bytes, WINDOW_CHUNKS_MAX)
    }

    /// Whether a frame may be sent to a live pull.
    #[must_use]
    pub fn admits_live(&self, frame_bytes: usize) -> bool {
        self.has_room(frame_bytes, self.live_chunks_max)
    }

    fn has_room(&self, frame_bytes: usize, chunks_max: usize) -> bool {
        self.is_empty()
            || (self.frames.len() < chunks_max
                && self.bytes.saturating_add(frame_bytes) <= WINDOW_BYTES_MAX)
    }

    /// How many Chunks may follow while catching up.
    #[must_use]
    pub fn chunks_free(&self) -> usize {
        if self.bytes >= WINDOW_BYTES_MAX {
            return 0;
        }
        WINDOW_CHUNKS_MAX.saturating_sub(self.frames.len())
    }

    /// Whether everything is acknowledged, as far as this instance knows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// A frame was sent.
    pub fn sent(&mut self, frame_bytes: usize) {
        // A frame is far below 4 GiB.
        let counted = u32::try_from(frame_bytes).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_add(frame_bytes);
        // A pull that is started over and over, without an Ack, is sent a
        // Chunk each time: they count as one.
        if self.frames.len() >= self.live_chunks_max
            && let Some(last) = self.frames.back_mut()
        {
            *last = last.saturating_add(counted);
        } else {
            self.frames.push_back(counted);
        }
    }

    /// A Chunk was acknowledged. After waking there may be more Acks than
    /// are remembered.
    pub fn acknowledged(&mut self) {
        if let Some(frame_bytes) = self.frames.pop_front() {
            let frame_bytes = usize::try_from(frame_bytes).unwrap_or(usize::MAX);
            self.bytes = self.bytes.saturating_sub(frame_bytes);
        }
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
    fn i7_small_chunks_before_a_large_one_do_not_free_its_bytes() {
        let mut window = Window::default();
        for bytes in [10, 10, WINDOW_BYTES_MAX - 20] {
            assert!(window.admits(bytes));
            window.sent(bytes);
        }
        window.acknowledged();
        window.acknowledged();
        assert!(!window.admits(21));
    }

    #[test]
    fn more_acks_than_chunks_do_no_harm() {
        let mut window = Window::default();
        window.acknowledged();
        window.sent(10);
        window.sent(30);
        for _ in 0..3 {
            window.acknowledged();
        }
        assert!(window.is_empty());
        assert_eq!(window.bytes, 0);
    }

    #[test]
    fn i7_chunks_that_are_sent_past_the_window_do_not_grow_it() {
        let mut window = Window::default();
        for _ in 0..WINDOW_LIVE_CHUNKS_MAX * 3 {
            window.sent(10);
        }
        assert_eq!(window.frames.len(), WINDOW_LIVE_CHUNKS_MAX);
        for _ in 0..WINDOW_LIVE_CHUNKS_MAX {
            assert!(!window.is_empty());
            window.acknowledged();
        }
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
