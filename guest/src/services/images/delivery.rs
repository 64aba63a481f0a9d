//! How an image is given out: whole, a part of it, or not at all because the
//! client has it.

use serde::{Deserialize, Serialize};

use super::conditions::{Wanted, names, wanted};
use super::kind::Kind;
use super::{metadata, missing, unavailable};
use crate::admission::Request;
use crate::code::Code;
use crate::contract::exports::syncline::backend::images::{
    Delivered, Delivery, Info, NoObject, Part,
};
use crate::contract::syncline::backend::services::{Head, Response};
use crate::services::answer::Form;
use crate::services::context_unknown;

/// A key is of one content for ever.
const CACHED: &str = "public, max-age=31536000, immutable";

/// Opened in a tab, a file that is something else too (an HTML page behind an
/// image's header) loads and runs nothing, and has no origin.
const SECURITY_POLICY: &str = "sandbox; default-src 'none'";

/// What is no image that is known here is for no browser to guess at.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// What `deliver` has to know of the request.
#[derive(Serialize, Deserialize)]
struct Context {
    is_head: bool,
    if_none_match: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
    headers: Vec<(String, String)>,
}

/// The context of a request.
pub fn context(request: &Request, headers: &[(String, String)]) -> String {
    let header = |name| request.header(name).map(str::to_owned);
    let context = Context {
        is_head: request.method == "HEAD",
        if_none_match: header("if-none-match"),
        range: header("range"),
        if_range: header("if-range"),
        headers: headers.to_vec(),
    };
    serde_json::to_string(&context).unwrap_or_default()
}

/// `images.deliver`.
#[must_use]
pub fn deliver(context: &str, object: Result<Info, NoObject>) -> Delivered {
    let Ok(context) = serde_json::from_str::<Context>(context) else {
        return Delivered::Respond(context_unknown(Form::Api));
    };
    let info = match object {
        Ok(info) => info,
        Err(NoObject::Missing) => return Delivered::Respond(missing(&context.headers)),
        Err(NoObject::Unavailable) => return Delivered::Respond(unavailable(&context.headers)),
    };
    // An object that another program has put there has no hash: it is given
    // out whole and as often as it is asked for.
    let etag = metadata::sha256(&info.metadata).map(|hash| format!("\"{hash}\""));
    let mut headers = headers(&context.headers, etag.as_deref());
    if let (Some(etag), Some(tags)) = (&etag, &context.if_none_match)
        && names(tags, etag)
    {
        return Delivered::Respond(Response {
            status: 304,
            headers,
            body: String::new(),
        });
    }
    let mut header = |name: &str, value: String| headers.push((name.to_owned(), value));
    header("content-type", content_type(&info).to_owned());
    if context.is_head {
        // Nothing follows that the host could count.
        header("content-length", info.bytes.to_string());
    }
    let (status, part) = match range(&context, &info, etag.as_deref()) {
        Wanted::Beyond => {
            let mut headers = context.headers.clone();
            headers.push((
                "content-range".to_owned(),
                format!("bytes */{}", info.bytes),
            ));
            headers.push(("cache-control".to_owned(), "no-store".to_owned()));
            return Delivered::Respond(Form::Api.failure(
                416,
                Code::InvalidRequest.as_str(),
                "The image has no such range of bytes.",
                None,
                &headers,
            ));
        }
        Wanted::Part { start, length } => {
            let last = start.saturating_add(length).saturating_sub(1);
            header(
                "content-range",
                format!("bytes {start}-{last}/{}", info.bytes),
            );
            (206, Part { start, length })
        }
        Wanted::All => (
            200,
            Part {
                start: 0,
                length: info.bytes,
            },
        ),
    };
    Delivered::Deliver(Delivery {
        head: Head { status, headers },
        part: (!context.is_head).then_some(part),
    })
}

/// Which bytes are asked for. Ranges are for `GET` alone (RFC 9110, 14.2), and
/// only of what the client has a part of already, if it says so.
fn range(context: &Context, info: &Info, etag: Option<&str>) -> Wanted {
    match (&context.range, &context.if_range) {
        (Some(range), None) if !context.is_head => wanted(range, info.bytes),
        (Some(range), Some(tag)) if !context.is_head && Some(tag.trim()) == etag => {
            wanted(range, info.bytes)
        }
        _ => Wanted::All,
    }
}

/// The headers of whatever shows the image.
fn headers(common: &[(String, String)], etag: Option<&str>) -> Vec<(String, String)> {
    let mut headers = common.to_vec();
    let fixed = [
        ("accept-ranges", "bytes"),
        ("cache-control", CACHED),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", SECURITY_POLICY),
        ("cross-origin-resource-policy", "cross-origin"),
    ];
    let etag = etag.map(|etag| ("etag", etag));
    headers.extend(
        fixed
            .into_iter()
            .chain(etag)
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    headers
}

/// The type that it is given out as: never one that a browser runs.
fn content_type(info: &Info) -> &'static str {
    let mut kinds = Kind::ALL.into_iter().map(Kind::content_type);
    kinds
        .find(|kind| info.content_type.eq_ignore_ascii_case(kind))
        .unwrap_or(UNKNOWN_TYPE)
}
