//! Why a relay does not answer as it was asked.

use crate::code::Code;

/// An error, as the client is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub code: Code,
    /// The answer's status, where it is not in a stream.
    pub status: u16,
    /// What to do about it. Never holds a secret.
    pub message: String,
    /// When it is worth another try, if it is.
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// With the code's own status and time.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            message: message.into(),
            retry_after_ms: code.retry_after_ms(),
        }
    }

    /// The request is not right.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// With a time.
    #[must_use]
    pub fn after(self, retry_after_ms: u64) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..self
        }
    }

    /// The upstream's answer is none.
    pub fn upstream(message: impl Into<String>) -> Self {
        Self::new(Code::UpstreamError, message)
    }
}
