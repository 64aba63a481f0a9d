//! The `diagnostics` import: the guest's lines in the host's log.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::State;
use crate::contract::bindings::syncline::backend::diagnostics::Host;
pub use crate::contract::bindings::syncline::backend::diagnostics::Level;

/// A guest's line is cut here: a hostile one must not fill the disk at once.
pub const MESSAGE_CHARS_MAX: usize = 2_000;

/// What an instance may log in [`PERIOD`]: enough to see what is wrong. A
/// storage that fails is a line for each push.
const LINES_MAX: u32 = 20;

/// How long lines are counted.
const PERIOD: Duration = Duration::from_secs(10);

/// An instance's lines, counted.
pub struct Lines {
    since: Instant,
    count: u32,
    left_out: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
            left_out: 0,
        }
    }
}

/// Whether a line is written.
enum Permit {
    Yes,
    /// It is the first after so many that were not.
    After(u64),
    /// It is the first of those that are not.
    LastWord,
    No,
}

impl Lines {
    fn next(&mut self) -> Permit {
        if self.since.elapsed() > PERIOD {
            let left_out = self.left_out;
            *self = Self {
                count: 1,
                ..Self::default()
            };
            return if left_out > 0 {
                Permit::After(left_out)
            } else {
                Permit::Yes
            };
        }
        if self.count < LINES_MAX {
            self.count += 1;
            return Permit::Yes;
        }
        self.left_out += 1;
        if self.left_out == 1 {
            Permit::LastWord
        } else {
            Permit::No
        }
    }
}

/// Writes a line to the log, if it is not one too many.
pub fn log(lines: &mut Lines, room: &str, level: Level, message: &str) {
    match lines.next() {
        // Whoever wants these wants all of them.
        _ if matches!(level, Level::Debug) => {}
        Permit::Yes => {}
        Permit::After(left_out) => {
            warn!(target: "syncline::guest", event = "guest_line", room, "{left_out} lines were left out");
        }
        Permit::LastWord => {
            warn!(target: "syncline::guest", event = "guest_line", room, "too many lines: some are left out now");
            return;
        }
        Permit::No => return,
    }
    // One line, whatever it holds: nobody writes others' into the log.
    let message: String = message
        .chars()
        .take(MESSAGE_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match level {
        Level::Debug => debug!(target: "syncline::guest", event = "guest_line", room, "{message}"),
        Level::Info => info!(target: "syncline::guest", event = "guest_line", room, "{message}"),
        Level::Warn => warn!(target: "syncline::guest", event = "guest_line", room, "{message}"),
        Level::Error => error!(target: "syncline::guest", event = "guest_line", room, "{message}"),
    }
}

impl Host for State {
    fn log(&mut self, level: Level, message: String) {
        log(&mut self.lines, &self.role.name(), level, &message);
    }
}
