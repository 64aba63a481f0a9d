//! The delivery policy as clients may rely on it: who may be told late of
//! what others pushed, for how long at most, and whose socket is closed
//! because it never pulled. Reckoned from what the oracle sees of a 0.4
//! socket, not as the guest does it.

use super::coverage::seen;

/// Who has pulled may be about to push, for so long.
const PULLED_MS: u64 = 2_000;

/// What a client's way may add to a time of its own: twice its distance, of
/// which 250 ms count. The oracle does not know it, and so takes it to be far.
const WAY_MS_MAX: u64 = 500;

/// As long as it is given to begin.
const FIRST_PUSH_MS: u64 = 20 + WAY_MS_MAX;

/// A gap between pushes that is longer ends a burst.
const BURST_GAP_MS: u64 = 500 + WAY_MS_MAX;

/// Who was told of what it had waited for is not told more for so long.
const TOLD_MS: u64 = 1_000;

/// The longest wait that the contract allows (`wit/timer.wit`).
const WAIT_MS_MAX: u64 = 5_000;

/// The same of who waits while the clock is set back: until a timer from
/// before is over, and then as long again.
const WAIT_AFTER_CLOCK_SET_MS_MAX: u64 = 2 * WAIT_MS_MAX;

/// How long a client may take to pull when it should have.
const PULL_WAIT_MS: u64 = 1_000;

/// When a turn was, and when the room's clock was last set. Both by a clock
/// that nobody sets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    pub now_ms: u64,
    pub clock_set_ms: Option<u64>,
}

impl Moment {
    /// Whether less than this has passed since.
    fn is_within(self, ms: u64, since_ms: Option<u64>) -> bool {
        since_ms.is_some_and(|since_ms| self.now_ms - since_ms <= ms)
    }

    fn clock_was_set_after(self, ms: u64) -> bool {
        self.clock_set_ms.is_some_and(|at_ms| at_ms >= ms)
    }
}

/// What one 0.4 socket did.
#[derive(Debug, Default)]
pub struct Conduct {
    has_pulled: bool,
    pulled_at_ms: Option<u64>,
    pushed_at_ms: Option<u64>,
    /// How many pushes came without a longer gap.
    burst: u32,
    /// When a push was refused because others were first.
    refused_at_ms: Option<u64>,
    /// When it was told of what it had waited for.
    told_at_ms: Option<u64>,
    /// When it did what only one does that has pulled, and it had not.
    doubted_at_ms: Option<u64>,
    /// Whether that was a push that was refused.
    is_doubted_for_push: bool,
    has_slept: bool,
}

impl Conduct {
    pub fn pulled(&mut self, moment: Moment) {
        if self.doubted_at_ms.take().is_some() {
            seen("a client in doubt pulled");
        } else if !self.has_pulled && self.pushed_at_ms.is_some() {
            seen("a client pulled after it had pushed");
        }
        self.has_pulled = true;
        self.pulled_at_ms = Some(moment.now_ms);
    }

    pub fn pushed(&mut self, moment: Moment) {
        // Who tries again by itself does not wait for a pull.
        if self.is_doubted_for_push {
            self.doubted_at_ms = None;
        }
        let goes_on = moment.is_within(BURST_GAP_MS, self.pushed_at_ms);
        self.burst = if goes_on { self.burst + 1 } else { 1 };
        self.pushed_at_ms = Some(moment.now_ms);
    }

    pub fn refused(&mut self, moment: Moment) {
        self.refused_at_ms = Some(moment.now_ms);
        self.doubt(moment, true);
    }

    /// It acknowledged what it never asked for.
    pub fn acknowledged_nothing(&mut self, moment: Moment) {
        self.doubt(moment, false);
    }

    fn doubt(&mut self, moment: Moment, is_for_push: bool) {
        if !self.has_pulled && self.doubted_at_ms.is_none() {
            self.doubted_at_ms = Some(moment.now_ms);
            self.is_doubted_for_push = is_for_push;
        }
    }

    pub fn told(&mut self, moment: Moment) {
        self.told_at_ms = Some(moment.now_ms);
    }

    /// Another instance of the room goes on.
    pub fn woke(&mut self) {
        self.has_slept = true;
    }

    pub fn is_doubted(&self) -> bool {
        self.doubted_at_ms.is_some()
    }

    /// I3: whether others' events may wait. Those of a quiet client may not.
    pub fn may_wait(&self, moment: Moment) -> bool {
        // The room may think that it is then, for as long as anybody waits.
        let clock_was_set = moment.is_within(WAIT_AFTER_CLOCK_SET_MS_MAX, moment.clock_set_ms);
        clock_was_set
            || moment.is_within(PULLED_MS, self.pulled_at_ms)
            || moment.is_within(WAIT_MS_MAX, self.refused_at_ms)
            || moment.is_within(TOLD_MS, self.told_at_ms)
            || (self.burst > 1 && moment.is_within(BURST_GAP_MS, self.pushed_at_ms))
    }

    /// Whether what waits since then has waited long enough.
    pub fn has_waited(&self, since_ms: u64, moment: Moment) -> bool {
        if moment.clock_was_set_after(since_ms) {
            let begin_ms = moment.clock_set_ms.max(self.pushed_at_ms);
            return !moment.is_within(WAIT_AFTER_CLOCK_SET_MS_MAX, begin_ms);
        }
        let until_ms = match self.pushed_at_ms {
            None => since_ms + FIRST_PUSH_MS,
            // A client that goes on pushing, and is refused, goes on.
            Some(pushed_at_ms) => since_ms.max(pushed_at_ms) + WAIT_MS_MAX,
        };
        moment.now_ms >= until_ms
    }

    /// Checks a close because it never pulled.
    pub fn closed(&self, moment: Moment) {
        let since_ms = self.doubted_at_ms.expect("I9: closed although it pulled");
        let was_set = moment.clock_was_set_after(since_ms);
        assert!(
            moment.now_ms - since_ms >= PULL_WAIT_MS || was_set || self.has_slept,
            "I9: closed before it could pull"
        );
        seen("a socket that never pulled was closed");
    }

    /// Checks a turn's end: a client that would wait for ever is closed.
    pub fn turn_ended(&self, moment: Moment) {
        let Some(since_ms) = self.doubted_at_ms else {
            return;
        };
        let has_waited = match moment.clock_set_ms.filter(|&at_ms| at_ms >= since_ms) {
            Some(at_ms) => !moment.is_within(WAIT_AFTER_CLOCK_SET_MS_MAX, Some(at_ms)),
            None => moment.now_ms - since_ms >= PULL_WAIT_MS,
        };
        assert!(!has_waited, "a socket that never pulled is left open");
    }
}
