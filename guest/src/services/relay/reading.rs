//! The upstream's answer: its head, and all of it where it is no stream.

use super::calling::{give_up, pause};
use super::completion::{Completion, ToolCalls, error_words};
use super::fault::Fault;
use super::fields::quoted;
use super::quota::{asked, estimate, settle};
use super::retry::{self, Again};
use super::secret;
use super::state::{Phase, Relay};
use super::stream::Stream;
use crate::code::Code;
use crate::contract::exports::syncline::backend::relay::{Collecting, Reading, Streaming};
use crate::contract::syncline::backend::services::{Head, Response};
use crate::imports::{Imports, Level};
use crate::protocol::strict;
use crate::services::answer::Form;
use crate::services::media_type;
use crate::services::settings::Llm;

/// An answer of success that is read whole: more than any model says at once.
const ANSWER_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// One that refuses, of which the words are looked for.
const REFUSAL_BYTES_MAX: u32 = 64 * 1024;

/// A stream's media type.
const EVENT_STREAM: &str = "text/event-stream";

/// `relay.head-arrived`.
pub fn head_arrived(
    imports: &mut impl Imports,
    llm: &Llm,
    mut relay: Relay,
    body: &[u8],
    status: u16,
    headers: &[(String, String)],
) -> Reading {
    let mut named = headers.iter();
    let content_type = named
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.as_str());
    let is_events = media_type(content_type) == EVENT_STREAM;
    match status {
        200 if is_events && relay.is_stream => {
            relay.phase = Phase::Streaming(Stream::default());
            let mut headers = relay.ticket.headers_of(Some(EVENT_STREAM));
            // nginx would gather it.
            headers.push(("x-accel-buffering".to_owned(), "no".to_owned()));
            Reading::Stream(Streaming {
                context: relay.pack(&[]),
                head: Head {
                    status: 200,
                    headers,
                },
            })
        }
        200 if is_events != relay.is_stream => {
            let asked_for = if relay.is_stream {
                "a stream"
            } else {
                "no stream"
            };
            imports.log(
                Level::Error,
                &format!("the LLM upstream was asked for {asked_for}, and answers otherwise"),
            );
            let tokens = asked(&relay);
            let fault =
                Fault::upstream("The upstream does not answer in the form that it was asked for.");
            Reading::Respond(give_up(imports, llm, relay, tokens, &fault))
        }
        200 => {
            relay.phase = Phase::Collecting;
            collect(&relay, ANSWER_BYTES_MAX)
        }
        408 | 429 | 500..=599 => busy(imports, llm, relay, body, status, headers),
        401 | 403 => {
            imports.log(
                Level::Error,
                &format!("the LLM upstream refuses the server's key ({status}): set another one"),
            );
            let fault =
                Fault::upstream("The upstream refuses the server's key. Tell its operator.");
            Reading::Respond(give_up(imports, llm, relay, 0, &fault))
        }
        400..=499 => {
            relay.phase = Phase::Refused { status };
            collect(&relay, REFUSAL_BYTES_MAX)
        }
        _ => {
            let what = if (300..=399).contains(&status) {
                "redirects, which is not followed: set the URL that it leads to"
            } else {
                "answers with a status that makes no sense here"
            };
            imports.log(Level::Error, &format!("the LLM upstream {what} ({status})"));
            let fault = Fault::upstream("The upstream's answer makes no sense. Tell the operator.");
            Reading::Respond(give_up(imports, llm, relay, 0, &fault))
        }
    }
}

fn collect(relay: &Relay, bytes_max: u32) -> Reading {
    Reading::Collect(Collecting {
        context: relay.pack(&[]),
        bytes_max,
    })
}

/// An upstream that takes no more for now, or fails.
fn busy(
    imports: &mut impl Imports,
    llm: &Llm,
    mut relay: Relay,
    body: &[u8],
    status: u16,
    headers: &[(String, String)],
) -> Reading {
    let tries = relay.tries;
    imports.log(
        Level::Warn,
        &format!("call {tries} of the LLM upstream was answered {status}"),
    );
    let asked_ms = retry::asked_ms(imports, headers);
    match retry::again(imports, tries, asked_ms, relay.until_ms) {
        Again::After(ms) => Reading::Wait(pause(&mut relay, body, ms)),
        Again::Not { retry_after_ms } => {
            let fault = Fault::new(
                Code::UpstreamBusy,
                "The upstream takes no more requests right now. Wait, and try again.",
            )
            .after(retry_after_ms);
            Reading::Respond(give_up(imports, llm, relay, 0, &fault))
        }
    }
}

/// `relay.answer`.
pub fn answer(
    imports: &mut impl Imports,
    llm: &Llm,
    mut relay: Relay,
    body: Option<&[u8]>,
) -> Response {
    if let Phase::Refused { status } = relay.phase {
        let fault = refused(llm, status, body);
        return give_up(imports, llm, relay, 0, &fault);
    }
    let (tokens, answer) = match body {
        None => (
            asked(&relay),
            Err(Fault::upstream(
                "The upstream's answer broke off, stalled, or is larger than any may be. Ask again, or for less.",
            )),
        ),
        Some(body) => completed(llm, &relay, body),
    };
    match answer {
        Ok(body) => {
            settle(imports, Some(llm), &mut relay, tokens);
            Response {
                status: 200,
                headers: relay.ticket.headers_of(Some("application/json")),
                body,
            }
        }
        Err(fault) => {
            imports.log(
                Level::Warn,
                "the LLM upstream's answer could not be passed on",
            );
            give_up(imports, llm, relay, tokens, &fault)
        }
    }
}

/// A refusal that is about what the client has asked.
fn refused(llm: &Llm, status: u16, body: Option<&[u8]>) -> Fault {
    #[derive(serde::Deserialize)]
    struct Refusal<'a> {
        #[serde(borrow)]
        error: Option<&'a serde_json::value::RawValue>,
    }
    let words = body
        .and_then(|body| strict::object::<Refusal<'_>>(body).ok())
        .and_then(|refusal| error_words(refusal.error?));
    let message = match words {
        Some(words) => format!("The upstream refuses: {}", secret::words(llm, &words)),
        None => format!("The upstream refuses the request ({status})."),
    };
    Fault {
        status,
        ..Fault::invalid(message)
    }
}

/// What an answer cost, and what it becomes.
fn completed(llm: &Llm, relay: &Relay, body: &[u8]) -> (u64, Result<String, Fault>) {
    let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let by_size = estimate(relay.request_bytes.saturating_add(bytes));
    let junk = || Fault::upstream("The upstream's answer makes no sense. Ask again.");
    let Ok(text) = std::str::from_utf8(body) else {
        return (asked(relay), Err(junk()));
    };
    let Ok(completion) = strict::object::<Completion<'_>>(body) else {
        return (asked(relay), Err(junk()));
    };
    let tokens = completion.tokens();
    if completion.error.is_some() {
        let words = completion.error_words().unwrap_or_default();
        let fault = Fault::upstream(format!(
            "The upstream failed. It says: {}",
            secret::words(llm, &words)
        ));
        return (tokens.unwrap_or_else(|| asked(relay)), Err(fault));
    }
    let Some(choice) = completion.choice() else {
        return (tokens.unwrap_or_else(|| asked(relay)), Err(junk()));
    };
    let answer = match relay.ticket.form {
        Form::OpenAi => Ok(secret::hidden(llm, text).into_owned()),
        Form::Api => choice
            .message
            .as_ref()
            .and_then(|message| {
                let text = message.0.text()?;
                let mut calls = ToolCalls::default();
                let are_few = message
                    .0
                    .tool_calls()?
                    .into_iter()
                    .enumerate()
                    .all(|(index, call)| calls.add(call.at(index)));
                let calls = calls.json().filter(|_| are_few)?;
                let text = quoted(&secret::hidden(llm, &text));
                let calls = secret::hidden(llm, &calls);
                Some(format!(r#"{{"message":{text},"toolCalls":{calls}}}"#))
            })
            .ok_or_else(junk),
    };
    (tokens.unwrap_or(by_size), answer)
}
