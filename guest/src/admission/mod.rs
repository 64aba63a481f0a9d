//! The gateway: which request may enter which store's room, and what every
//! other request is told. Exported as `wit/gateway.wit`.

pub mod about;
mod authentication;
mod decision;
pub mod origin;
mod params;
pub mod refusal;
pub mod token;

use percent_encoding::percent_decode_str;

pub use self::decision::{Cause, Decision, Denial};
use self::params::Params;
use self::refusal::{Refused, json_body};
use crate::code::Code;
use crate::config::{Config, ConfigError};
use crate::contract::syncline::backend::services::Service;
use crate::imports::{Imports, Level};
use crate::limits::PRINCIPAL_BYTES_MAX;
use crate::principal::Principal;
use crate::protocol::{Carrier, Dialect, Speech, do_rpc, keep_alive};
use crate::services;

/// An HTTP request, as far as admission looks at it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// The URL's path.
    pub path: String,
    /// What follows `?`.
    pub query: Option<String>,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whether it asks to become a WebSocket.
    pub upgrade: bool,
}

impl Request {
    /// A header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The headers that admission looks at.
pub const HEADERS_READ: [&str; 11] = [
    "origin",
    "host",
    "access-control-request-headers",
    "accept",
    "authorization",
    "content-type",
    "if-none-match",
    "if-range",
    "range",
    "sec-fetch-mode",
    "sec-fetch-dest",
];

/// An answer that needs no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

/// Leave to enter one store's room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The store.
    pub store_id: String,
    /// How the client speaks; `None` if another version of Syncline has
    /// admitted it, and wrote what is not known here.
    pub speech: Option<Speech>,
    /// Who it is, as JSON: see [`crate::principal`].
    pub principal: String,
    /// Headers for what the room answers.
    pub response_headers: Vec<(String, String)>,
    /// Its keep-alive.
    pub auto_response: Option<AutoResponse>,
}

/// A keep-alive, which the host may answer on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoResponse {
    /// The frame.
    pub frame: String,
    /// Its answer.
    pub answer: String,
    /// Whether it is the one to have where a host can have one only.
    pub prevails: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Answer with this.
    Respond(Response),
    /// Hand it to the store's room.
    Enter(Admission),
    /// Accept the WebSocket and close it at once.
    Close {
        /// The close code.
        code: u16,
        /// [`Refused::close_reason`].
        reason: String,
    },
    /// Answer with what [`refuse`] makes of it and the body.
    Refuse {
        /// Why.
        refused: Refused,
        /// The answer's headers.
        headers: Vec<(String, String)>,
    },
    /// It is for a service.
    Serve(Service),
}

/// First segments of paths that are answered, here or to come, where a request
/// is not one that syncs: apps sync under `/api` too.
const RESERVED: [&str; 6] = ["healthz", "readyz", "metrics", "admin", "api", "v1"];

/// Decides on one request.
pub fn admit(
    imports: &mut impl Imports,
    config: &Result<Config, ConfigError>,
    request: &Request,
) -> Decision {
    let origin = request.header("origin");
    let params = Params::read(request.query.as_deref());
    if !is_sync(request, &params) && !services::is_of_service(&request.path) {
        match reserved(request, config.is_ok()) {
            None => {}
            Some(Ok(response)) => return Verdict::Respond(response).into(),
            Some(Err(refused)) => {
                let response = refusal_response(&refused, Vec::new());
                return refusal(&params, refused, Verdict::Respond(response));
            }
        }
    }
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            imports.log(
                Level::Error,
                &format!("Syncline is not configured correctly: {error}"),
            );
            let refused = Refused::new(Code::AuthServiceError, MISCONFIGURED);
            return refusal_verdict(request, &params, refused, Vec::new());
        }
    };
    if let Err(refused) = origin::check(config, origin, request.header("host")) {
        return refusal_verdict(request, &params, refused, Vec::new());
    }
    let cors = origin::cors_headers(origin);
    if request.method == "OPTIONS" {
        let mut headers = cors;
        headers.extend(origin::preflight_headers(
            request.header("access-control-request-headers"),
        ));
        return Verdict::Respond(Response {
            status: 204,
            headers,
            body: String::new(),
        })
        .into();
    }
    if !is_sync(request, &params)
        && !request.upgrade
        && let Some(decision) = services::route(imports, config, request, &cors)
    {
        return decision;
    }
    match enter(imports, config, request, &params) {
        Ok(Entry::Admitted(mut admission)) => {
            admission.response_headers = cors;
            let is_http = admission.speech == Some(Speech::HTTP);
            let own = config.response_headers.iter().filter(|_| is_http);
            admission.response_headers.extend(own.cloned());
            Verdict::Enter(admission).into()
        }
        Ok(Entry::About) => {
            Verdict::Respond(about::response(config, request.header("accept"), cors)).into()
        }
        Err(refused) => refusal_verdict(request, &params, refused, cors),
    }
}

/// Decides on a call by another Durable Object. It carries no token: it holds
/// a binding that an operator gave it.
///
/// # Errors
/// What to answer.
pub fn admit_call(
    imports: &mut impl Imports,
    config: &Result<Config, ConfigError>,
    body: &[u8],
) -> Result<Admission, Denial> {
    let denied = |code: Code, message: &str, store_id: Option<String>| Denial {
        answer: refusal::call_body(code.as_str(), message, code.retry_after_ms(), body),
        cause: Cause {
            refused: Refused::new(code, message),
            store_id,
        },
    };
    if let Err(error) = config {
        imports.log(
            Level::Error,
            &format!("Syncline is not configured correctly: {error}"),
        );
        return Err(denied(Code::AuthServiceError, MISCONFIGURED, None));
    }
    let store_id = match do_rpc::store_id(body) {
        Some(id) if params::is_store_id(&id) => id,
        named => {
            return Err(denied(
                Code::InvalidRequest,
                "The call's first request names no usable `storeId`.",
                named,
            ));
        }
    };
    Ok(Admission {
        store_id,
        speech: Some(Speech::OBJECT),
        principal: Principal::Object.to_json(),
        response_headers: Vec::new(),
        auto_response: None,
    })
}

/// What clients are told of a configuration that cannot be used.
const MISCONFIGURED: &str = "The server is not configured correctly. Its log says more.";

/// The answer to a refused HTTP request.
#[must_use]
pub fn refuse(
    status: u16,
    code: &str,
    message: &str,
    retry_after_ms: Option<u64>,
    mut headers: Vec<(String, String)>,
    body: &[u8],
) -> Response {
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    if let Some(ms) = retry_after_ms {
        let seconds = ms.div_ceil(1_000).to_string();
        headers.push(("retry-after".to_owned(), seconds));
    }
    Response {
        status,
        headers,
        body: refusal::http_body(code, message, retry_after_ms, body),
    }
}

enum Entry {
    Admitted(Admission),
    About,
}

/// Whether a request syncs, whatever its path: it says which store and how.
fn is_sync(request: &Request, params: &Params) -> bool {
    params.store_id.is_some() && (params.transport.is_some() || is_v3_path(request))
}

/// Where 0.3 clients connect, which name no transport.
fn is_v3_path(request: &Request) -> bool {
    request.path.ends_with("/websocket")
}

fn enter(
    imports: &mut impl Imports,
    config: &Config,
    request: &Request,
    params: &Params,
) -> Result<Entry, Refused> {
    let speech = match params.transport.as_deref() {
        Some("ws") => Speech::SOCKET,
        Some("http") => Speech::HTTP,
        Some(_) => {
            return Err(Refused::new(
                Code::InvalidRequest,
                "The URL parameter `transport` is neither `ws` nor `http`.",
            ));
        }
        None if is_v3_path(request) => Speech::SOCKET_V3,
        None if request.path == "/" && !request.upgrade => {
            return match request.method.as_str() {
                "GET" | "HEAD" => Ok(Entry::About),
                _ => Err(Refused::new(
                    Code::InvalidRequest,
                    "A sync request needs the URL parameters `storeId` and `transport`.",
                )),
            };
        }
        None if request.upgrade || params.store_id.is_some() => {
            return Err(Refused::new(
                Code::InvalidRequest,
                "The URL parameter `transport` is missing (`ws` or `http`).",
            ));
        }
        None => return Err(Refused::new(Code::NotFound, "Nothing is here.")),
    };
    match speech.carrier {
        Carrier::Http if request.method != "POST" => {
            return Err(Refused::new(
                Code::MethodNotAllowed,
                "RPC requests over HTTP are POST requests.",
            ));
        }
        Carrier::Socket if !request.upgrade => {
            return Err(Refused::new(
                Code::UpgradeRequired,
                "This is a WebSocket endpoint: the request has no `Upgrade: websocket`.",
            ));
        }
        _ => {}
    }
    let store_id = params.store_id()?;
    let principal = authentication::check(imports, config, params, store_id)?;
    let principal = principal.to_json();
    if principal.len() > PRINCIPAL_BYTES_MAX {
        return Err(Refused::new(
            Code::TokenInvalid,
            "The token's `userId` and role are too long.",
        ));
    }
    Ok(Entry::Admitted(Admission {
        store_id: store_id.to_owned(),
        speech: Some(speech),
        principal,
        response_headers: Vec::new(),
        auto_response: keep_alive(speech.carrier, speech.dialect).map(|(frame, answer)| {
            AutoResponse {
                frame: frame.to_owned(),
                answer: answer.to_owned(),
                prevails: speech.dialect != Some(Dialect::V3),
            }
        }),
    }))
}

fn reserved(request: &Request, is_configured: bool) -> Option<Result<Response, Refused>> {
    let first = request.path.trim_start_matches('/').split('/').next()?;
    let first = percent_decode_str(first).decode_utf8_lossy();
    if !RESERVED.contains(&first.as_ref()) {
        return None;
    }
    let answer = match (request.path.as_str(), request.method.as_str()) {
        ("/readyz", "GET" | "HEAD") if !is_configured => {
            Err(Refused::new(Code::AuthServiceError, MISCONFIGURED))
        }
        ("/healthz" | "/readyz", "GET" | "HEAD") => Ok(text(200, Vec::new(), "ok\n".to_owned())),
        ("/healthz" | "/readyz", _) => Err(Refused::new(
            Code::MethodNotAllowed,
            "Only GET is answered here.",
        )),
        _ => Err(Refused::new(
            Code::NotFound,
            "Nothing is here (a reserved path).",
        )),
    };
    Some(answer)
}

/// A refusal in the form that this request's client can read.
fn refusal_verdict(
    request: &Request,
    params: &Params,
    refused: Refused,
    headers: Vec<(String, String)>,
) -> Decision {
    if request.upgrade
        && let Some(code) = refused.code.close_code()
    {
        let reason = refused.close_reason();
        return refusal(params, refused, Verdict::Close { code, reason });
    }
    let verdict = if request.method == "POST" {
        Verdict::Refuse {
            refused: refused.clone(),
            headers,
        }
    } else {
        Verdict::Respond(refusal_response(&refused, headers))
    };
    refusal(params, refused, verdict)
}

/// A verdict that refuses, with why.
fn refusal(params: &Params, refused: Refused, verdict: Verdict) -> Decision {
    let store_id = params.store_id.clone();
    Decision {
        verdict,
        cause: Some(Cause { refused, store_id }),
    }
}

fn refusal_response(refused: &Refused, mut headers: Vec<(String, String)>) -> Response {
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    if refused.code == Code::UpgradeRequired {
        headers.push(("upgrade".to_owned(), "websocket".to_owned()));
    }
    Response {
        status: refused.code.status(),
        headers,
        body: json_body(
            refused.code.as_str(),
            &refused.message,
            refused.code.retry_after_ms(),
        ),
    }
}

fn text(status: u16, mut headers: Vec<(String, String)>, body: String) -> Response {
    headers.push((
        "content-type".to_owned(),
        "text/plain; charset=utf-8".to_owned(),
    ));
    Response {
        status,
        headers,
        body,
    }
}
