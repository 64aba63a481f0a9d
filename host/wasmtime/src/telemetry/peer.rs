//! Who is at the other end of a connection, and what they asked for, as the log
//! names them.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderMap, ORIGIN};
use hyper::{Method, Uri};

/// Of an Origin, in characters: browsers' are far shorter.
const ORIGIN_CHARS_MAX: usize = 256;

/// Of a request's path, in characters: any of ours is shorter.
const PATH_CHARS_MAX: usize = 256;

/// Of what proxies say, in characters: a few addresses.
const FORWARDED_CHARS_MAX: usize = 128;

/// The header in which proxies say for whom they ask.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A client. Nothing here is believed but the address.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where the connection comes from: a proxy's address behind one.
    pub address: SocketAddr,
    /// The end of `X-Forwarded-For`: what a proxy has added stands last.
    /// Whoever connects without a proxy may write anything into it.
    pub forwarded_for: Option<Box<str>>,
    /// The website that asks, in browsers.
    pub origin: Option<Box<str>>,
    /// Its request, as a client can quote it; 0 before it has sent one.
    pub number: u64,
    /// The method and the path. Not what follows `?`: there clients have their
    /// token.
    pub request: Option<Box<str>>,
}

impl Peer {
    /// Who sent this request.
    #[must_use]
    pub fn new(address: SocketAddr, method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let forwarded_for = headers.get_all(FORWARDED_FOR).iter().next_back();
        let forwarded_for = forwarded_for.map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            let count = text.chars().count();
            let end = text
                .chars()
                .skip(count.saturating_sub(FORWARDED_CHARS_MAX))
                .collect::<String>();
            end.into()
        });
        let origin = headers.get(ORIGIN).map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            bounded(&text, ORIGIN_CHARS_MAX).into()
        });
        let request = format!("{method} {}", uri.path());
        Self {
            address,
            forwarded_for,
            origin,
            number: next_request(),
            request: Some(bounded(&request, PATH_CHARS_MAX).into()),
        }
    }

    /// Its request's id, as the client is told and the log has it.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        (self.number > 0).then(|| format!("{:016x}", self.number))
    }

    /// Who has not sent a request yet.
    #[must_use]
    pub fn silent(address: SocketAddr) -> Self {
        Self {
            address,
            forwarded_for: None,
            origin: None,
            number: 0,
            request: None,
        }
    }
}

/// A number for a request: none of this process's has it, and of another's it
/// is unlikely.
fn next_request() -> u64 {
    /// Steps that come round to all numbers before one comes again, and look
    /// like none of them: the golden ratio's.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(getrandom::u64().unwrap_or_default()));
    NEXT.fetch_add(STEP, Ordering::Relaxed).max(1)
}

/// A text's first characters.
#[must_use]
pub fn bounded(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn i7_what_a_client_says_of_itself_is_bounded_and_a_proxys_word_stays() {
        let long = "é".repeat(10_000);
        let mut headers = HeaderMap::new();
        headers.append(ORIGIN, long.parse().unwrap());
        headers.append(FORWARDED_FOR, "192.0.2.1".parse().unwrap());
        let added = format!("{long}, 192.0.2.7");
        headers.append(FORWARDED_FOR, added.parse().unwrap());
        let uri = format!("/{}?payload=secret", "a".repeat(10_000))
            .parse()
            .unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = Peer::new(address, &Method::POST, &uri, &headers);
        let request = peer.request.unwrap();
        assert!(request.starts_with("POST /aaa"), "{request}");
        assert_eq!(request.chars().count(), PATH_CHARS_MAX + 1);
        let uri = "/a?payload=secret".parse().unwrap();
        let short = Peer::new(address, &Method::GET, &uri, &headers);
        assert_eq!(short.request.as_deref(), Some("GET /a"));
        assert_eq!(peer.origin.unwrap().chars().count(), ORIGIN_CHARS_MAX + 1);
        let forwarded_for = peer.forwarded_for.unwrap();
        assert_eq!(forwarded_for.chars().count(), FORWARDED_CHARS_MAX);
        assert!(forwarded_for.ends_with(", 192.0.2.7"), "{forwarded_for}");
    }
}
