//! Who is at the other end of a connection, as the log names them.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderMap, ORIGIN};

/// Of an Origin, in characters: browsers' are far shorter.
const ORIGIN_CHARS_MAX: usize = 256;

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
    pub request: u64,
}

impl Peer {
    /// Who sent a request with these headers.
    #[must_use]
    pub fn new(address: SocketAddr, headers: &HeaderMap) -> Self {
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
        Self {
            address,
            forwarded_for,
            origin,
            request: next_request(),
        }
    }

    /// Its request's id, as the client is told and the log has it.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        (self.request > 0).then(|| format!("{:016x}", self.request))
    }

    /// Who has not sent a request yet.
    #[must_use]
    pub fn silent(address: SocketAddr) -> Self {
        Self {
            address,
            forwarded_for: None,
            origin: None,
            request: 0,
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
        let peer = Peer::new("127.0.0.1:1".parse().unwrap(), &headers);
        assert_eq!(peer.origin.unwrap().chars().count(), ORIGIN_CHARS_MAX + 1);
        let forwarded_for = peer.forwarded_for.unwrap();
        assert_eq!(forwarded_for.chars().count(), FORWARDED_CHARS_MAX);
        assert!(forwarded_for.ends_with(", 192.0.2.7"), "{forwarded_for}");
    }
}
