//! The words that a metric's attribute may have: each from a set that is
//! known, so that nobody makes series by making up words.

/// The codes of refusals, as PROTOCOL.md lists them, and this host's own;
/// sorted.
pub const CODES: [&str; 58] = [
    "AUTH_SERVICE_ERROR",
    "BACKEND_ID_MISMATCH",
    "BAD_HANDSHAKE",
    "BAD_REQUEST",
    "BATCH_TOO_LARGE",
    "BODY_BROKEN",
    "BODY_TIMEOUT",
    "BODY_TOO_LARGE",
    "BY_ROOM",
    "BY_SERVICE",
    "CLOCK_WRONG",
    "EVENT_TOO_LARGE",
    "FILE_TOO_LARGE",
    "FORBIDDEN",
    "GRACE_PERIOD_EXPIRED",
    "HEADERS_TOO_LARGE",
    "HEAD_TIMEOUT",
    "INTERNAL",
    "INVALID_EVENTS",
    "INVALID_FILE",
    "INVALID_REQUEST",
    "MESSAGE_TIMEOUT",
    "MESSAGE_TOO_LARGE",
    "METHOD_NOT_ALLOWED",
    "MODEL_NOT_ALLOWED",
    "NEVER_PULLED",
    "NOT_FOUND",
    "NOT_UTF8",
    "NO_FILE",
    "OVERLOADED",
    "PROTOCOL_ERROR",
    "QUOTA_EXCEEDED",
    "RESET",
    "RESTART",
    "SERVER_AHEAD",
    "SILENT",
    "STORAGE_CONFLICT",
    "STORAGE_FULL",
    "STORAGE_UNAVAILABLE",
    "STORE_MISMATCH",
    "TOKEN_INVALID",
    "TOKEN_MISSING",
    "TOKEN_VERSION_STALE",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_PULLS",
    "TOO_MANY_REQUESTS",
    "TOO_SLOW",
    "UNAVAILABLE",
    "UNKNOWN_RPC",
    "UNSUPPORTED_MEDIA_TYPE",
    "UPGRADE_REQUIRED",
    "UPLOAD_FAILED",
    "UPSTREAM_BUSY",
    "UPSTREAM_ERROR",
    "UPSTREAM_TIMEOUT",
    "UPSTREAM_UNREACHABLE",
    "URL_TOO_LONG",
    "VERSION_UNKNOWN",
];

/// What stands for all that is not known.
pub const OTHER: &str = "other";

/// Requests that are told apart by their path; all others are [`OTHER`].
const ROUTES: [&str; 8] = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/websocket",
    "/api/upload-image",
    "/api/llm/chat",
    "/v1/chat/completions",
];

/// A code, if it is known.
#[must_use]
pub fn code(code: &str) -> &'static str {
    let found = CODES.binary_search(&code).ok();
    found.and_then(|at| CODES.get(at)).copied().unwrap_or(OTHER)
}

/// A path's route.
#[must_use]
pub fn route(path: &str) -> &'static str {
    if path.starts_with("/api/images/") {
        return "/api/images/{key}";
    }
    let found = ROUTES.iter().find(|route| **route == path);
    found.copied().unwrap_or(OTHER)
}

/// A request's method, if it is one that HTTP has.
#[must_use]
pub fn method(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    let found = METHODS.iter().find(|it| **it == method);
    found.copied().unwrap_or("_OTHER")
}

/// A close's code, if RFC 6455 has it: clients choose theirs.
#[must_use]
pub fn close(code: u16) -> &'static str {
    match code {
        1000 => "1000",
        1001 => "1001",
        1002 => "1002",
        1003 => "1003",
        1005 => "1005",
        1006 => "1006",
        1007 => "1007",
        1008 => "1008",
        1009 => "1009",
        1011 => "1011",
        1012 => "1012",
        1013 => "1013",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_what_others_make_up_makes_no_series() {
        assert!(CODES.is_sorted());
        assert!(CODES.iter().all(|it| code(it) == *it));
        assert_eq!(code("MADE_UP"), OTHER);
        assert_eq!(route("/api/images/a/b"), "/api/images/{key}");
        assert_eq!(route("/made/up"), OTHER);
        assert_eq!(method("MADE-UP"), "_OTHER");
        assert_eq!(close(4999), OTHER);
    }
}
