//! What a user may use of the upstream: requests a minute, tokens a day, and
//! calls at once.

use super::fault::Fault;
use super::state::Relay;
use crate::code::Code;
use crate::config::variables::HOST_TELEMETRY;
use crate::imports::{Imports, Level, QuotaDenied};
use crate::services::settings::Llm;

const REQUESTS: &str = "llm-requests";
const TOKENS: &str = "llm-tokens";
const CALLS: &str = "llm-calls";

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// A relay, from `begin` to its end: long enough for a long answer, and an end
/// to what an upstream can keep going.
pub const RELAY_MS_MAX: u64 = 10 * MINUTE_MS;

/// After it a place is free even if nobody gave it back. Longer than a relay
/// takes, with the pauses of its last piece.
const LEASE_MS: u64 = RELAY_MS_MAX + 5 * MINUTE_MS;

/// When a place is worth another try: somebody else's call ends some time, not
/// when its lease does.
const PLACE_RETRY_MS: u64 = 2_000;

/// A token has about so many bytes of English; where the upstream does not say
/// how many it has used, they are estimated.
const TOKEN_BYTES: u64 = 4;

/// More than any call can use: a figure beyond it is wrong, and would cost a
/// user the day.
const TOKENS_MAX: u64 = 10_000_000;

/// Takes a request, looks whether there are tokens left, and holds a place.
///
/// # Errors
/// Which quota is used up.
pub fn take(imports: &mut impl Imports, llm: &Llm, user: &str) -> Result<u64, Fault> {
    let requests = llm.requests_per_minute;
    if requests > 0 {
        imports
            .take(user, REQUESTS, 1, requests, MINUTE_MS)
            .map_err(|denied| {
                let words = format!("You may ask {requests} times a minute. Wait, and ask again.");
                refusal(imports, denied, words, u64::MAX)
            })?;
    }
    let tokens = llm.tokens_per_day;
    if tokens > 0 {
        imports
            .take(user, TOKENS, 0, tokens, DAY_MS)
            .map_err(|denied| {
                let words = format!("You have used the {tokens} tokens that you have a day.");
                refusal(imports, denied, words, u64::MAX)
            })?;
    }
    let calls = llm.streams_max;
    let max = u32::try_from(calls).unwrap_or(u32::MAX);
    imports.hold(user, CALLS, max, LEASE_MS).map_err(|denied| {
        let words = format!("{calls} of your requests are under way. Wait for one to end.");
        refusal(imports, denied, words, PLACE_RETRY_MS)
    })
}

fn refusal(imports: &mut impl Imports, denied: QuotaDenied, words: String, max_ms: u64) -> Fault {
    match denied {
        QuotaDenied::Exhausted { retry_after_ms } => {
            Fault::new(Code::QuotaExceeded, words).after(retry_after_ms.min(max_ms))
        }
        QuotaDenied::Unavailable(why) => {
            imports.log(Level::Error, &format!("quotas cannot be read: {why}"));
            Fault {
                status: 503,
                ..Fault::new(
                    Code::StorageUnavailable,
                    "The server cannot tell what you have used. Try again.",
                )
            }
        }
    }
}

/// Gives back what a relay holds and counts what it has used; once, however
/// often it is called.
pub fn settle(imports: &mut impl Imports, llm: Option<&Llm>, relay: &mut Relay, tokens: u64) {
    let Some(place) = relay.place.take() else {
        return;
    };
    let user = &relay.ticket.user;
    if let Err(why) = imports.let_go(user, CALLS, place) {
        imports.log(Level::Error, &format!("a place is not given back: {why}"));
    }
    if tokens > 0 && imports.env(HOST_TELEMETRY).as_deref() == Some("1") {
        imports.tokens_used(tokens);
    }
    let counts = llm.is_some_and(|llm| llm.tokens_per_day > 0) && tokens > 0;
    if counts && let Err(why) = imports.add(user, TOKENS, tokens.min(TOKENS_MAX), DAY_MS) {
        imports.log(
            Level::Error,
            &format!("{tokens} tokens are not counted: {why}"),
        );
    }
}

/// An estimate of the tokens of so many bytes.
#[must_use]
pub fn estimate(bytes: u64) -> u64 {
    bytes.div_ceil(TOKEN_BYTES)
}

/// An estimate of what a relay has used that was not answered: what it asked,
/// if the upstream was at work.
#[must_use]
pub fn asked(relay: &Relay) -> u64 {
    if relay.is_at_work {
        estimate(relay.request_bytes)
    } else {
        0
    }
}
