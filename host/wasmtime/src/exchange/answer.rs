//! Answers to HTTP requests, whoever makes them.

use std::error::Error;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};

use crate::contract;

/// Why a body broke off.
pub type BrokenOff = Box<dyn Error + Send + Sync>;

/// An answer's body. One that fails is cut off, so that nobody takes it for
/// the whole.
pub type Body = UnsyncBoxBody<Bytes, BrokenOff>;

/// An answer.
pub type Response = hyper::Response<Body>;

/// An answer that the guest has made.
#[must_use]
pub fn http_response(answer: contract::Response) -> Response {
    with_head(status_of(answer.status), answer.headers, answer.body)
}

/// A status, if it is one; 500 if not.
#[must_use]
pub fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A body that is there.
#[must_use]
pub fn body_of(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer whose body is there.
#[must_use]
pub fn with_head(
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: impl Into<Bytes>,
) -> Response {
    response(status, headers, body_of(body))
}

/// An answer. Headers that are none are left out.
#[must_use]
pub fn response(status: StatusCode, headers: Vec<(String, String)>, body: Body) -> Response {
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
