//! Answers of services, in the two forms that their clients read.

use serde_json::json;

use crate::admission::Response;
use crate::admission::refusal::Refused;
use crate::contract::syncline::backend::services::Response as WitResponse;

/// How a service's errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Form {
    /// `{"error": text, "code": CODE}`: the reference worker's, under `/api`.
    Api,
    /// `{"error": {"message", "type", "code", "param"}}`: OpenAI's, under
    /// `/v1`.
    OpenAi,
}

impl Form {
    /// Of the service that has this path.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        if path == "/v1" || path.starts_with("/v1/") {
            Self::OpenAi
        } else {
            Self::Api
        }
    }

    /// An error's body, JSON.
    #[must_use]
    pub fn error(self, status: u16, code: &str, message: &str) -> String {
        match self {
            Self::Api => json!({ "error": message, "code": code }),
            Self::OpenAi => json!({ "error": {
                "message": message,
                "type": kind(status),
                "code": code,
                "param": null,
            }}),
        }
        .to_string()
    }

    /// An error's answer.
    #[must_use]
    pub fn failure(
        self,
        status: u16,
        code: &str,
        message: &str,
        retry_after_ms: Option<u64>,
        headers: &[(String, String)],
    ) -> WitResponse {
        let mut headers = headers.to_vec();
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        if let Some(ms) = retry_after_ms {
            let seconds = ms.div_ceil(1_000).max(1).to_string();
            headers.push(("retry-after".to_owned(), seconds));
        }
        WitResponse {
            status,
            headers,
            body: self.error(status, code, message),
        }
    }

    /// A refusal's answer.
    #[must_use]
    pub fn refusal(self, refused: &Refused, headers: &[(String, String)]) -> Response {
        let code = refused.code;
        let WitResponse {
            status,
            headers,
            body,
        } = self.failure(
            refused.status.unwrap_or_else(|| code.status()),
            code.as_str(),
            &refused.message,
            code.retry_after_ms(),
            headers,
        );
        Response {
            status,
            headers,
            body,
        }
    }
}

/// OpenAI's name for a kind of error.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}
