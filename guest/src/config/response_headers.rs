//! `HTTP_RESPONSE_HEADERS`: what an operator wants to stand in the answers of
//! sync over HTTP, as `http.responseHeaders` of `@livestore/sync-cf` 0.4.0 has
//! it (`src/cf-worker/shared.ts`).

use std::collections::BTreeMap;

use thiserror::Error;

/// How many there may be. Cloudflare takes 128 KB of headers in all.
const HEADERS_MAX: usize = 32;

/// Of a name and a value, in bytes.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// What the answer's form depends on, and what a proxy would be misled by.
const RESERVED: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "retry-after",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// Why they cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResponseHeadersError {
    /// It is no JSON of the kind.
    #[error("it has to be a JSON object of strings: {{\"cache-control\":\"no-store\"}}")]
    NotAnObject,
    /// There are too many.
    #[error("it names more than {HEADERS_MAX} headers")]
    TooMany,
    /// One has no name.
    #[error("`{0}` is no header's name, or its value none")]
    Malformed(String),
    /// One is the server's to say.
    #[error("`{0}` is the server's to say, or of CORS, which ALLOWED_ORIGINS decides on")]
    Reserved(String),
}

/// Reads them; names in lower case.
///
/// # Errors
/// Why they cannot be used.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, ResponseHeadersError> {
    let headers: BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|_| ResponseHeadersError::NotAnObject)?;
    if headers.len() > HEADERS_MAX {
        return Err(ResponseHeadersError::TooMany);
    }
    let mut parsed = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let is_one = is_token(&name)
            && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && value.trim() == value
            && name.len() + value.len() <= HEADER_BYTES_MAX;
        if !is_one {
            let shown = name.chars().filter(|it| !it.is_control()).take(64);
            return Err(ResponseHeadersError::Malformed(shown.collect()));
        }
        if RESERVED.contains(&&*name) || name.starts_with("access-control-") || name == "vary" {
            return Err(ResponseHeadersError::Reserved(name));
        }
        parsed.push((name, value));
    }
    Ok(parsed)
}

/// A token of RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_what_can_be_sent() {
        let headers = parse(r#"{"X-Custom-Header":"a b","Cache-Control":"no-store"}"#);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = vec![
            pair("cache-control", "no-store"),
            pair("x-custom-header", "a b"),
        ];
        assert_eq!(headers, Ok(expected));
        assert_eq!(parse("{}"), Ok(vec![]));
        for text in ["", "[]", "no-store", r#"{"a":1}"#] {
            assert_eq!(
                parse(text),
                Err(ResponseHeadersError::NotAnObject),
                "{text}"
            );
        }
        for text in [
            r#"{"":"x"}"#,
            r#"{"a b":"x"}"#,
            r#"{"a":"x\r\nset-cookie: y"}"#,
            r#"{"a":" x"}"#,
            r#"{"a":"ü"}"#,
        ] {
            let error = parse(text);
            assert!(
                matches!(error, Err(ResponseHeadersError::Malformed(_))),
                "{text}"
            );
        }
        for name in ["Content-Length", "access-control-allow-origin", "Vary"] {
            let error = parse(&format!(r#"{{"{name}":"x"}}"#));
            assert!(
                matches!(error, Err(ResponseHeadersError::Reserved(_))),
                "{name}"
            );
        }
        let many: Vec<String> = (0..=HEADERS_MAX)
            .map(|n| format!(r#""h{n}":"x""#))
            .collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(parse(&many), Err(ResponseHeadersError::TooMany));
    }
}
