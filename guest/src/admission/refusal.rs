//! Refusals: why a request may not enter, and the forms in which clients can
//! read it.

use serde::Serialize;

use crate::code::Code;
use crate::protocol::rpc::readable_id;
use crate::protocol::{Carrier, Reply, Voice, do_rpc};

/// A refusal with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: Code,
    /// What to do about it. Never holds a secret, a token or a claim.
    pub message: String,
    /// The payload's field that is missing, where the code names another one.
    pub field: Option<&'static str>,
    /// The answer's status, where it is not the code's own.
    pub status: Option<u16>,
}

impl Refused {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
            status: None,
        }
    }

    /// The same, with a status of its own.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// The same, for want of this field.
    #[must_use]
    pub fn of_field(self, field: &'static str) -> Self {
        Self {
            field: Some(field),
            ..self
        }
    }

    /// What a socket is closed with: the code, and the field behind it. A
    /// browser is shown nothing else.
    #[must_use]
    pub fn close_reason(&self) -> String {
        let code = self.code.as_str();
        self.field
            .map_or_else(|| code.to_owned(), |field| format!("{code} {field}"))
    }
}

/// The body of every refusal that is not an RPC answer.
#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// `{code, message}` as JSON.
#[must_use]
pub fn json_body(code: &str, message: &str, retry_after_ms: Option<u64>) -> String {
    serde_json::to_string(&Body {
        code,
        message,
        retry_after_ms,
    })
    .unwrap_or_default()
}

/// The body that answers a refused HTTP request: the RPC array when the
/// request's body holds an RPC request, since the 0.4.0 client parses that
/// whatever the status and dies on anything else
/// (`@effect/rpc`, `RpcClient.layerProtocolHttp`); `{code, message}` otherwise.
#[must_use]
pub fn http_body(code: &str, message: &str, retry_after_ms: Option<u64>, request: &[u8]) -> String {
    let failed = Reply::Failed {
        code,
        message,
        retry_after_ms,
    };
    match readable_id(request) {
        Some(id) => {
            let voice = Voice::of_first(request, Carrier::Http);
            format!("[{}]", voice.write(&id, &failed))
        }
        // Another Durable Object's call.
        None if exits(request, &failed).next().is_some() => {
            call_body(code, message, retry_after_ms, request)
        }
        None => json_body(code, message, retry_after_ms),
    }
}

/// The RPC array that refuses a call by another Durable Object: an Exit for
/// each of its requests that can be named, or else a Defect.
#[must_use]
pub fn call_body(code: &str, message: &str, retry_after_ms: Option<u64>, call: &[u8]) -> String {
    let failed = Reply::Failed {
        code,
        message,
        retry_after_ms,
    };
    let exits: Vec<String> = exits(call, &failed).collect();
    if exits.is_empty() {
        let voice = Voice::of_first(call, Carrier::Object);
        format!("[{}]", voice.defect(&format!("{code}: {message}")))
    } else {
        format!("[{}]", exits.join(","))
    }
}

/// What answers a call's requests, as far as their ids can be read.
fn exits(call: &[u8], reply: &Reply<'_>) -> impl Iterator<Item = String> {
    do_rpc::messages(call)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|request| {
            let request = request.get().as_bytes();
            let voice = Voice::of_first(request, Carrier::Object);
            Some(voice.write(&readable_id(request)?, reply))
        })
}
