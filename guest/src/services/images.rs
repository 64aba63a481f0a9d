//! Images.

use crate::admission::refusal::Refused;
use crate::admission::{Request, Verdict};
use crate::code::Code;
use crate::config::Config;
use crate::contract::exports::syncline::backend::images::{
    Accepted, Delivered, Info, NoObject, Parts, Removed, UploadError,
};
use crate::contract::syncline::backend::services::Response;
use crate::imports::Imports;

use super::answer::Form;

/// Whether it is a path of this service.
#[must_use]
pub fn is_path(path: &str) -> bool {
    path == "/api/upload-image" || path.starts_with("/api/images/")
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
    Err(super::off("images", "to be built"))
}

/// What is said where the configuration cannot be used.
#[must_use]
pub fn unusable() -> Response {
    Form::Api.failure(
        503,
        Code::AuthServiceError.as_str(),
        "The server is not configured correctly. Its log says more.",
        None,
        &[],
    )
}

/// `images.accept`.
pub fn accept(
    _imports: &mut impl Imports,
    _config: &Config,
    _context: &str,
    _body: Result<Parts, UploadError>,
) -> Accepted {
    Accepted::Respond(unusable())
}

/// `images.deliver`.
#[must_use]
pub fn deliver(_context: &str, _object: Result<Info, NoObject>) -> Delivered {
    Delivered::Respond(unusable())
}

/// `images.remove`.
#[must_use]
pub fn remove(_context: &str, _object: Result<Info, NoObject>) -> Removed {
    Removed::Respond(unusable())
}
