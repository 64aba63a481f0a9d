//! The server that is visited: its address, and the URLs that clients make of
//! it.

use std::time::Duration;

use serde_json::json;
use url::{Host, Url, form_urlencoded};

/// An address that can be asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http` or `https`, with the path that clients are given, and without
    /// what it was given beside.
    base: Url,
    /// How long each answer may take.
    pub timeout: Duration,
}

impl Target {
    /// Takes what a client is given too: `ws` and `wss` count as `http` and
    /// `https`; a query is left out, since it may hold a token.
    ///
    /// # Errors
    /// When it is no address; it is not quoted.
    pub fn parse(text: &str, timeout: Duration) -> Result<Self, String> {
        const USAGE: &str =
            "--url: use http://HOST:PORT or https://HOST, with the path that clients are given";
        let rest = |scheme: &str| text.strip_prefix(scheme);
        let text = if let Some(rest) = rest("wss://") {
            format!("https://{rest}")
        } else if let Some(rest) = rest("ws://") {
            format!("http://{rest}")
        } else {
            text.to_owned()
        };
        let mut base = Url::parse(&text).map_err(|error| format!("{USAGE} ({error})"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(USAGE.to_owned());
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err("--url: no name and no password belong into the address".to_owned());
        }
        base.set_query(None);
        base.set_fragment(None);
        Ok(Self { base, timeout })
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Its name or address.
    #[must_use]
    pub fn host(&self) -> String {
        match self.base.host() {
            // Without the brackets.
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.base.port_or_known_default().unwrap_or(443)
    }

    /// Whether it is this machine's alone.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.base.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }

    /// A path of the server's own.
    #[must_use]
    pub fn page(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    /// Where a client of a store asks over HTTP.
    #[must_use]
    pub fn rpc(&self, store: &str, token: Option<&str>) -> Url {
        let mut url = self.base.clone();
        url.set_query(Some(&sync_query(store, "http", token)));
        url
    }

    /// Where a client of a store connects.
    #[must_use]
    pub fn socket(&self, store: &str, token: Option<&str>) -> String {
        let scheme = if self.is_tls() { "wss" } else { "ws" };
        let host = self.base.host_str().unwrap_or_default();
        let (port, path) = (self.port(), self.base.path());
        let query = sync_query(store, "ws", token);
        format!("{scheme}://{host}:{port}{path}?{query}")
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.base.as_str())
    }
}

/// A client's query, as LiveStore makes it: the payload is encoded twice
/// (PROTOCOL.md, "Versions and URLs").
#[must_use]
pub fn sync_query(store: &str, transport: &str, token: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("storeId", store);
    query.append_pair("transport", transport);
    if let Some(token) = token {
        let payload = json!({"authToken": token, "instanceId": store}).to_string();
        let once: String = form_urlencoded::byte_serialize(payload.as_bytes()).collect();
        // A form's space; `encodeURIComponent` has another.
        query.append_pair("payload", &once.replace('+', "%20"));
    }
    query.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, String> {
        Target::parse(text, Duration::from_secs(1))
    }

    #[test]
    fn what_clients_are_given_is_taken_and_no_secret_of_it_is_kept() {
        for (text, shown, socket) in [
            ("http://a:1", "http://a:1/", "ws://a:1/?"),
            ("wss://a.b/api", "https://a.b/api", "wss://a.b:443/api?"),
            ("ws://[::1]:8787", "http://[::1]:8787/", "ws://[::1]:8787/?"),
            ("https://a/?payload=secret#x", "https://a/", "wss://a:443/?"),
        ] {
            let target = target(text).unwrap();
            assert_eq!(target.to_string(), shown);
            assert!(target.socket("s", None).starts_with(socket), "{text}");
        }
        for text in [
            "a:1",
            "ftp://a",
            "http://",
            "http://user:secret@a/",
            "secret",
        ] {
            let words = target(text).unwrap_err();
            assert!(
                !words.contains("secret") && words.contains("--url"),
                "{words}"
            );
        }
        assert!(target("http://localhost:1").unwrap().is_loopback());
        assert!(target("http://127.3.2.1").unwrap().is_loopback());
        assert!(!target("https://sync.example").unwrap().is_loopback());
    }

    #[test]
    fn a_payload_is_encoded_twice() {
        let query = sync_query("my store", "ws", Some("a.b"));
        assert_eq!(
            query,
            "storeId=my+store&transport=ws&payload=%257B%2522authToken%2522%253A%2522a.b%2522%252C%2522instanceId%2522%253A%2522my%2520store%2522%257D"
        );
    }
}
