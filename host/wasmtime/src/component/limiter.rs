//! How much memory an instance may have, and how far it went.

use wasmtime::ResourceLimiter;

/// A guest's memory: an isolate's on Workers, so that what works here works
/// deployed (design D9).
const MEMORY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bounds an instance's memory and remembers how far it went.
#[derive(Default)]
pub struct Limiter {
    /// The most that it had, in bytes.
    pub memory_bytes: usize,
    /// Whether it wanted more than it may have.
    pub was_denied: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= MEMORY_BYTES_MAX;
        if granted {
            self.memory_bytes = self.memory_bytes.max(desired);
        }
        self.was_denied |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= 100_000)
    }
}
