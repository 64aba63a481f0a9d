//! Requests to the server that is visited, one at a time.

use std::time::{Duration, Instant, SystemTime};

use hyper::header::{ACCEPT, CONTENT_TYPE};
use reqwest::redirect::Policy;
use tokio::runtime::Runtime;
use url::Url;

use crate::process::tls;

/// What is read of an answer, in bytes: a stranger may never end.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A client.
pub struct Http {
    runtime: Runtime,
    client: reqwest::Client,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// `Location`, of a redirection.
    pub location: String,
    /// `Date`, if it is one.
    pub date: Option<SystemTime>,
    /// What there is of its body.
    pub body: String,
    /// When it was asked for.
    pub asked: SystemTime,
    /// How long it took to its head.
    pub took: Duration,
}

impl Http {
    /// A client whose answers have so much time.
    ///
    /// # Errors
    /// When this machine cannot ask anybody.
    pub fn new(timeout: Duration) -> Result<Self, String> {
        tls::prepare();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no event loop can be made: {error}"))?;
        let client = reqwest::Client::builder()
            .timeout(timeout)
            // Where clients are sent to is to be seen, and not followed.
            .redirect(Policy::none())
            .no_proxy()
            .http1_only()
            .build()
            .map_err(|error| {
                let why = words(error);
                format!("no HTTP client can be made; are the system's certificates there (`ca-certificates`)? {why}")
            })?;
        Ok(Self { runtime, client })
    }

    /// GET, as a program asks.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn get(&self, url: Url) -> Result<Answer, String> {
        self.send(self.client.get(url).header(ACCEPT, "*/*"))
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn post(&self, url: Url, body: String) -> Result<Answer, String> {
        let request = self.client.post(url);
        self.send(request.header(CONTENT_TYPE, "application/json").body(body))
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, String> {
        let (asked, began) = (SystemTime::now(), Instant::now());
        self.runtime.block_on(async {
            let mut answer = request.send().await.map_err(words)?;
            let took = began.elapsed();
            let header = |name: &str| {
                let value = answer.headers().get(name);
                let value = value.and_then(|it| it.to_str().ok());
                value.unwrap_or_default().to_owned()
            };
            let (content_type, location, date) =
                (header("content-type"), header("location"), header("date"));
            let status = answer.status().as_u16();
            let mut body = Vec::new();
            while body.len() < BODY_BYTES_MAX
                && let Some(piece) = answer.chunk().await.map_err(words)?
            {
                body.extend_from_slice(&piece);
            }
            Ok(Answer {
                status,
                content_type,
                location,
                date: imf_fixdate(&date),
                body: String::from_utf8_lossy(&body).into_owned(),
                asked,
                took,
            })
        })
    }
}

/// An error with what it comes from, and without the URL, which holds a token.
fn words(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::from(error.without_url()))
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn imf_fixdate(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut parts = text.split(' ').skip(1);
    let day = parts.next()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|it| *it == month)? + 1;
    let (year, time) = (parts.next()?, parts.next()?);
    // The same as RFC 3339 has it, which the library reads.
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_read() {
        let date = imf_fixdate("Sun, 06 Nov 1994 08:49:37 GMT");
        let due = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(date, Some(due));
        for none in [
            "",
            "yesterday",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 6 Nov",
        ] {
            assert_eq!(imf_fixdate(none), None, "{none}");
        }
    }
}
