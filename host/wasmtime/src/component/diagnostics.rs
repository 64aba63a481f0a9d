//! The `diagnostics` import: the guest's lines in the host's log.

use tracing::{debug, error, info, warn};

use super::State;
use super::bindings::syncline::backend::diagnostics::{Host, Level};

/// A guest's line is cut here: a hostile one must not fill the disk at once.
const MESSAGE_CHARS_MAX: usize = 2_000;

impl Host for State {
    fn log(&mut self, level: Level, message: String) {
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let room = self.name();
        match level {
            Level::Debug => debug!(target: "syncline::guest", room, "{message}"),
            Level::Info => info!(target: "syncline::guest", room, "{message}"),
            Level::Warn => warn!(target: "syncline::guest", room, "{message}"),
            Level::Error => error!(target: "syncline::guest", room, "{message}"),
        }
    }
}
