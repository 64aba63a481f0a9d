//! Web origins: which websites may connect, and the CORS headers that tell
//! their browsers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::refusal::Refused;
use crate::code::Code;
use crate::config::Config;

/// Whether the request's `Origin` may connect. Programs that are not browsers
/// send none and pass, but React Native, whose WebSocket sends the server's own
/// URL (`WebSocketModule.getDefaultOrigin`).
///
/// Without required auth any website could open a loopback socket, so only
/// loopback origins may, those in `ALLOWED_ORIGINS`, and the server's own if
/// its `host` is an address of a private network: behind a name there may be
/// a website that has made its name lead here (DNS rebinding), and a browser
/// then sends that name for both. With tokens the token decides, and
/// `ALLOWED_ORIGINS` restricts others than the server's own where it is set.
///
/// # Errors
/// `FORBIDDEN`.
pub fn check(config: &Config, origin: Option<&str>, host: Option<&str>) -> Result<(), Refused> {
    let Some(text) = origin else {
        return Ok(());
    };
    let origin = Origin::parse(text);
    let listed = config.allowed_origins.iter().any(|allowed| {
        allowed == "*"
            || allowed.eq_ignore_ascii_case(text)
            // Its default port may be spelled out.
            || (origin.is_some() && Origin::parse(allowed) == origin)
    });
    let own = origin.as_ref().filter(|origin| origin.is_of(host));
    let passes = if config.auth_required {
        config.allowed_origins.is_empty() || own.is_some()
    } else {
        origin
            .as_ref()
            .is_some_and(|origin| origin.host.is_loopback())
            || own.is_some_and(|own| own.host.is_private_address())
    };
    if listed || passes {
        return Ok(());
    }
    Err(Refused::new(
        Code::Forbidden,
        "This Origin may not connect. Add it to ALLOWED_ORIGINS to let it.",
    ))
}

/// The CORS headers of an answer to an allowed origin.
#[must_use]
pub fn cors_headers(origin: Option<&str>) -> Vec<(String, String)> {
    let allow = origin.unwrap_or("*").to_owned();
    let mut headers = vec![("access-control-allow-origin".to_owned(), allow)];
    if origin.is_some() {
        headers.push(("vary".to_owned(), "origin".to_owned()));
    }
    headers
}

/// What a preflight adds.
#[must_use]
pub fn preflight_headers(requested: Option<&str>) -> Vec<(String, String)> {
    vec![
        (
            "access-control-allow-methods".to_owned(),
            "GET, POST, DELETE, OPTIONS".to_owned(),
        ),
        (
            "access-control-allow-headers".to_owned(),
            requested.unwrap_or("*").to_owned(),
        ),
        ("access-control-max-age".to_owned(), "86400".to_owned()),
    ]
}

/// A web origin: `scheme://host[:port]`, as browsers write it (RFC 6454). A
/// socket's scheme counts as that of the page which it stands for.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    is_secure: bool,
    host: Host,
    /// The scheme's own where none is written.
    port: u16,
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

impl Origin {
    /// `None` for what is no such origin: `null`, an app's own scheme, and
    /// what only looks like one.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return None,
        };
        let (host, port) = authority_of(authority)?;
        Some(Self {
            is_secure,
            host,
            port: port.unwrap_or_else(|| default_port(is_secure)),
        })
    }

    /// Whether it is the server that a request's `Host` names. The scheme
    /// cannot be compared: TLS ends at a proxy.
    fn is_of(&self, host: Option<&str>) -> bool {
        host.and_then(authority_of).is_some_and(|(host, port)| {
            host == self.host && port.unwrap_or_else(|| default_port(self.is_secure)) == self.port
        })
    }
}

impl Host {
    /// Whether it is this machine, whose names browsers do not look up.
    fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether it is an address of this machine or of a network around it.
    fn is_private_address(&self) -> bool {
        match self {
            Self::Address(address) => match address.to_canonical() {
                IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
                IpAddr::V6(v6) => {
                    v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
                }
            },
            Self::Name(_) => false,
        }
    }
}

fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

/// The host and port of `host[:port]`, if it is no more and no less.
fn authority_of(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = if let Some(v6) = text.strip_prefix('[') {
        let (v6, rest) = v6.split_once(']')?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':')?),
        };
        (Host::Address(v6.parse::<Ipv6Addr>().ok()?.into()), port)
    } else {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let host = match name.parse::<Ipv4Addr>() {
            Ok(v4) => Host::Address(v4.into()),
            Err(_) if is_name(name) => Host::Name(name.to_ascii_lowercase()),
            Err(_) => return None,
        };
        (host, port)
    };
    match port {
        None => Some((host, None)),
        // `parse` takes a sign too.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        Some(_) => None,
    }
}

/// Whether it is written like a name of the DNS.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::Origin;

    fn is_loopback(origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| origin.host.is_loopback())
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for origin in [
            "http://localhost",
            "http://localhost:5173",
            "HTTP://LOCALHOST:5173",
            "https://app.localhost:1",
            "http://127.0.0.1:8080",
            "http://127.1.2.3",
            "http://[::1]:3000",
            "ws://localhost:8787",
        ] {
            assert!(is_loopback(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "https://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://notlocalhost",
            "http://localhost@example.com",
            "http://128.0.0.1",
            "file://",
            "http://[::2]",
            "http://[::1].example.com",
            "ftp://localhost",
            "http://localhost:evil.com",
            "http://localhost:80:evil.com",
            "http://localhost:+80",
            "http://localhost:",
            "http://localhost:65536",
            "http://localhost/",
            "http://localhost ",
            "http://127.0.0.1:evil.com",
            "http://[::1]:evil.com",
            "http://[::1]evil.com",
            "http://::1:80",
            "http://evil\\.localhost",
            "http://evil.com#.localhost",
            "http://evil.com:80#.localhost",
        ] {
            assert!(!is_loopback(origin), "{origin}");
        }
    }

    #[test]
    fn an_origin_is_the_servers_own_if_host_and_port_are() {
        let is_own =
            |origin: &str, host: &str| Origin::parse(origin).is_some_and(|it| it.is_of(Some(host)));
        for (origin, host) in [
            ("http://10.0.2.2:8787", "10.0.2.2:8787"),
            ("https://sync.example.com", "sync.example.com"),
            ("HTTPS://Sync.Example.com", "SYNC.example.com"),
            ("https://sync.example.com:443", "sync.example.com"),
            ("https://sync.example.com", "sync.example.com:443"),
            ("wss://sync.example.com", "sync.example.com"),
            ("ws://sync.example.com", "sync.example.com:80"),
            ("http://sync.example.com", "sync.example.com"),
            ("http://[fe80::1]:8787", "[FE80:0::1]:8787"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert!(is_own(origin, host), "{origin} of {host}");
        }
        for (origin, host) in [
            ("http://10.0.2.2:5173", "10.0.2.2:8787"),
            ("http://10.0.2.2", "10.0.2.2:8787"),
            ("https://sync.example.com", "sync.example.com:80"),
            ("https://evil.com", "sync.example.com"),
            ("https://sync.example.com.evil.com", "sync.example.com"),
            ("https://sync.example.com", ""),
            ("https://sync.example.com", "sync.example.com:443:443"),
            ("https://sync.example.com@evil.com", "sync.example.com"),
            ("http://[::1]:8787", "::1:8787"),
            ("sync.example.com", "sync.example.com"),
            ("null", "null"),
            ("capacitor://sync.example.com", "sync.example.com"),
        ] {
            assert!(!is_own(origin, host), "{origin} of {host}");
        }
        assert!(Origin::parse("http://h").is_some_and(|it| !it.is_of(None)));
    }

    #[test]
    fn private_is_what_an_address_says_and_never_a_name() {
        let is_private = |host: &str| {
            Origin::parse(&format!("http://{host}:1"))
                .is_some_and(|it| it.host.is_private_address())
        };
        for host in [
            "127.0.0.1",
            "10.0.2.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.20",
            "169.254.1.1",
            "[::1]",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:192.168.1.20]",
        ] {
            assert!(is_private(host), "{host}");
        }
        for host in [
            "localhost",
            "evil.com",
            "192.168.1.20.evil.com",
            "192-168-1-20.sslip.io",
            "172.32.0.1",
            "8.8.8.8",
            "0.0.0.0",
            "[2001:db8::1]",
            "[::]",
            "[::ffff:8.8.8.8]",
            "127.1",
            "2130706433",
            "0x7f000001",
            "010.0.0.1",
            "10.0.0.1.",
            "phone.local",
        ] {
            assert!(!is_private(host), "{host}");
        }
    }
}
