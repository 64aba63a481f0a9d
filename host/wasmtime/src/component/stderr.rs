//! What a guest writes to its standard error, in the host's log: there Rust
//! says why it panics, the moment before it traps.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::SinkOutputStream;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::Role;
use super::diagnostics::{self, Level, Lines, MESSAGE_CHARS_MAX};

/// What may be written at once. More is written in pieces.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// An instance's standard error. Its lines are counted apart from those of
/// the `diagnostics` import: why a guest dies is not left out because it had
/// much to say before.
pub struct Stderr(Arc<Mutex<Line>>);

impl Stderr {
    /// Of an instance that is for this.
    pub fn new(role: Role) -> Self {
        Self(Arc::new(Mutex::new(Line {
            role,
            lines: Lines::default(),
            bytes: Vec::new(),
        })))
    }
}

/// The line that is being written.
struct Line {
    role: Role,
    lines: Lines,
    /// What there is of it, as far as it will be logged.
    bytes: Vec<u8>,
}

impl Line {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            // A character has up to four bytes.
            let room = (4 * MESSAGE_CHARS_MAX).saturating_sub(self.bytes.len());
            self.bytes.extend(text.iter().take(room));
            if ends {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        if !self.bytes.is_empty() {
            let text = String::from_utf8_lossy(&self.bytes);
            diagnostics::log(&mut self.lines, &self.role.name(), Level::Error, &text);
            self.bytes.clear();
        }
    }
}

/// A guest that is gone will not end its line.
impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}

impl IsTerminal for Stderr {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stderr {
    /// Of WASI's second version alone the guest has streams.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        SinkOutputStream.async_stream()
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl OutputStream for Stderr {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stderr {
    async fn ready(&mut self) {}
}
