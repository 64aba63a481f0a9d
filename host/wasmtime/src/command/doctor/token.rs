//! A token: its times against this machine's clock, and whether the component
//! would let its bearer in.

use std::time::{SystemTime, UNIX_EPOCH};

use jwt_simple::reexports::ct_codecs::{Base64UrlSafeNoPadding, Decoder};
use serde_json::Value;

use super::codes;
use super::configuration::Configuration;
use super::report::Report;
use super::target::sync_query;
use crate::contract::{Request, Verdict};

const CHECK: &str = "token";

/// Clocks may be so far apart, in seconds: what is allowed of a token's `nbf`
/// (PROTOCOL.md, "Admission").
const SKEW_SECONDS_MAX: i64 = 60;

/// What a token says of itself. Nothing of it is believed, or shown.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Its workspaces, which are stores.
    pub workspaces: Vec<String>,
    issued: Option<i64>,
    not_before: Option<i64>,
    expires: Option<i64>,
}

impl Claims {
    /// What a token says; `None` when it is no JWT.
    #[must_use]
    pub fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = Base64UrlSafeNoPadding::decode_to_vec(payload, None).ok()?;
        let claims: Value = serde_json::from_slice(&bytes).ok()?;
        let seconds = |name: &str| {
            let value = claims.get(name)?;
            // Fractions are allowed, and do not matter.
            #[allow(clippy::cast_possible_truncation)]
            value
                .as_i64()
                .or_else(|| value.as_f64().map(|it| it as i64))
        };
        let workspaces = claims.get("workspaces").and_then(Value::as_array);
        Some(Self {
            workspaces: workspaces
                .into_iter()
                .flatten()
                .filter_map(|it| Some(it.get("id")?.as_str()?.to_owned()))
                .collect(),
            issued: seconds("iat"),
            not_before: seconds("nbf"),
            expires: seconds("exp"),
        })
    }
}

/// Compares a token's times with this machine's. What it says, if it is a JWT.
pub fn check_clock(token: &str, report: &mut Report) -> Option<Claims> {
    let Some(claims) = Claims::read(token) else {
        report.fail(
            CHECK,
            "this is no JWT: three parts of Base64, with a JSON object in the second, are due",
            "Give the whole token, as the service issues it or `syncline token` prints it",
        );
        return None;
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    at(now, &claims, report);
    Some(claims)
}

fn at(now: i64, claims: &Claims, report: &mut Report) {
    let ahead = claims
        .issued
        .into_iter()
        .chain(claims.not_before)
        .max()
        .map(|it| it.saturating_sub(now));
    if let Some(ahead) = ahead.filter(|it| *it > SKEW_SECONDS_MAX) {
        report.fail(
            "clock",
            format!("the token is from {ahead} s in the future: this machine's clock is behind the issuer's, or the issuer's is ahead"),
            "See that both machines keep their time (`timedatectl`)",
        );
    }
    match claims.expires.map(|it| it.saturating_sub(now)) {
        None => report.fail(
            CHECK,
            "the token has no usable `exp`",
            "Have it issued with one",
        ),
        Some(left) if left < 0 => report.warn(
            CHECK,
            format!(
                "the token expired {} s ago by this clock: it serves on for GRACE_PERIOD_SECONDS",
                left.unsigned_abs()
            ),
            "Sign in again for a new one; if it was issued just now, compare the clocks",
        ),
        Some(left) => report.ok(
            CHECK,
            format!("the token is valid for {left} s more by this clock"),
        ),
    }
}

/// Asks the component whether it lets the bearer in.
pub fn check_admission(
    configuration: &Configuration,
    token: &str,
    claims: Option<&Claims>,
    store: Option<&str>,
    report: &mut Report,
) {
    let Some(gateway) = &configuration.gateway else {
        return;
    };
    let of_token = claims.and_then(|it| it.workspaces.first());
    let Some(store) = store.or(of_token.map(String::as_str)) else {
        report.fail(
            CHECK,
            "the token has no workspaces, so it lets nobody into any store",
            "Have it issued with `workspaces: [{id, role}]`; the id is the store's",
        );
        return;
    };
    let request = Request {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        query: Some(sync_query(store, "ws", Some(token))),
        headers: Vec::new(),
        upgrade: true,
    };
    match gateway.admit(&request) {
        Err(error) => report.fail(CHECK, format!("the component failed: {error:#}"), ""),
        Ok(decision) => match (decision.verdict, decision.cause) {
            (Verdict::Enter(_), _) => {
                report.ok(
                    CHECK,
                    format!("this configuration lets it into store {store:?}"),
                );
            }
            (_, Some(cause)) => {
                let meaning = codes::meaning(&cause.code);
                report.fail(
                    CHECK,
                    format!(
                        "refused with {} for store {store:?}: {}",
                        cause.code, cause.message
                    ),
                    meaning.to_do,
                );
            }
            (_, None) => report.fail(CHECK, format!("it is not let into store {store:?}"), ""),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(claims: &Claims) -> String {
        let mut report = Report::new(true);
        at(10_000, claims, &mut report);
        report.words()
    }

    #[test]
    fn a_tokens_times_are_compared_with_the_clock() {
        let claims = |issued, expires| Claims {
            issued: Some(issued),
            expires: Some(expires),
            ..Claims::default()
        };
        assert!(found(&claims(9_000, 11_000)).contains("valid for 1000 s"));
        assert!(found(&claims(10_050, 11_000)).starts_with("ok"));
        let ahead = found(&claims(10_100, 11_000));
        assert!(
            ahead.starts_with("fail") && ahead.contains("100 s in the future"),
            "{ahead}"
        );
        let over = found(&claims(1, 9_000));
        assert!(
            over.starts_with("warn") && over.contains("expired 1000 s ago"),
            "{over}"
        );
        assert!(found(&Claims::default()).contains("`exp`"));
    }

    #[test]
    fn what_is_no_token_is_none() {
        for text in ["", "a.b", "a.b.c", "a.e30K.c.d", "x.W10.y"] {
            let claims = Claims::read(text);
            assert!(claims.is_none_or(|it| it == Claims::default()), "{text}");
        }
    }
}
