//! The LLM proxy.

use crate::admission::refusal::Refused;
use crate::admission::{Request, Verdict};
use crate::config::Config;
use crate::contract::exports::syncline::backend::relay::{Ending, Failure, Passed, Reading, Step};
use crate::contract::syncline::backend::services::Response;
use crate::imports::Imports;

use super::images::unusable;

/// Whether it is a path of this service.
#[must_use]
pub fn is_path(path: &str) -> bool {
    matches!(
        path,
        "/v1/chat/completions" | "/v1/models" | "/api/llm/chat"
    )
}

/// The methods of a path.
#[must_use]
pub fn methods(path: &str) -> &'static str {
    if path == "/v1/models" {
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
    _imports: &mut impl Imports,
    _config: &Config,
    _request: &Request,
    _headers: &[(String, String)],
) -> Result<Verdict, Refused> {
    Err(super::off("LLM", "to be built"))
}

/// `relay.begin`.
pub fn begin(
    _imports: &mut impl Imports,
    _config: &Config,
    _context: &str,
    _body: Option<&[u8]>,
) -> Step {
    Step::Respond(unusable())
}

/// `relay.again`.
pub fn again(_imports: &mut impl Imports, _config: &Config, _context: &[u8]) -> Step {
    Step::Respond(unusable())
}

/// `relay.failed`.
pub fn failed(_imports: &mut impl Imports, _context: &[u8], _failure: Failure) -> Step {
    Step::Respond(unusable())
}

/// `relay.head-arrived`.
pub fn head_arrived(
    _imports: &mut impl Imports,
    _context: &[u8],
    _status: u16,
    _headers: &[(String, String)],
) -> Reading {
    Reading::Respond(unusable())
}

/// `relay.answer`.
pub fn answer(_imports: &mut impl Imports, _context: &[u8], _body: Option<&[u8]>) -> Response {
    unusable()
}

/// `relay.piece`.
pub fn piece(_imports: &mut impl Imports, context: &[u8], _bytes: &[u8]) -> Passed {
    Passed {
        context: context.to_vec(),
        output: Vec::new(),
        is_last: true,
    }
}

/// `relay.end`.
pub fn end(_imports: &mut impl Imports, _context: &[u8], _ending: Ending) -> Vec<u8> {
    Vec::new()
}
