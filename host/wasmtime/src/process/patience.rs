//! Time as a server may hold it against others: the time in which this
//! process was running. One that was stopped and goes on (SIGSTOP, a paused
//! virtual machine, a laptop that slept) finds in the kernel what clients have
//! sent meanwhile; nobody is silent or late who was not heard.

use std::pin::Pin;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// From a gap of so many milliseconds between two ticks on, the process was
/// stopped: it ticks twenty times as often.
const GAP_MS: u64 = 1_000;

/// What everybody is given to be heard in once the process goes on, in
/// milliseconds: what waits in the kernel has to be read first.
const GRACE_MS: u64 = 5_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time between two ticks that was not ours. Behind one lock: whoever
/// looked while a tick is half told would hold the whole gap against somebody.
static LOST: Mutex<Lost> = Mutex::new(Lost {
    ticked_ms: None,
    lost_ms: 0,
});

struct Lost {
    /// When it ticked last.
    ticked_ms: Option<u64>,
    lost_ms: u64,
}

impl Lost {
    fn tick(&mut self, now_ms: u64) {
        self.lost_ms += self.untold_ms(now_ms);
        self.ticked_ms = Some(now_ms);
    }

    /// From here on nobody ticks: all time counts again.
    fn end(&mut self, now_ms: u64) {
        self.tick(now_ms);
        self.ticked_ms = None;
    }

    /// What the next tick will tell to be lost, in milliseconds.
    fn untold_ms(&self, now_ms: u64) -> u64 {
        let gap = now_ms.saturating_sub(self.ticked_ms.unwrap_or(now_ms));
        if gap > GAP_MS { gap + GRACE_MS } else { 0 }
    }

    /// Of the time up to now, what counts, in milliseconds.
    fn running_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.lost_ms + self.untold_ms(now_ms))
    }
}

/// What is lost, and the time: in this order, since a process that is stopped
/// between the two would know of a gap only half.
fn lost_and_now_ms() -> (MutexGuard<'static, Lost>, u64) {
    let lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    let now_ms = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX);
    (lost, now_ms)
}

/// Says that the process is running: to be called 20 times a second. Until
/// the first call all time counts.
pub fn tick() {
    let (mut lost, now_ms) = lost_and_now_ms();
    lost.tick(now_ms);
}

/// Says that whoever ticked does so no more: a program that goes on without a
/// server was not stopped. Others who tick are heard again with their next.
pub fn end() {
    let (mut lost, now_ms) = lost_and_now_ms();
    lost.end(now_ms);
}

/// A point in the time that counts.
#[derive(Debug, Clone, Copy)]
pub struct Moment(u64);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let (lost, now_ms) = lost_and_now_ms();
        Self(lost.running_ms(now_ms))
    }

    /// What counts of the time since.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Duration::from_millis(Self::now().0.saturating_sub(self.0))
    }

    /// The moment so much later.
    #[must_use]
    pub fn later(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// What is left of `time`, counted from here; `None` when it is over.
    #[must_use]
    pub fn left(self, time: Duration) -> Option<Duration> {
        time.checked_sub(self.elapsed())
            .filter(|left| !left.is_zero())
    }
}

/// The time that somebody may take, for what is polled.
#[derive(Default)]
pub struct Countdown {
    since: Option<Moment>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Countdown {
    /// It runs from now on, if it does not yet.
    pub fn begin(&mut self) {
        self.since.get_or_insert_with(Moment::now);
    }

    /// It does not run any more.
    pub fn stop(&mut self) {
        *self = Self::default();
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.since.is_some()
    }

    /// Ready when it has run for `time`.
    pub fn poll_over(&mut self, task: &mut Context<'_>, time: Duration) -> Poll<()> {
        let Some(since) = self.since else {
            return Poll::Pending;
        };
        loop {
            let Some(left) = since.left(time) else {
                return Poll::Ready(());
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            if timer.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            // Not all of the time that has passed counts.
            timer.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

/// Waits until so much of the time that counts has passed.
pub async fn sleep(time: Duration) {
    let since = Moment::now();
    while let Some(left) = since.left(time) {
        tokio::time::sleep(left).await;
    }
}

/// Gives `future` so much of the time that counts; `None` when it is over.
pub async fn timeout<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = sleep(time) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_the_process_was_stopped_does_not_count() {
        let mut lost = Lost {
            ticked_ms: None,
            lost_ms: 0,
        };
        // Where nobody ticks, all of it does.
        assert_eq!(lost.running_ms(100_000), 100_000);
        for tick in 0..2_000 {
            lost.tick(100_000 + tick * 50);
        }
        let stopped_ms = 100_000 + 1_999 * 50;
        assert_eq!(lost.running_ms(stopped_ms + 50), stopped_ms + 50);
        // An hour later: whoever looks before the tick, and after it.
        let resumed_ms = stopped_ms + 3_600_000;
        assert_eq!(lost.running_ms(resumed_ms), stopped_ms - GRACE_MS);
        lost.tick(resumed_ms);
        assert_eq!(lost.running_ms(resumed_ms), stopped_ms - GRACE_MS);
        lost.tick(resumed_ms + 50);
        assert_eq!(lost.running_ms(resumed_ms + 50), stopped_ms - GRACE_MS + 50);
    }

    #[test]
    fn time_goes_on_when_nobody_ticks_any_more() {
        let mut lost = Lost {
            ticked_ms: None,
            lost_ms: 0,
        };
        lost.tick(1_000);
        lost.tick(1_050);
        lost.end(1_100);
        assert_eq!(lost.running_ms(3_600_000), 3_600_000);
        // Another ticks.
        lost.tick(3_600_000);
        assert_eq!(lost.running_ms(3_600_050), 3_600_050);
        assert_eq!(lost.running_ms(7_200_000), 3_600_000 - GRACE_MS);
    }

    #[tokio::test]
    async fn what_is_there_is_taken_however_late_it_is() {
        let there = std::future::ready(1);
        assert_eq!(timeout(Duration::ZERO, there).await, Some(1));
        let never = std::future::pending::<()>();
        assert_eq!(timeout(Duration::from_millis(1), never).await, None);
    }
}
