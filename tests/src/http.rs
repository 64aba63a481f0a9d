//! An HTTP client that takes every status as an answer.

use std::time::Duration;

use serde_json::Value;

use crate::server::Server;

/// How long an answer may take before the test fails.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Response {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("a body that is no JSON ({error}): {}", self.body))
    }
}

/// Sends a request.
///
/// # Panics
/// When no answer comes.
#[must_use]
pub fn request(
    server: &Server,
    method: &str,
    path_and_query: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    request_within(
        ANSWER_TIMEOUT,
        server,
        method,
        path_and_query,
        headers,
        body,
    )
}

/// Sends a request that has this long to be answered.
///
/// # Panics
/// When no answer comes.
#[must_use]
pub fn request_within(
    timeout: Duration,
    server: &Server,
    method: &str,
    path_and_query: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(timeout))
        .build()
        .into();
    let mut builder = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path_and_query}", server.url));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut response = if body.is_empty() {
        agent.run(builder.body(()).expect("a valid request"))
    } else {
        agent.run(builder.body(body.to_owned()).expect("a valid request"))
    }
    .expect("an answer comes");
    Response {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        body: response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_string()
            .expect("a whole body"),
    }
}

/// GET.
#[must_use]
pub fn get(server: &Server, path_and_query: &str) -> Response {
    request(server, "GET", path_and_query, &[], "")
}

/// POST of an RPC message to a store.
#[must_use]
pub fn post_rpc(server: &Server, store: &str, message: impl ToString) -> Response {
    let url = format!("/?storeId={store}&transport=http");
    let headers = [("content-type", "application/json")];
    request(server, "POST", &url, &headers, &message.to_string())
}
