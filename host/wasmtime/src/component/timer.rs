//! The `timer` import: it is noted here and set when the turn is durable.

use std::time::Duration;

use super::State;
use crate::component::turn::Effect;
use crate::contract::bindings::syncline::backend::timer::Host;

impl Host for State {
    fn wake_after(&mut self, ms: u32) {
        if let Some(turn) = &mut self.turn {
            let ms = ms.min(self.bounds.wake_after_ms_max);
            let after = Duration::from_millis(ms.into());
            turn.add(Effect::WakeAfter(after));
        }
    }
}
