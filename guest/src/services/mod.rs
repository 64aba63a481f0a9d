//! The services beside sync: images, the LLM proxy, the app. Each decides by a
//! request's URL and headers what the host is to do, and later by what the
//! host has found; exported as `wit/images.wit` and `wit/relay.wit`.

pub mod answer;
pub mod assets;
pub mod caller;
#[cfg(test)]
mod fake_host;
pub mod images;
pub mod relay;
pub mod settings;

use crate::admission::refusal::Refused;
use crate::admission::{Cause, Decision, Request, Verdict};
use crate::code::Code;
use crate::config::Config;
use crate::contract::syncline::backend::services::Response;
use crate::imports::Imports;

use self::answer::Form;

/// Headers of answers that pages of other origins may read, beside those that
/// they always may.
const EXPOSED_HEADERS: &str = "accept-ranges, content-range, etag, retry-after";

/// Whether a path is a service's, whether or not that is on.
#[must_use]
pub fn is_of_service(path: &str) -> bool {
    images::is_path(path) || relay::is_path(path)
}

/// What becomes of a request that does not sync: `None` where no service wants
/// it. `headers` are those of every answer (CORS).
pub fn route(
    imports: &mut impl Imports,
    config: &Config,
    request: &Request,
    headers: &[(String, String)],
) -> Option<Decision> {
    if !is_of_service(&request.path) {
        return assets::route(config, request, headers).map(|asset| Verdict::Serve(asset).into());
    }
    let mut headers = headers.to_vec();
    headers.push((
        "access-control-expose-headers".to_owned(),
        EXPOSED_HEADERS.to_owned(),
    ));
    let (served, methods) = if images::is_path(&request.path) {
        (
            images::route(imports, config, request, &headers),
            images::methods(&request.path),
        )
    } else {
        (
            relay::route(imports, config, request, &headers),
            relay::methods(&request.path),
        )
    };
    Some(match served {
        Ok(verdict) => verdict.into(),
        Err(refused) => {
            if refused.code == Code::MethodNotAllowed {
                headers.push(("allow".to_owned(), methods.to_owned()));
            }
            headers.push(("cache-control".to_owned(), "no-store".to_owned()));
            Decision {
                verdict: Verdict::Respond(Form::of_path(&request.path).refusal(&refused, &headers)),
                cause: Some(Cause {
                    refused,
                    store_id: None,
                }),
            }
        }
    })
}

/// The media type that a `content-type` names, in lower case, without its
/// parameters.
fn media_type(content_type: Option<&str>) -> String {
    let text = content_type.unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

/// The refusal of a method.
fn wrong_method(methods: &str) -> Refused {
    Refused::new(
        Code::MethodNotAllowed,
        format!("This path is asked with {methods}."),
    )
}

/// What is said to a host that brings a context that is not ours: of another
/// version of the component, while a new one is rolled out.
fn context_unknown(form: Form) -> Response {
    let code = Code::VersionUnknown;
    form.failure(
        code.status(),
        code.as_str(),
        "The server was changed in the middle of this request. Try again.",
        code.retry_after_ms(),
        &[],
    )
}

/// The refusal of a service that is not configured.
fn off(what: &str, how: &str) -> Refused {
    Refused::new(
        Code::NotFound,
        format!("This server serves no {what}: {how} (README, “Services”)."),
    )
}
