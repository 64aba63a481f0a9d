//! The services beside sync: images, the LLM proxy, the app. Each decides by a
//! request's URL and headers what the host is to do, and later by what the
//! host has found; exported as `wit/images.wit` and `wit/relay.wit`.

pub mod answer;
pub mod assets;
pub mod caller;
pub mod images;
pub mod relay;
pub mod settings;

use crate::admission::refusal::Refused;
use crate::admission::{Cause, Decision, Request, Verdict};
use crate::code::Code;
use crate::config::Config;
use crate::imports::Imports;

use self::answer::Form;

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
    let form = Form::of_path(&request.path);
    let served = if images::is_path(&request.path) {
        images::route(imports, config, request, headers)
    } else if relay::is_path(&request.path) {
        relay::route(imports, config, request, headers)
    } else {
        return assets::route(config, request, headers).map(|asset| Verdict::Serve(asset).into());
    };
    Some(match served {
        Ok(verdict) => verdict.into(),
        Err(refused) => Decision {
            verdict: Verdict::Respond(form.refusal(&refused, headers)),
            cause: Some(Cause {
                refused,
                store_id: None,
            }),
        },
    })
}

/// The refusal of a service that is not configured.
fn off(what: &str, how: &str) -> Refused {
    Refused::new(
        Code::NotFound,
        format!("This server serves no {what}: {how} (README, “Services”)."),
    )
}
