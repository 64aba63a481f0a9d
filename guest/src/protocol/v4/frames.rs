//! What the server says to 0.4 clients: Chunks, Exits, Defects.

use serde::Serialize;

use crate::protocol::event::write_string;

/// What remains after a Chunk (`SyncBackend.PullResPageInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageInfo {
    /// This many events, by sequence numbers.
    MoreKnown(u64),
    /// Nothing, as far as the pull's start knew.
    NoMore,
}

/// A Chunk's frame.
#[must_use]
pub fn chunk(request_id: &str, items: &str, page_info: PageInfo, backend_id: &str) -> String {
    let mut frame = String::with_capacity(items.len() + 256);
    write_chunk_head(&mut frame, request_id);
    write_chunk_rest(&mut frame, items, page_info, backend_id);
    frame
}

/// How a Chunk's frame begins: as far as it is one request's.
#[must_use]
pub fn chunk_head(request_id: &str) -> String {
    let mut head = String::new();
    write_chunk_head(&mut head, request_id);
    head
}

/// What follows its head in a Chunk's frame, whoever it is for.
#[must_use]
pub fn chunk_rest(items: &str, page_info: PageInfo, backend_id: &str) -> String {
    let mut rest = String::with_capacity(items.len() + 224);
    write_chunk_rest(&mut rest, items, page_info, backend_id);
    rest
}

fn write_chunk_head(frame: &mut String, request_id: &str) {
    frame.push_str(r#"{"_tag":"Chunk","requestId":""#);
    frame.push_str(request_id);
}

fn write_chunk_rest(frame: &mut String, items: &str, page_info: PageInfo, backend_id: &str) {
    frame.push_str(r#"","values":[{"batch":["#);
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

/// A Chunk in the answer to another Durable Object's Pull, which repeats the
/// request's id beside the batch (`src/common/do-rpc-schema.ts`).
#[must_use]
pub fn chunk_do_rpc(
    request_id: &str,
    items: &str,
    page_info: PageInfo,
    backend_id: &str,
) -> String {
    let frame = chunk(request_id, items, page_info, backend_id);
    let named = format!(r#""values":[{{"rpcRequestId":"{request_id}","batch":["#);
    frame.replacen(r#""values":[{"batch":["#, &named, 1)
}

/// The Exit of a stream that ended well, or of a call without an answer.
#[must_use]
pub fn exit_stream_success(request_id: &str) -> String {
    format!(r#"{{"_tag":"Exit","requestId":"{request_id}","exit":{{"_tag":"Success"}}}}"#)
}

/// The Exit of an accepted push (`PushAck`).
#[must_use]
pub fn exit_push_success(request_id: &str) -> String {
    format!(
        r#"{{"_tag":"Exit","requestId":"{request_id}","exit":{{"_tag":"Success","value":{{}}}}}}"#
    )
}

/// The Exit of a Ping over HTTP.
#[must_use]
pub fn exit_ping_success(request_id: &str) -> String {
    format!(
        r#"{{"_tag":"Exit","requestId":"{request_id}","exit":{{"_tag":"Success","value":{{"_tag":"SyncMessage.Pong"}}}}}}"#
    )
}

/// The Exit of an interrupted pull. The client ignores it (transcript ws-01).
#[must_use]
pub fn exit_interrupted(request_id: &str) -> String {
    format!(
        r#"{{"_tag":"Exit","requestId":"{request_id}","exit":{{"_tag":"Failure","cause":{{"_tag":"Interrupt","fiberId":{{"_tag":"None"}}}}}}}}"#
    )
}

/// The Exit of a push whose parent is not the head.
#[must_use]
pub fn exit_server_ahead(request_id: &str, minimum_expected: u64, provided: u64) -> String {
    exit_failure(
        request_id,
        &format!(
            r#"{{"minimumExpectedNum":{minimum_expected},"providedNum":{provided},"_tag":"ServerAheadError"}}"#
        ),
    )
}

/// The Exit of a request that means another incarnation of the log.
#[must_use]
pub fn exit_backend_id_mismatch(request_id: &str, expected: &str, received: &str) -> String {
    let mut error = r#"{"expected":"#.to_owned();
    write_string(&mut error, expected);
    error.push_str(r#","received":"#);
    write_string(&mut error, received);
    error.push_str(r#","_tag":"BackendIdMismatchError"}"#);
    exit_failure(request_id, &error)
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

/// The Exit of a request that failed otherwise: the schema's `UnknownError`,
/// whose `payload` says what and when to try again
/// (`@livestore/common` 0.4.0, `src/errors.ts`).
#[must_use]
pub fn exit_unknown_error(
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
    exit_failure(
        request_id,
        &serde_json::to_string(&error).unwrap_or_default(),
    )
}

fn exit_failure(request_id: &str, error: &str) -> String {
    format!(
        r#"{{"_tag":"Exit","requestId":"{request_id}","exit":{{"_tag":"Failure","cause":{{"_tag":"Fail","error":{error}}}}}}}"#
    )
}

/// A Defect: fails every request the client has in flight, so it answers
/// only what has no readable request id.
#[must_use]
pub fn defect(message: &str) -> String {
    let mut frame = r#"{"_tag":"Defect","defect":{"name":"ProtocolError","message":"#.to_owned();
    write_string(&mut frame, message);
    frame.push_str("}}");
    frame
}
