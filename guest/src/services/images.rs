//! Images: who may store, read and delete them, under which keys, and how
//! they are given out.

mod conditions;
mod deletion;
mod delivery;
mod kind;
mod metadata;
mod upload;

use percent_encoding::percent_decode_str;

pub use self::deletion::remove;
pub use self::delivery::deliver;
pub use self::upload::accept;
use super::answer::Form;
use super::{off, wrong_method};
use crate::admission::refusal::Refused;
use crate::admission::{Request, Verdict};
use crate::code::Code;
use crate::config::Config;
use crate::contract::syncline::backend::services::{Object, Response, Service};
use crate::imports::Imports;

/// Where files are uploaded.
const UPLOAD_PATH: &str = "/api/upload-image";

/// Where they are read, with the key behind it.
const IMAGES_PATH: &str = "/api/images/";

/// How every key begins.
const PREFIX: &str = "covers/";

/// How a key may end: as ours do, or as those of a bucket that was there
/// before.
const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "gif", "avif"];

/// The random part of a key that is read. Ours have 32 characters; in a bucket
/// that was there before there may be others.
const KEY_CHARS_MAX: usize = 128;

/// A key as it stands in a URL, where each character can be encoded.
const KEY_PATH_BYTES_MAX: usize = 3 * (KEY_CHARS_MAX + PREFIX.len() + 5);

/// Whether it is a path of this service.
#[must_use]
pub fn is_path(path: &str) -> bool {
    path == UPLOAD_PATH || path.starts_with(IMAGES_PATH)
}

/// The methods of a path.
#[must_use]
pub fn methods(path: &str) -> &'static str {
    if path == UPLOAD_PATH {
        "POST"
    } else {
        "GET, HEAD, DELETE"
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
    let Some(settings) = &config.services.images else {
        return Err(off("images", "it has no object store for them"));
    };
    let Some(path) = request.path.strip_prefix(IMAGES_PATH) else {
        return upload::route(imports, config, settings, request, headers);
    };
    let method = request.method.as_str();
    if !matches!(method, "GET" | "HEAD" | "DELETE") {
        return Err(wrong_method(methods(&request.path)));
    }
    let key = key_of(path)
        .ok_or_else(|| Refused::new(Code::NotFound, "No image has a key like this one."))?;
    let context = if method == "DELETE" {
        deletion::context(imports, config, request, headers)?
    } else {
        delivery::context(request, headers)
    };
    let object = Object {
        context,
        key,
        headers: uncached(headers),
    };
    Ok(Verdict::Serve(if method == "DELETE" {
        Service::Remove(object)
    } else {
        Service::Deliver(object)
    }))
}

/// The key that a path names, if it can be one.
fn key_of(path: &str) -> Option<String> {
    if path.len() > KEY_PATH_BYTES_MAX {
        return None;
    }
    // What cannot be decoded stays as it is, with its `%`, and is none then.
    let key = percent_decode_str(path).decode_utf8().ok()?;
    let (random, extension) = key.strip_prefix(PREFIX)?.split_once('.')?;
    let is_random = (1..=KEY_CHARS_MAX).contains(&random.len())
        && random
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'));
    (is_random && EXTENSIONS.contains(&extension)).then(|| key.into_owned())
}

/// Headers of an answer that says how things are now, and not for ever.
fn uncached(headers: &[(String, String)]) -> Vec<(String, String)> {
    let mut headers = headers.to_vec();
    headers.push(("cache-control".to_owned(), "no-store".to_owned()));
    headers
}

/// A refusal after the request was routed.
fn failure(code: Code, message: &str, headers: &[(String, String)]) -> Response {
    Form::Api.failure(
        code.status(),
        code.as_str(),
        message,
        code.retry_after_ms(),
        &uncached(headers),
    )
}

/// There is no such image.
fn missing(headers: &[(String, String)]) -> Response {
    failure(Code::NotFound, "There is no such image.", headers)
}

/// The object store failed.
fn unavailable(headers: &[(String, String)]) -> Response {
    let code = Code::StorageUnavailable;
    Form::Api.failure(
        503,
        code.as_str(),
        "The images cannot be reached right now. Try again.",
        code.retry_after_ms(),
        &uncached(headers),
    )
}

/// What is said where the configuration cannot be used.
#[must_use]
pub fn unusable() -> Response {
    failure(
        Code::AuthServiceError,
        "The server is not configured correctly. Its log says more.",
        &[],
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
