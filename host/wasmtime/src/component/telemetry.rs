//! The `telemetry` import: which requests a turn answered, and where its
//! room's subscriptions stand. It is noted here and counts when the turn is
//! durable.

use super::State;
use crate::component::turn::Effect;
use crate::contract::telemetry::{Call, Host, Subscriptions};
use crate::telemetry::traces::{self, remote};

/// Of what the guest calls a request, in bytes: as the contract has it.
const REQUEST_BYTES_MAX: usize = 64;

/// Of the code of a refusal, in bytes: the longest has 22.
const CODE_BYTES_MAX: usize = 64;

/// A text's beginning.
fn cut(mut text: String, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

impl Host for State {
    fn called(&mut self, call: Call) {
        if let Some(turn) = self.turn.as_mut().filter(|_| self.telemetry.is_on()) {
            turn.add(Effect::Called(Box::new(traces::Call {
                connection: call.connection,
                method: call.method,
                request: cut(call.request, REQUEST_BYTES_MAX),
                events: call.events,
                refused: call.refused.map(|code| cut(code, CODE_BYTES_MAX)),
                parent: call.parent.as_ref().and_then(remote),
            })));
        }
    }

    fn subscribed(&mut self, subscriptions: Subscriptions) {
        if let Some(turn) = self.turn.as_mut().filter(|_| self.telemetry.is_on()) {
            turn.add(Effect::Subscribed(subscriptions));
        }
    }

    fn ahead(&mut self) {
        if let Some(turn) = self.turn.as_mut().filter(|_| self.telemetry.is_on()) {
            turn.add(Effect::Ahead);
        }
    }

    fn tokens_used(&mut self, tokens: u64) {
        self.tokens_used = self.tokens_used.saturating_add(tokens);
        if let Some(meters) = self.telemetry.meters() {
            meters.tokens(tokens);
        }
    }
}
