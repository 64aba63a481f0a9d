//! Web origins: which websites may connect, and the CORS headers that tell
//! their browsers.

use std::net::IpAddr;

use super::refusal::{Code, Refused};
use crate::config::Config;

/// Whether the request's `Origin` may connect. Programs that are not browsers
/// send none and pass.
///
/// Without required auth any website could open a loopback socket, so only
/// loopback origins may, and those in `ALLOWED_ORIGINS`. With tokens the
/// token decides, and `ALLOWED_ORIGINS` restricts only where it is set.
///
/// # Errors
/// `FORBIDDEN`.
pub fn check(config: &Config, origin: Option<&str>) -> Result<(), Refused> {
    let Some(origin) = origin else {
        return Ok(());
    };
    let listed = config
        .allowed_origins
        .iter()
        .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    let unrestricted = config.auth_required && config.allowed_origins.is_empty();
    if listed || unrestricted || (!config.auth_required && is_loopback(origin)) {
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
            "GET, POST, OPTIONS".to_owned(),
        ),
        (
            "access-control-allow-headers".to_owned(),
            requested.unwrap_or("*").to_owned(),
        ),
        ("access-control-max-age".to_owned(), "86400".to_owned()),
    ]
}

/// Whether an origin (`scheme://host[:port]`) is this machine.
fn is_loopback(origin: &str) -> bool {
    let Some(("http" | "https", authority)) = origin.split_once("://") else {
        return false;
    };
    if authority.contains(['@', '/', '\\', '?', '#']) {
        return false;
    }
    let host = if let Some(v6) = authority.strip_prefix('[') {
        match v6.split_once(']') {
            Some((host, rest)) if rest.is_empty() || rest.starts_with(':') => host,
            _ => return false,
        }
    } else {
        authority
            .split_once(':')
            .map_or(authority, |(host, _)| host)
    };
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for origin in [
            "http://localhost",
            "http://localhost:5173",
            "https://app.localhost:1",
            "http://127.0.0.1:8080",
            "http://127.1.2.3",
            "http://[::1]:3000",
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
        ] {
            assert!(!is_loopback(origin), "{origin}");
        }
    }
}
