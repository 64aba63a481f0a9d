//! The LLM proxy: who may ask, what is asked of the upstream, and what its
//! answer becomes. The host calls and streams; all that it has to know to go on
//! is in a context ([`state`]).

mod asking;
mod calling;
mod chat;
mod completion;
mod fault;
mod fields;
mod quota;
mod reading;
mod retry;
mod secret;
mod sse;
mod state;
mod stream;

use serde_json::json;

use self::quota::{asked, settle};
use self::state::{Phase, Relay, Ticket};
pub use self::stream::nothing_more;
use super::answer::Form;
use super::caller::Caller;
use super::settings::Llm;
use super::{context_unknown, media_type, off, wrong_method};
use crate::admission::refusal::Refused;
use crate::admission::{Request, Response as Answer, Verdict};
use crate::code::Code;
use crate::config::Config;
use crate::contract::exports::syncline::backend::relay::{
    BodyFault, Ending, Failure, Passed, Reading, Step,
};
use crate::contract::syncline::backend::services::{Relay as Relayed, Response, Service};
use crate::imports::Imports;

/// A request: conversations of a million characters are none.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Where models are listed.
const MODELS_PATH: &str = "/v1/models";

/// Whether it is a path of this service.
#[must_use]
pub fn is_path(path: &str) -> bool {
    matches!(path, "/v1/chat/completions" | "/api/llm/chat" | MODELS_PATH)
}

/// The methods of a path.
#[must_use]
pub fn methods(path: &str) -> &'static str {
    if path == MODELS_PATH {
        "GET, HEAD"
    } else {
        "POST"
    }
}

/// What becomes of a request.
///
/// # Errors
/// Why it is refused.
pub fn route(
    imports: &mut impl Imports,
    config: &Config,
    request: &Request,
    headers: &[(String, String)],
) -> Result<Verdict, Refused> {
    let Some(llm) = &config.services.llm else {
        return Err(off("LLM", "set LLM_BASE_URL, or BRAINTRUST_API_KEY"));
    };
    let methods = methods(&request.path);
    if !methods.split(", ").any(|it| it == request.method) {
        return Err(wrong_method(methods));
    }
    if request.path == MODELS_PATH {
        Caller::of(imports, config, request)?;
        return Ok(Verdict::Respond(models(llm, headers)));
    }
    // A page of another website can send a form or a text without being asked
    // (no preflight), and so spend a development server's key.
    if media_type(request.header("content-type")) != "application/json" {
        return Err(Refused::new(
            Code::UnsupportedMediaType,
            "The body has to be JSON, with `content-type: application/json`.",
        ));
    }
    let ticket = Ticket {
        form: Form::of_path(&request.path),
        user: quota_user(&Caller::of(imports, config, request)?),
        headers: headers.to_vec(),
    };
    Ok(Verdict::Serve(Service::Relay(Relayed {
        context: serde_json::to_string(&ticket).unwrap_or_default(),
        body_bytes_max: u32::try_from(REQUEST_BYTES_MAX).unwrap_or(u32::MAX),
        headers: ticket.headers_of(None),
    })))
}

/// Whose quotas a caller uses; no user's id is another kind's name.
fn quota_user(caller: &Caller) -> String {
    match caller {
        Caller::User { id, .. } => format!("user:{id}"),
        Caller::Server | Caller::Anonymous => caller.name().to_owned(),
    }
}

/// OpenAI's list of the models that may be asked.
fn models(llm: &Llm, headers: &[(String, String)]) -> Answer {
    let models: Vec<_> = llm
        .models
        .iter()
        .map(|id| json!({ "id": id, "object": "model", "created": 0, "owned_by": "upstream" }))
        .collect();
    let mut headers = headers.to_vec();
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    headers.push(("cache-control".to_owned(), "no-store".to_owned()));
    Answer {
        status: 200,
        headers,
        body: json!({ "object": "list", "data": models }).to_string(),
    }
}

/// What a step needs: the settings, the state, and what is behind it. `None`
/// for a context that is not ours, or is of another step.
fn resumed<'a>(config: &'a Config, context: &'a [u8]) -> Option<(&'a Llm, Relay, &'a [u8])> {
    let llm = config.services.llm.as_ref()?;
    let (relay, behind) = Relay::unpack(context)?;
    Some((llm, relay, behind))
}

fn is_calling(relay: &Relay) -> bool {
    matches!(relay.phase, Phase::Calling)
}

/// `relay.begin`.
pub fn begin(
    imports: &mut impl Imports,
    config: &Config,
    context: &str,
    body: Result<Vec<u8>, BodyFault>,
) -> Step {
    match (
        &config.services.llm,
        serde_json::from_str::<Ticket>(context),
    ) {
        (Some(llm), Ok(ticket)) => calling::begin(imports, llm, ticket, body),
        _ => Step::Respond(context_unknown(Form::Api)),
    }
}

/// `relay.again`.
pub fn again(imports: &mut impl Imports, config: &Config, context: &[u8]) -> Step {
    match resumed(config, context) {
        Some((llm, relay, body)) if is_calling(&relay) => calling::again(imports, llm, relay, body),
        other => Step::Respond(lost(imports, other)),
    }
}

/// `relay.failed`.
pub fn failed(
    imports: &mut impl Imports,
    config: &Config,
    context: &[u8],
    failure: Failure,
) -> Step {
    match resumed(config, context) {
        Some((llm, relay, body)) if is_calling(&relay) => {
            calling::failed(imports, llm, relay, body, failure)
        }
        other => Step::Respond(lost(imports, other)),
    }
}

/// `relay.head-arrived`.
pub fn head_arrived(
    imports: &mut impl Imports,
    config: &Config,
    context: &[u8],
    status: u16,
    headers: &[(String, String)],
) -> Reading {
    match resumed(config, context) {
        Some((llm, relay, body)) if is_calling(&relay) => {
            reading::head_arrived(imports, llm, relay, body, status, headers)
        }
        other => Reading::Respond(lost(imports, other)),
    }
}

/// `relay.answer`.
pub fn answer(
    imports: &mut impl Imports,
    config: &Config,
    context: &[u8],
    body: Option<&[u8]>,
) -> Response {
    match resumed(config, context) {
        Some((llm, relay, _))
            if matches!(relay.phase, Phase::Collecting | Phase::Refused { .. }) =>
        {
            reading::answer(imports, llm, relay, body)
        }
        other => lost(imports, other),
    }
}

/// `relay.piece`.
pub fn piece(imports: &mut impl Imports, config: &Config, context: &[u8], bytes: &[u8]) -> Passed {
    match resumed(config, context) {
        Some((llm, relay, behind)) if matches!(relay.phase, Phase::Streaming(_)) => {
            stream::piece(imports, llm, relay, behind, bytes)
        }
        other => {
            lost(imports, other);
            nothing_more()
        }
    }
}

/// `relay.end`.
pub fn end(imports: &mut impl Imports, config: &Config, context: &[u8], ending: Ending) -> Vec<u8> {
    match resumed(config, context) {
        Some((llm, relay, behind)) if matches!(relay.phase, Phase::Streaming(_)) => {
            stream::end(imports, llm, relay, behind, ending)
        }
        // Nobody waits for what was asked.
        Some((llm, mut relay, _)) => {
            let tokens = asked(&relay);
            settle(imports, Some(llm), &mut relay, tokens);
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// The answer where a step comes that does not fit; what is held is given back.
fn lost(imports: &mut impl Imports, resumed: Option<(&Llm, Relay, &[u8])>) -> Response {
    let Some((llm, mut relay, _)) = resumed else {
        return context_unknown(Form::Api);
    };
    let tokens = asked(&relay);
    settle(imports, Some(llm), &mut relay, tokens);
    context_unknown(relay.ticket.form)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
