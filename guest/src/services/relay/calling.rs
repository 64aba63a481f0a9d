//! The steps until the upstream's answer begins.

use super::fault::Fault;
use super::quota::{self, RELAY_MS_MAX, settle};
use super::retry::{self, Again};
use super::state::{Phase, Relay, Ticket};
use super::{REQUEST_BYTES_MAX, asking, chat};
use crate::clock;
use crate::code::Code;
use crate::contract::exports::syncline::backend::relay::{BodyFault, Call, Failure, Step, Wait};
use crate::imports::{Imports, Level};
use crate::services::answer::Form;
use crate::services::settings::Llm;

/// `relay.begin`.
pub fn begin(
    imports: &mut impl Imports,
    llm: &Llm,
    ticket: Ticket,
    body: Result<Vec<u8>, BodyFault>,
) -> Step {
    match begun(imports, llm, &ticket, body) {
        Err(fault) => Step::Respond(ticket.failure(&fault)),
        Ok((asked, place)) => {
            let relay = Relay {
                is_stream: asked.is_stream,
                wants_usage: asked.wants_usage,
                place: Some(place),
                until_ms: clock::milliseconds(imports).saturating_add(RELAY_MS_MAX),
                tries: 0,
                is_at_work: false,
                request_bytes: u64::try_from(asked.body.len()).unwrap_or(u64::MAX),
                phase: Phase::Calling,
                ticket,
            };
            call(imports, llm, relay, &asked.body)
        }
    }
}

fn begun(
    imports: &mut impl Imports,
    llm: &Llm,
    ticket: &Ticket,
    body: Result<Vec<u8>, BodyFault>,
) -> Result<(asking::Asked, u64), Fault> {
    let body = body.map_err(unread)?;
    if body.len() > REQUEST_BYTES_MAX {
        return Err(Fault::new(
            Code::BodyTooLarge,
            format!("The request is too large: at most {REQUEST_BYTES_MAX} bytes are taken."),
        ));
    }
    let asked = match ticket.form {
        Form::OpenAi => asking::read(llm, &body),
        Form::Api => chat::read(llm, &body),
    }?;
    let place = quota::take(imports, llm, &ticket.user)?;
    Ok((asked, place))
}

/// Why there is no body.
fn unread(fault: BodyFault) -> Fault {
    match fault {
        BodyFault::TooSlow => Fault::new(
            Code::BodyTimeout,
            "The request did not arrive in time. Try again.",
        ),
        BodyFault::Busy => Fault::new(
            Code::Overloaded,
            "Too many requests are under way. Wait, and try again.",
        ),
        BodyFault::Broken => Fault::invalid("The request ended before its end. Send it again."),
    }
}

/// `relay.again`.
pub fn again(imports: &mut impl Imports, llm: &Llm, relay: Relay, body: &[u8]) -> Step {
    call(imports, llm, relay, body)
}

/// Calls the upstream: always the configured one, with the server's key.
fn call(imports: &mut impl Imports, llm: &Llm, mut relay: Relay, body: &[u8]) -> Step {
    let left_ms = relay.until_ms.saturating_sub(clock::milliseconds(imports));
    let left_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
    if left_ms == 0 {
        let fault = too_late();
        return Step::Respond(give_up(imports, llm, relay, 0, &fault));
    }
    relay.tries = relay.tries.saturating_add(1);
    relay.is_at_work = true;
    let accept = if relay.is_stream {
        "text/event-stream"
    } else {
        "application/json"
    };
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("accept".to_owned(), accept.to_owned()),
    ];
    if let Some(key) = &llm.key {
        headers.push(("authorization".to_owned(), format!("Bearer {key}")));
    }
    if let Some(project) = &llm.braintrust_project_id {
        headers.push(("x-bt-parent".to_owned(), format!("project_id:{project}")));
    }
    Step::Call(Call {
        context: relay.pack(&[body]),
        url: llm.url.clone(),
        headers,
        body: body.to_vec(),
        connect_timeout_ms: llm.connect_timeout_ms.min(left_ms),
        head_timeout_ms: llm.head_timeout_ms.min(left_ms),
        idle_timeout_ms: llm.idle_timeout_ms,
    })
}

/// `relay.failed`.
pub fn failed(
    imports: &mut impl Imports,
    llm: &Llm,
    mut relay: Relay,
    body: &[u8],
    failure: Failure,
) -> Step {
    let words = match failure {
        Failure::Unreachable => "no connection",
        Failure::Silent => "no answer in time",
        Failure::Broken => "the connection broke",
    };
    let tries = relay.tries;
    imports.log(
        Level::Warn,
        &format!("call {tries} of the LLM upstream failed: {words}"),
    );
    if failure == Failure::Silent {
        // It may be at work still, and another call would cost as much again.
        let tokens = quota::asked(&relay);
        return Step::Respond(give_up(imports, llm, relay, tokens, &too_late()));
    }
    match retry::again(imports, relay.tries, None, relay.until_ms) {
        Again::After(ms) => Step::Wait(pause(&mut relay, body, ms)),
        Again::Not { .. } => {
            let fault = Fault::new(
                Code::UpstreamUnreachable,
                "The upstream cannot be reached. Try again later.",
            );
            Step::Respond(give_up(imports, llm, relay, 0, &fault))
        }
    }
}

/// A pause before the next call.
pub fn pause(relay: &mut Relay, body: &[u8], ms: u64) -> Wait {
    relay.is_at_work = false;
    Wait {
        context: relay.pack(&[body]),
        after_ms: u32::try_from(ms).unwrap_or(u32::MAX),
    }
}

/// Ends a relay with an error that it is answered with.
pub fn give_up(
    imports: &mut impl Imports,
    llm: &Llm,
    mut relay: Relay,
    tokens: u64,
    fault: &Fault,
) -> crate::contract::syncline::backend::services::Response {
    settle(imports, Some(llm), &mut relay, tokens);
    relay.failure(fault)
}

fn too_late() -> Fault {
    Fault::new(
        Code::UpstreamTimeout,
        "The upstream did not answer in time. Try again, or ask for less.",
    )
}
