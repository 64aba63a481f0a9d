//! What is decided on a request, with why it is refused, for the host's log.

use super::Verdict;
use super::refusal::Refused;

/// Why a request is refused, for the host's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The refusal, with its text.
    pub refused: Refused,
    /// The store that was asked for, if any was. Up to the client: nobody has
    /// looked at it yet.
    pub store_id: Option<String>,
}

/// What is decided on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why it is refused, if it is.
    pub cause: Option<Cause>,
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            cause: None,
        }
    }
}

/// A call that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What to answer.
    pub answer: String,
    /// Why.
    pub cause: Cause,
}
