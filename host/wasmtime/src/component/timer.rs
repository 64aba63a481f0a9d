//! The `timer` import: it is noted here and set when the turn is durable.

use std::time::Duration;

use super::State;
use crate::component::turn::Effect;
use crate::contract::bindings::syncline::backend::timer::Host;

/// The longest a room may ask for.
const WAKE_AFTER_MAX: Duration = Duration::from_secs(5);

impl Host for State {
    fn wake_after(&mut self, ms: u32) {
        if let Some(turn) = &mut self.turn {
            let after = Duration::from_millis(ms.into()).min(WAKE_AFTER_MAX);
            turn.add(Effect::WakeAfter(after));
        }
    }
}
