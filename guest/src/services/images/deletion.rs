//! Who may delete an image.

use serde::{Deserialize, Serialize};

use super::{failure, metadata, missing, unavailable, uncached};
use crate::admission::Request;
use crate::admission::refusal::Refused;
use crate::code::Code;
use crate::config::Config;
use crate::contract::exports::syncline::backend::images::{Info, NoObject, Removed, Removing};
use crate::contract::syncline::backend::services::Response;
use crate::imports::Imports;
use crate::services::answer::Form;
use crate::services::caller::Caller;
use crate::services::context_unknown;

/// Roles that may delete what others have uploaded for their workspace.
const ROLES: [&str; 2] = ["owner", "admin"];

/// What `remove` has to know of the request.
#[derive(Serialize, Deserialize)]
struct Context {
    caller: Caller,
    headers: Vec<(String, String)>,
}

/// The context of a request.
///
/// # Errors
/// Why it may not delete anything.
pub fn context(
    imports: &mut impl Imports,
    config: &Config,
    request: &Request,
    headers: &[(String, String)],
) -> Result<String, Refused> {
    let context = Context {
        caller: Caller::of(imports, config, request)?,
        headers: headers.to_vec(),
    };
    Ok(serde_json::to_string(&context).unwrap_or_default())
}

/// `images.remove`.
#[must_use]
pub fn remove(context: &str, object: Result<Info, NoObject>) -> Removed {
    let Ok(Context { caller, headers }) = serde_json::from_str(context) else {
        return Removed::Respond(context_unknown(Form::Api));
    };
    match object {
        Err(NoObject::Missing) => Removed::Respond(missing(&headers)),
        Err(NoObject::Unavailable) => Removed::Respond(unavailable(&headers)),
        Ok(info) if may(&caller, &info.metadata) => Removed::Remove(Removing {
            removed: Response {
                status: 204,
                headers: uncached(&headers),
                body: String::new(),
            },
            failed: unavailable(&headers),
        }),
        Ok(_) => Removed::Respond(failure(
            Code::Forbidden,
            "Only who uploaded an image, or an owner or admin of its workspace, may delete it.",
            &headers,
        )),
    }
}

fn may(caller: &Caller, metadata: &[(String, String)]) -> bool {
    if *caller == Caller::Server {
        return true;
    }
    if metadata::value(metadata, metadata::UPLOADER) == Some(&metadata::uploader(caller)) {
        return true;
    }
    let (Caller::User { workspaces, .. }, Some(workspace)) =
        (caller, metadata::value(metadata, metadata::WORKSPACE))
    else {
        return false;
    };
    workspaces.iter().any(|(id, role)| {
        let is_above = role.as_deref().is_some_and(|role| ROLES.contains(&role));
        is_above && metadata::id_of(id) == workspace
    })
}
