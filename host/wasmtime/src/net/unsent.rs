//! Text frames on their way to the kernel: written from where they are, those
//! that wait in one system call.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::flow::output::TextFrame;

/// Frames that one system call writes, at most.
pub const FRAMES_PER_WRITE_MAX: usize = 32;

/// What is written of a socket's frames before others of its shard have their
/// turn, in bytes: the kernel would copy megabytes at once.
pub const BYTES_AT_ONCE: usize = 128 * 1024;

/// What a frame is written from: its header, how its text begins, the rest.
const PARTS_OF_FRAME: usize = 3;

/// A header's largest size, in bytes: a server's has no mask.
const HEADER_BYTES_MAX: usize = 10;

/// Places for frames that are kept: an idle socket has no more.
const PLACES_KEPT: usize = 4;

/// Text frames that are not written yet, or not wholly.
#[derive(Default)]
pub struct Unsent {
    frames: VecDeque<Framed>,
    /// What is written of the first one, in bytes.
    written: usize,
}

struct Framed {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    frame: TextFrame,
}

impl Framed {
    fn new(frame: TextFrame) -> Self {
        let header = FrameHeader {
            opcode: OpCode::Data(Data::Text),
            ..FrameHeader::default()
        };
        let text_bytes = frame.len() as u64;
        let mut bytes = [0; HEADER_BYTES_MAX];
        // It has room for every header without a mask.
        let _ = header.format(text_bytes, &mut bytes.as_mut_slice());
        Self {
            header: bytes,
            header_bytes: header.len(text_bytes),
            frame,
        }
    }

    fn bytes(&self) -> usize {
        self.header_bytes + self.frame.len()
    }

    /// What is left of it after `written` bytes: of its header, and its
    /// text's parts.
    fn rest(&self, mut written: usize) -> [&[u8]; PARTS_OF_FRAME] {
        let header = self.header.get(..self.header_bytes).unwrap_or_default();
        let [head, rest] = self.frame.parts();
        [header, head, rest].map(|part| {
            let left = part.get(written..).unwrap_or_default();
            written = written.saturating_sub(part.len());
            left
        })
    }
}

impl Unsent {
    /// Whether a part of a frame is written: nothing else may be then.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.written > 0
    }

    /// Adds a frame. Returns how many wait.
    pub fn push(&mut self, frame: TextFrame) -> usize {
        self.frames.push_back(Framed::new(frame));
        self.frames.len()
    }

    /// Whether nothing waits; then no more is kept than an idle socket needs.
    pub fn is_empty(&mut self) -> bool {
        let is_empty = self.frames.is_empty();
        if is_empty {
            self.frames.shrink_to(PLACES_KEPT);
        }
        is_empty
    }

    /// Writes once: as much as the stream takes, and is good for others. How
    /// much it was, in bytes.
    ///
    /// # Errors
    /// When the stream fails.
    pub fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        task: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PARTS_OF_FRAME * FRAMES_PER_WRITE_MAX];
        let mut count = 0;
        let mut room = BYTES_AT_ONCE;
        let rests = self
            .frames
            .iter()
            .enumerate()
            .flat_map(|(index, frame)| frame.rest(if index == 0 { self.written } else { 0 }));
        for (slice, rest) in slices.iter_mut().zip(rests.filter(|rest| !rest.is_empty())) {
            let rest = rest.get(..room).unwrap_or(rest);
            *slice = IoSlice::new(rest);
            count += 1;
            room -= rest.len();
            if room == 0 {
                break;
            }
        }
        let slices = slices.get(..count).unwrap_or_default();
        let written = ready!(Pin::new(stream).poll_write_vectored(task, slices))?;
        if written == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        self.written += written;
        while let Some(first) = self.frames.front()
            && self.written >= first.bytes()
        {
            self.written -= first.bytes();
            self.frames.pop_front();
        }
        Poll::Ready(Ok(written))
    }
}
