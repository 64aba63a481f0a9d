//! Memory that the process has given up and the allocator has not. Instances
//! come and go between sockets that stay: with glibc, what they gave back
//! stayed with the process, 13 KiB for each of 10,000 idle connections
//! (PERFORMANCE.md). So did what large messages had taken, for each shard.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What has to have gone before it is worth a look, in bytes.
const GONE_BYTES_MIN: usize = 8 * 1024 * 1024;

/// What goes with an instance, beside its memory, in bytes: about that.
const INSTANCE_BYTES: usize = 128 * 1024;

/// How often at most: a look takes milliseconds, and allocations wait for it.
const INTERVAL_MIN: Duration = Duration::from_secs(5);

static GONE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// An instance is gone.
pub fn instance_gone() {
    gone(INSTANCE_BYTES);
}

/// Something large is gone.
pub fn gone(bytes: usize) {
    GONE_BYTES.fetch_add(bytes, Ordering::Relaxed);
}

/// Gives memory back to the system now and then, when it is asked often.
pub struct Trimmer {
    trimmed: Instant,
}

impl Trimmer {
    /// What starting took, the compiler's memory above all, is given back.
    #[must_use]
    pub fn new() -> Self {
        trim();
        Self {
            trimmed: Instant::now(),
        }
    }

    /// Trims, if enough has gone and it is long ago.
    pub fn tick(&mut self) {
        if GONE_BYTES.load(Ordering::Relaxed) < GONE_BYTES_MIN
            || self.trimmed.elapsed() < INTERVAL_MIN
        {
            return;
        }
        GONE_BYTES.store(0, Ordering::Relaxed);
        trim();
        self.trimmed = Instant::now();
    }
}

impl Default for Trimmer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: malloc_trim(3) may be called at any time, by any thread.
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators do it by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
