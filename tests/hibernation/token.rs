//! Tokens, and the URLs that carry them.

use std::time::{SystemTime, UNIX_EPOCH};

use jwt_simple::prelude::{HS256Key, MACLike};
use jwt_simple::reexports::ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use syncline_tests::profile::JWT_SECRET;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A token for a store, for as long as a test may take.
pub fn good(store: &str) -> String {
    until(store, now() + 3_600)
}

/// A token for a store that expires then.
pub fn until(store: &str, exp: u64) -> String {
    signed(store, exp, JWT_SECRET)
}

/// A token signed with this secret.
pub fn signed(store: &str, exp: u64, secret: &str) -> String {
    let claims = json!({
        "userId": "user-1",
        "exp": exp,
        "workspaces": [{"id": store, "role": "owner"}],
        "workspaceClaimsVersion": 1,
    });
    let part = |value: &Value| Base64UrlSafeNoPadding::encode_to_string(value.to_string()).unwrap();
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "HS256", "typ": "JWT"})),
        part(&claims)
    );
    let tag = HS256Key::from_bytes(secret.as_bytes()).authentication_tag(signed.as_bytes());
    format!(
        "{signed}.{}",
        Base64UrlSafeNoPadding::encode_to_string(tag).unwrap()
    )
}

/// The URL of a transport (`ws`, `http`; `0.3` for that), with a token.
pub fn url(store: &str, transport: &str, token: Option<&str>) -> String {
    let mut url = match transport {
        "0.3" => format!("/websocket?storeId={store}"),
        _ => format!("/?storeId={store}&transport={transport}"),
    };
    if let Some(token) = token {
        let payload = json!({"authToken": token, "instanceId": store}).to_string();
        let once = utf8_percent_encode(&payload, NON_ALPHANUMERIC).to_string();
        let twice = utf8_percent_encode(&once, NON_ALPHANUMERIC).to_string();
        url.push_str("&payload=");
        url.push_str(&twice);
    }
    url
}
