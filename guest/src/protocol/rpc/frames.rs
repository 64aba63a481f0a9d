//! What the server says: Chunks, Exits, Defects.

use serde::Serialize;

use super::{IdForm, Rpc};
use crate::limits::SEQ_NUM_MAX;
use crate::protocol::event::write_string;
use crate::protocol::reply::PageInfo;
use crate::protocol::speech::Carrier;

/// Whether these digits are a number to everybody: without zeros before it, and
/// none that a client would round. Others are answered as the string that
/// somebody must have meant.
fn is_number(digits: &str) -> bool {
    let number: Option<u64> = digits.parse().ok();
    let is_exact = number.is_some_and(|number| number <= SEQ_NUM_MAX);
    is_exact && (digits == "0" || !digits.starts_with('0'))
}

impl Rpc {
    /// A request id as it stands in an answer.
    fn write_id(self, frame: &mut String, request_id: &str) {
        if self.ids == IdForm::Number && is_number(request_id) {
            frame.push_str(request_id);
        } else {
            frame.push('"');
            frame.push_str(request_id);
            frame.push('"');
        }
    }

    pub(super) fn write_chunk_head(self, frame: &mut String, request_id: &str, carrier: Carrier) {
        frame.push_str(r#"{"_tag":"Chunk","requestId":"#);
        match carrier {
            Carrier::Callback => write_string(frame, request_id),
            _ => self.write_id(frame, request_id),
        }
    }

    /// A Chunk's frame. In the answer to another Durable Object's Pull it
    /// repeats the request's id beside the batch (`src/common/do-rpc-schema.ts`).
    pub(super) fn chunk(
        self,
        request_id: &str,
        items: &str,
        page_info: PageInfo,
        backend_id: &str,
        carrier: Carrier,
    ) -> String {
        let mut frame = String::with_capacity(items.len() + 256);
        self.write_chunk_head(&mut frame, request_id, carrier);
        if carrier == Carrier::Object {
            frame.push_str(r#","values":[{"rpcRequestId":"#);
            write_string(&mut frame, request_id);
            frame.push_str(r#","batch":["#);
            write_batch_rest(&mut frame, items, page_info, backend_id);
        } else {
            write_chunk_rest(&mut frame, items, page_info, backend_id);
        }
        frame
    }

    fn exit(self, request_id: &str, exit: &str) -> String {
        let mut frame = r#"{"_tag":"Exit","requestId":"#.to_owned();
        self.write_id(&mut frame, request_id);
        frame.push_str(r#","exit":{"_tag":"#);
        frame.push_str(exit);
        frame.push_str("}}");
        frame
    }

    /// The Exit of a call that succeeded, with its value.
    pub(super) fn exit_success(self, request_id: &str, value: &str) -> String {
        self.exit(request_id, &format!(r#""Success","value":{value}"#))
    }

    /// The Exit of a stream that ended well, or of a call without an answer.
    pub(super) fn exit_ended(self, request_id: &str) -> String {
        if self.ends_with_value {
            self.exit_success(request_id, "null")
        } else {
            self.exit(request_id, r#""Success""#)
        }
    }

    fn exit_cause(self, request_id: &str, cause: &str) -> String {
        let failure = if self.lists_causes {
            format!(r#""Failure","cause":[{cause}]"#)
        } else {
            format!(r#""Failure","cause":{cause}"#)
        };
        self.exit(request_id, &failure)
    }

    fn exit_failure(self, request_id: &str, error: &str) -> String {
        self.exit_cause(request_id, &format!(r#"{{"_tag":"Fail","error":{error}}}"#))
    }

    /// The Exit of an interrupted pull. The client ignores it (transcript
    /// ws-01).
    pub(super) fn exit_interrupted(self, request_id: &str) -> String {
        let cause = if self.lists_causes {
            r#"{"_tag":"Interrupt","fiberId":0}"#
        } else {
            r#"{"_tag":"Interrupt","fiberId":{"_tag":"None"}}"#
        };
        self.exit_cause(request_id, cause)
    }

    /// The Exit of a push whose parent is not the head.
    pub(super) fn exit_server_ahead(
        self,
        request_id: &str,
        minimum_expected: u64,
        provided: u64,
    ) -> String {
        self.exit_failure(
            request_id,
            &format!(
                r#"{{"minimumExpectedNum":{minimum_expected},"providedNum":{provided},"_tag":"ServerAheadError"}}"#
            ),
        )
    }

    /// The Exit of a request that means another incarnation of the log.
    pub(super) fn exit_backend_id_mismatch(
        self,
        request_id: &str,
        expected: &str,
        received: &str,
    ) -> String {
        let mut error = r#"{"expected":"#.to_owned();
        write_string(&mut error, expected);
        error.push_str(r#","received":"#);
        write_string(&mut error, received);
        error.push_str(r#","_tag":"BackendIdMismatchError"}"#);
        self.exit_failure(request_id, &error)
    }

    /// The Exit of a request that failed otherwise: the schema's
    /// `UnknownError`, whose `payload` says what and when to try again
    /// (`@livestore/common` 0.4.0, `src/errors.ts`).
    pub(super) fn exit_unknown_error(
        self,
        request_id: &str,
        code: &str,
        message: &str,
        retry_after_ms: Option<u64>,
    ) -> String {
        let error = UnknownError {
            cause: Cause {
                name: "Error",
                message: &format!("{code}: {message}"),
            },
            payload: ErrorPayload {
                code,
                message,
                retry_after_ms,
            },
            tag: "UnknownError",
        };
        let error = serde_json::to_string(&error).unwrap_or_default();
        self.exit_failure(request_id, &error)
    }
}

pub(super) fn write_chunk_rest(
    frame: &mut String,
    items: &str,
    page_info: PageInfo,
    backend_id: &str,
) {
    frame.push_str(r#","values":[{"batch":["#);
    write_batch_rest(frame, items, page_info, backend_id);
}

fn write_batch_rest(frame: &mut String, items: &str, page_info: PageInfo, backend_id: &str) {
    frame.push_str(items);
    frame.push_str(r#"],"pageInfo":"#);
    match page_info {
        PageInfo::NoMore => frame.push_str(r#"{"_tag":"NoMore"}"#),
        PageInfo::MoreKnown(remaining) => {
            frame.push_str(r#"{"_tag":"MoreKnown","remaining":"#);
            frame.push_str(&remaining.to_string());
            frame.push('}');
        }
    }
    frame.push_str(r#","backendId":"#);
    write_string(frame, backend_id);
    frame.push_str("}]}");
}

#[derive(Serialize)]
struct UnknownError<'a> {
    cause: Cause<'a>,
    payload: ErrorPayload<'a>,
    #[serde(rename = "_tag")]
    tag: &'static str,
}

#[derive(Serialize)]
struct Cause<'a> {
    name: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct ErrorPayload<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(rename = "retryAfterMs")]
    retry_after_ms: Option<u64>,
}

/// A Defect: fails every request the client has in flight, so it answers
/// only what has no readable request id.
pub(super) fn defect(message: &str) -> String {
    let mut frame = r#"{"_tag":"Defect","defect":{"name":"ProtocolError","message":"#.to_owned();
    write_string(&mut frame, message);
    frame.push_str("}}");
    frame
}
