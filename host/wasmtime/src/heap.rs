//! Memory that the process has given up and the allocator has not. Instances
//! come and go between sockets that stay: with glibc, what they gave back
//! stayed with the process, 13 KiB for each of 10,000 idle connections
//! (PERFORMANCE.md).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Instances that have to have gone before it is worth a look.
const INSTANCES_GONE_MIN: usize = 64;

/// How often at most: a look takes milliseconds, and allocations wait for it.
const INTERVAL_MIN: Duration = Duration::from_secs(5);

static GONE: AtomicUsize = AtomicUsize::new(0);

/// An instance is gone.
pub fn instance_gone() {
    GONE.fetch_add(1, Ordering::Relaxed);
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

    /// Trims, if enough instances have gone and it is long ago.
    pub fn tick(&mut self) {
        if GONE.load(Ordering::Relaxed) < INSTANCES_GONE_MIN
            || self.trimmed.elapsed() < INTERVAL_MIN
        {
            return;
        }
        GONE.store(0, Ordering::Relaxed);
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
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators do it by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
