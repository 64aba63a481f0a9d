//! What a collector says that it has taken of what it was sent. It may take a
//! part, and it may be none: what a proxy or another server answers instead is
//! not to be believed.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::{Map, Value};

use crate::telemetry::peer::bounded;

/// Of what a collector says of its reasons, in characters.
const WORDS_CHARS_MAX: usize = 256;

/// How much a collector has not taken of what it says that it has, and why.
#[derive(Debug, Clone, Default)]
pub struct Rejected(Arc<Mutex<Option<(u64, String)>>>);

impl Rejected {
    /// How much it was since this was asked last, and why, if it was any.
    /// Whatever the collector says, it was not more than it was sent.
    #[must_use]
    pub fn take(&self, sent: usize) -> Option<(usize, String)> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, why) = last.take()?;
        let count = usize::try_from(said).unwrap_or(usize::MAX).min(sent);
        Some((count, why))
    }

    /// Reads the answer to what was taken; whether a collector has written it.
    #[must_use]
    pub fn read(&self, answer: &[u8]) -> bool {
        // The answers of all signals are written alike.
        let Ok(answer) = ExportTraceServiceResponse::decode(answer) else {
            // Some answer in JSON whatever they are asked in.
            return serde_json::from_slice::<Map<String, Value>>(answer).is_ok();
        };
        let Some(part) = answer.partial_success else {
            return true;
        };
        let rejected = u64::try_from(part.rejected_spans).unwrap_or_default();
        if rejected > 0 {
            let why = bounded(&part.error_message, WORDS_CHARS_MAX);
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((rejected, why));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    fn part(rejected_spans: i64) -> Vec<u8> {
        let part = ExportTracePartialSuccess {
            rejected_spans,
            error_message: "full".to_owned(),
        };
        let answer = ExportTraceServiceResponse {
            partial_success: Some(part),
        };
        answer.encode_to_vec()
    }

    #[test]
    fn i7_what_a_collector_says_is_not_more_than_it_was_sent() {
        let rejected = Rejected::default();
        for (said, counts) in [(0, None), (3, Some(3)), (i64::MAX, Some(8)), (-1, None)] {
            assert!(rejected.read(&part(said)));
            let taken = rejected.take(8);
            assert_eq!(
                taken,
                counts.map(|count| (count, "full".to_owned())),
                "{said}"
            );
            assert_eq!(rejected.take(8), None, "it counts once");
        }
    }

    #[test]
    fn who_is_no_collector_has_taken_nothing() {
        let rejected = Rejected::default();
        for (answer, is_one) in [
            ("", true),
            ("{}", true),
            ("{\"partialSuccess\":{}}", true),
            ("<html>please sign in</html>", false),
            ("OK", false),
        ] {
            assert_eq!(rejected.read(answer.as_bytes()), is_one, "{answer}");
        }
    }
}
