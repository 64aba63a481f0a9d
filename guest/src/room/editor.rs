//! When a client that edits is told of others' events.
//!
//! A 0.4.0 client that has events of its own under way when others' arrive
//! may lose some of them, push a log with a hole, and die of its own
//! duplicates: repaired after 0.4.0 (livestore#1530), and every 0.4.0 client
//! has it. The windows, in `@livestore/common` 0.4.0:
//!
//! - `ClientSessionSyncProcessor.ts`: while a session rebases it waits five
//!   times (`simSleep`); what its app commits between the merge and the
//!   re-offer of what is pending is dropped from the queue to the leader, or
//!   gets before what came first.
//! - `LeaderSyncProcessor.ts`: a batch that the leader takes from a session is
//!   refused if others' events came in between (`LeaderAheadError`), and the
//!   session forgets it until it rebases next. `pushHeadRef` never goes back:
//!   what was rebased by fewer events than the batch had is refused again.
//!
//! A client that only listens, or whose events are all acknowledged, is safe:
//! it advances, and never rebases. So nobody who is quiet waits for anything
//! here; only who has just pulled does once, for 10 ms or for as long as its
//! way is: it may be about to push. Who edits is told of others' events in a
//! pause of its own as far as can be seen, all at once, and as seldom as can
//! be: each rebase among its app's commits is a risk.
//!
//! How far away a client is (its network, its processor) is seen by how long
//! it takes to acknowledge: a far one's pushes are as far apart, and the first
//! takes as long to come. A processor that is taken from it makes each rebase
//! last longer, and is why the tests' clients died on busy machines.
//!
//! A client whose push was refused says nothing until it is told, so whether
//! its app goes on cannot be seen. It is told when the others pause, since
//! people who edit together stop together, and not before the time that a
//! burst of commits takes.

/// How long a gap between pushes ends a burst, in milliseconds: more than a
/// drag's (16 ms) or a typist's (100 ms), with a slow network's jitter.
const BURST_GAP_MS: u64 = 500;

/// How long after its last push of a burst a client is told of others' events,
/// in milliseconds: a typist's next key, if there is one, has come by then.
const PAUSE_MS: u64 = 250;

/// The same of a client whose last push brought several new events, which is
/// how a client looks that commits faster than it pushes.
const PAUSE_AFTER_MANY_MS: u64 = 500;

/// How long a client whose push was refused is left to its app's commits, in
/// milliseconds: 60 commits in 100 ms took 0.4.0 up to 800 ms here. Who has
/// edited for longer is left alone for as long again.
const REFUSED_MS: u64 = 1_000;

/// How long the others have to be quiet before it is told, in milliseconds, at
/// least: for longer if their pushes have been further apart.
const OTHERS_PAUSE_MS: u64 = 400;

/// Pushes that are further apart than this are no burst, in milliseconds: what
/// is between them is a pause.
const OTHERS_GAP_MS_MAX: u64 = 750;

/// How long a client that was told waits for more at most, unless it pushes:
/// until then it is busy with what it was told, in milliseconds.
const TOLD_MS: u64 = 1_000;

/// How long a client that pulls is likely to push what it has, in milliseconds:
/// after a restart of the server all come at once, with what their apps have
/// committed meanwhile.
const COMING_MS: u64 = 2_000;

/// How long it is given to push before it is told for the first time, in
/// milliseconds, if it is near: once in its life. Two that began to commit at
/// once were 1 to 5 ms apart. One that is far away is given longer.
const FIRST_PUSH_MS: u64 = 10;

/// What counts of a client's distance at most, in milliseconds: an Ack that
/// takes longer says that it slept, or that somebody does not want to.
const DISTANCE_MS_MAX: u64 = 250;

/// What it waits for is small, in events and in bytes of their arguments: each
/// that waits is told by itself, and what is large is encoded once for all.
/// A client that begins to commit pushes a few events first.
pub const FIRST_PUSH_EVENTS_MAX: usize = 10;

/// The same, in bytes.
pub const FIRST_PUSH_BYTES_MAX: usize = 16 * 1024;

/// The longest that anybody waits, in milliseconds: a room with a timer cannot
/// hibernate (`wit/timer.wit`).
pub const WAIT_MS_MAX: u64 = 5_000;

/// Others' events that a client is not told of yet.
#[derive(Debug, Clone, Copy)]
pub struct Others {
    /// When the first of them came.
    pub first_at_ms: u64,
    /// When the last of them came.
    pub last_at_ms: u64,
    /// How far two of them of a burst were apart at most, in milliseconds.
    pub gap_ms: u64,
}

impl Others {
    /// Some that came at once.
    #[must_use]
    pub fn of(at_ms: u64) -> Self {
        Self {
            first_at_ms: at_ms,
            last_at_ms: at_ms,
            gap_ms: 0,
        }
    }

    /// Some more came.
    pub fn more(&mut self, at_ms: u64) {
        let gap_ms = at_ms.saturating_sub(self.last_at_ms);
        if gap_ms <= OTHERS_GAP_MS_MAX {
            self.gap_ms = self.gap_ms.max(gap_ms);
        }
        self.last_at_ms = at_ms;
    }

    /// When it is plain that no more come for now.
    fn paused_ms(&self) -> u64 {
        let pause_ms = self.gap_ms.saturating_mul(2);
        self.last_at_ms
            .saturating_add(pause_ms.max(OTHERS_PAUSE_MS))
    }
}

/// What is known of a client's edits: of a connection that has pushed, or is
/// likely to.
#[derive(Debug, Clone)]
pub struct Editor {
    /// Its last push.
    pushed_at_ms: u64,
    /// The first push of its burst.
    burst_from_ms: u64,
    /// How many pushes its burst has.
    burst_pushes: u32,
    /// The events of its last push, without those that were refused before.
    new_events: usize,
    /// The events of its last push, if it was refused.
    refused_events: usize,
    /// How long it took to acknowledge, lately.
    distance_ms: u64,
    /// When it was sent what it has not acknowledged yet.
    asked_at_ms: Option<u64>,
    standing: Standing,
}

/// How it stands to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has pulled, and was neither told of anything nor has pushed yet.
    Coming {
        /// When.
        at_ms: u64,
    },
    /// Its last push landed, if it has pushed: nothing of it is known to be
    /// under way.
    Landed,
    /// Its last push was refused, because others were first.
    Refused {
        /// When.
        at_ms: u64,
    },
    /// It was refused, and was told since of what it lacked. Its next push
    /// says that it has rebased.
    Told {
        /// When.
        at_ms: u64,
    },
}

impl Editor {
    /// A client that pulls, and has not pushed yet.
    #[must_use]
    pub fn coming(now_ms: u64) -> Self {
        Self {
            pushed_at_ms: 0,
            burst_from_ms: 0,
            burst_pushes: 0,
            new_events: 0,
            refused_events: 0,
            distance_ms: 0,
            asked_at_ms: None,
            standing: Standing::Coming { at_ms: now_ms },
        }
    }

    /// It is sent something that it acknowledges.
    pub fn asked(&mut self, now_ms: u64) {
        self.asked_at_ms.get_or_insert(now_ms);
    }

    /// It acknowledges. Whoever was far away once, and answers fast since, is
    /// near again soon.
    pub fn acknowledged(&mut self, now_ms: impl FnOnce() -> u64) {
        if let Some(asked_at_ms) = self.asked_at_ms.take() {
            let distance_ms = now_ms().saturating_sub(asked_at_ms);
            let distance_ms = distance_ms.min(DISTANCE_MS_MAX);
            self.distance_ms = distance_ms.max(self.distance_ms / 2);
        }
    }

    /// It pushes.
    pub fn pushed(&mut self, events: usize, now_ms: u64) {
        let burst_gap_ms = self.with_its_way_ms(BURST_GAP_MS);
        let goes_on = now_ms.saturating_sub(self.pushed_at_ms) <= burst_gap_ms
            && self.standing == Standing::Landed;
        if !goes_on {
            self.burst_from_ms = now_ms;
            self.burst_pushes = 0;
        }
        self.burst_pushes = self.burst_pushes.saturating_add(1);
        self.new_events = events.saturating_sub(self.refused_events);
        self.pushed_at_ms = now_ms;
        self.standing = Standing::Landed;
    }

    /// What it pushed landed.
    pub fn landed(&mut self) {
        self.refused_events = 0;
    }

    /// What it pushed was refused, because others were first.
    pub fn refused(&mut self, events: usize, now_ms: u64) {
        self.refused_events = events;
        self.standing = Standing::Refused { at_ms: now_ms };
    }

    /// It is told all that it lacks. Returns whether it will rebase events of
    /// its own.
    pub fn told(&mut self, now_ms: u64) -> bool {
        match self.standing {
            Standing::Refused { .. } => {
                self.standing = Standing::Told { at_ms: now_ms };
                true
            }
            Standing::Coming { .. } => {
                self.standing = Standing::Landed;
                false
            }
            Standing::Landed | Standing::Told { .. } => false,
        }
    }

    /// Whether it has pulled, and neither was told of anything nor has pushed.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        matches!(self.standing, Standing::Coming { .. })
    }

    /// Whether what is known of it makes no difference any more. What will
    /// only have been, since the clock was set back, makes none.
    #[must_use]
    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        match self.standing {
            Standing::Coming { at_ms } => is_over(at_ms, COMING_MS, now_ms),
            Standing::Landed => {
                let burst_gap_ms = self.with_its_way_ms(BURST_GAP_MS);
                is_over(self.pushed_at_ms, burst_gap_ms, now_ms)
            }
            Standing::Refused { at_ms } | Standing::Told { at_ms } => now_ms < at_ms,
        }
    }

    /// When it may be told of others' events: now, if that is not after now.
    #[must_use]
    pub fn told_from_ms(&self, others: Others) -> u64 {
        match self.standing {
            Standing::Coming { at_ms } if is_over(at_ms, COMING_MS, others.first_at_ms) => 0,
            Standing::Coming { .. } => {
                let first_push_ms = FIRST_PUSH_MS.max(self.with_its_way_ms(0));
                others.first_at_ms.saturating_add(first_push_ms)
            }
            Standing::Refused { at_ms } => {
                let edited_ms = at_ms.saturating_sub(self.burst_from_ms);
                let left_alone_ms = edited_ms.clamp(REFUSED_MS, WAIT_MS_MAX);
                at_ms
                    .saturating_add(left_alone_ms)
                    .max(others.paused_ms())
                    .min(at_ms.saturating_add(WAIT_MS_MAX))
            }
            Standing::Told { at_ms } => at_ms.saturating_add(TOLD_MS),
            // One push is no burst: whoever is asked and answers is told of
            // the answer at once.
            Standing::Landed if self.burst_pushes < 2 => 0,
            Standing::Landed => {
                let pause_ms = if self.new_events < 2 {
                    PAUSE_MS
                } else {
                    PAUSE_AFTER_MANY_MS
                };
                // One whose pushes fail goes on for ever.
                let waited_ms = others.first_at_ms.saturating_add(WAIT_MS_MAX);
                let pause_ms = self.with_its_way_ms(pause_ms);
                self.pushed_at_ms.saturating_add(pause_ms).min(waited_ms)
            }
        }
    }

    /// A time that is long enough for a near client, made so for this one: it
    /// may wander by as much as its way is long.
    fn with_its_way_ms(&self, ms: u64) -> u64 {
        ms.saturating_add(self.distance_ms.saturating_mul(2))
    }
}

/// Whether more than this has passed; so it has if the clock was set back.
fn is_over(since_ms: u64, ms: u64, now_ms: u64) -> bool {
    now_ms
        .checked_sub(since_ms)
        .is_none_or(|passed_ms| passed_ms > ms)
}

/// How long until then, in milliseconds; `None` if it is over. A clock that
/// was set back makes nobody wait longer than anybody does.
#[must_use]
pub fn wait_ms(until_ms: u64, now_ms: u64) -> Option<u64> {
    let wait_ms = until_ms.saturating_sub(now_ms);
    (1..=WAIT_MS_MAX).contains(&wait_ms).then_some(wait_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    /// How long an editor waits for others' events of now.
    fn waits_ms(editor: &Editor, now_ms: u64) -> Option<u64> {
        wait_ms(editor.told_from_ms(Others::of(now_ms)), now_ms)
    }

    /// One that came long before now, and has not pushed.
    fn listening() -> Editor {
        Editor::coming(NOW - COMING_MS - 1)
    }

    fn pushing(pushes: &[(u64, usize)]) -> Editor {
        let mut editor = listening();
        for &(at_ms, events) in pushes {
            editor.pushed(events, NOW + at_ms);
            editor.landed();
        }
        editor
    }

    #[test]
    fn who_is_quiet_does_not_wait() {
        assert_eq!(waits_ms(&listening(), NOW), None);
        let typed = pushing(&[(0, 1), (100, 1), (200, 1)]);
        assert_eq!(waits_ms(&typed, NOW + 200 + PAUSE_MS), None);
        let imported = pushing(&[(0, 50), (20, 50)]);
        assert_eq!(waits_ms(&imported, NOW + 20 + PAUSE_AFTER_MANY_MS), None);
    }

    #[test]
    fn who_comes_may_push_first() {
        let editor = Editor::coming(NOW);
        assert_eq!(waits_ms(&editor, NOW + 1_000), Some(FIRST_PUSH_MS));
        // However fast the others go on.
        let mut others = Others::of(NOW + 1_000);
        others.more(NOW + 1_000 + FIRST_PUSH_MS);
        assert_eq!(
            wait_ms(editor.told_from_ms(others), others.last_at_ms),
            None
        );
        assert!(!editor.is_forgotten(NOW + COMING_MS));
        assert!(editor.is_forgotten(NOW + COMING_MS + 1));
        assert_eq!(waits_ms(&editor, NOW + COMING_MS + 1), None);
        // Once: who was told and did not push only listens.
        let mut told = editor.clone();
        assert!(!told.told(NOW + 1_000 + FIRST_PUSH_MS));
        assert_eq!(waits_ms(&told, NOW + 1_000 + FIRST_PUSH_MS), None);
    }

    #[test]
    fn who_is_far_away_is_given_the_time_that_its_way_takes() {
        let mut coming = Editor::coming(NOW);
        coming.asked(NOW);
        coming.acknowledged(|| NOW + 120);
        assert_eq!(waits_ms(&coming, NOW + 1_000), Some(240));
        // Its pushes wander by as much.
        let mut typist = pushing(&[(0, 1)]);
        typist.asked(NOW);
        typist.acknowledged(|| NOW + 200);
        typist.pushed(1, NOW + BURST_GAP_MS + 400);
        let last = NOW + BURST_GAP_MS + 400;
        assert_eq!(waits_ms(&typist, last), Some(PAUSE_MS + 400));
        assert!(!typist.is_forgotten(last + BURST_GAP_MS + 400));
        assert!(typist.is_forgotten(last + BURST_GAP_MS + 401));
    }

    #[test]
    fn an_ack_that_is_late_on_purpose_delays_nobody_for_long() {
        let mut coming = Editor::coming(NOW);
        coming.asked(NOW);
        coming.acknowledged(|| NOW + 1_900);
        assert_eq!(waits_ms(&coming, NOW + 1_900), Some(2 * DISTANCE_MS_MAX));
        // An Ack that nothing was sent for says nothing.
        coming.acknowledged(|| NOW + 9_000);
        assert_eq!(waits_ms(&coming, NOW + 1_900), Some(2 * DISTANCE_MS_MAX));
        // Who answers fast since is near again.
        for _ in 0..8 {
            coming.asked(NOW + 1_900);
            coming.acknowledged(|| NOW + 1_901);
        }
        assert_eq!(waits_ms(&coming, NOW + 1_900), Some(FIRST_PUSH_MS));
    }

    #[test]
    fn who_was_refused_waits_for_others_whose_pushes_are_far_apart() {
        let mut editor = listening();
        editor.pushed(1, NOW);
        editor.refused(1, NOW);
        let mut others = Others::of(NOW);
        others.more(NOW + 600);
        others.more(NOW + 1_200);
        assert_eq!(
            wait_ms(editor.told_from_ms(others), NOW + 1_200),
            Some(1_200)
        );
        // What is longer is a pause, and says nothing of bursts.
        others.more(NOW + 3_000);
        let waits = wait_ms(editor.told_from_ms(others), NOW + 3_000);
        assert_eq!(waits, Some(1_200));
    }

    #[test]
    fn one_push_is_no_burst() {
        assert_eq!(waits_ms(&pushing(&[(0, 1)]), NOW), None);
        assert_eq!(waits_ms(&pushing(&[(0, 30)]), NOW), None);
        let apart = pushing(&[(0, 1), (BURST_GAP_MS + 1, 1)]);
        assert_eq!(waits_ms(&apart, NOW + BURST_GAP_MS + 1), None);
    }

    #[test]
    fn who_edits_is_told_in_a_pause() {
        let typist = pushing(&[(0, 1), (100, 1)]);
        assert_eq!(waits_ms(&typist, NOW + 100), Some(PAUSE_MS));
        let importer = pushing(&[(0, 10), (100, 50)]);
        assert_eq!(waits_ms(&importer, NOW + 100), Some(PAUSE_AFTER_MANY_MS));
    }

    #[test]
    fn who_was_refused_is_told_when_the_others_pause() {
        let mut editor = listening();
        editor.pushed(1, NOW);
        editor.refused(1, NOW);
        assert_eq!(waits_ms(&editor, NOW), Some(REFUSED_MS));
        let later = NOW + REFUSED_MS;
        assert_eq!(waits_ms(&editor, later), Some(OTHERS_PAUSE_MS));
        assert_eq!(wait_ms(editor.told_from_ms(Others::of(NOW)), later), None);
        // However long they go on.
        let last = NOW + WAIT_MS_MAX - 1;
        assert_eq!(waits_ms(&editor, last), Some(1));
        assert_eq!(waits_ms(&editor, last + 1), None);
    }

    #[test]
    fn who_has_edited_for_long_is_left_alone_for_as_long() {
        let mut editor = listening();
        for at_ms in (0..3_000).step_by(16) {
            editor.pushed(1, NOW + at_ms);
            editor.landed();
        }
        editor.pushed(1, NOW + 3_000);
        editor.refused(1, NOW + 3_000);
        assert_eq!(waits_ms(&editor, NOW + 3_000), Some(3_000));
    }

    #[test]
    fn who_was_told_is_told_no_more_until_it_pushes() {
        let mut editor = listening();
        editor.pushed(1, NOW);
        editor.refused(1, NOW);
        editor.told(NOW + 1_000);
        assert_eq!(waits_ms(&editor, NOW + 1_000), Some(TOLD_MS));
        // It rebased: the same event again, and none besides.
        editor.pushed(1, NOW + 1_100);
        editor.landed();
        assert_eq!(waits_ms(&editor, NOW + 1_100), None);
    }

    #[test]
    fn who_fails_to_push_does_not_wait_for_ever() {
        let editor = pushing(&[(0, 1), (100, 1), (WAIT_MS_MAX - 1, 1), (WAIT_MS_MAX, 1)]);
        let told_from_ms = editor.told_from_ms(Others::of(NOW));
        assert_eq!(wait_ms(told_from_ms, NOW + WAIT_MS_MAX), None);
    }

    #[test]
    fn what_will_only_have_been_is_forgotten() {
        let mut refused = pushing(&[(0, 1)]);
        refused.refused(1, NOW);
        for editor in [Editor::coming(NOW), pushing(&[(0, 1), (1, 1)]), refused] {
            assert!(!editor.is_forgotten(NOW + 1));
            assert!(editor.is_forgotten(NOW - 1));
        }
        assert_eq!(waits_ms(&Editor::coming(NOW), NOW - 1), None);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_for_long() {
        let mut editor = listening();
        editor.pushed(1, NOW);
        editor.refused(1, NOW);
        assert_eq!(
            wait_ms(editor.told_from_ms(Others::of(NOW)), NOW - 3_600_000),
            None
        );
        assert_eq!(wait_ms(editor.told_from_ms(Others::of(NOW)), 0), None);
        assert_eq!(waits_ms(&editor, u64::MAX), None);
    }
}
