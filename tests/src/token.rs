//! Tokens, signed as they are asked for, whatever they claim.

use std::time::{SystemTime, UNIX_EPOCH};

use jwt_simple::prelude::{HS256Key, MACLike};
use jwt_simple::reexports::ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use serde_json::{Value, json};

/// Seconds since 1970.
///
/// # Panics
/// When the clock is before.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs()
}

/// Signs claims.
#[must_use]
pub fn sign(claims: &Value, secret: &str) -> String {
    sign_as(&json!({"alg": "HS256", "typ": "JWT"}), claims, secret)
}

/// Signs claims under this header, with HS256 whatever that says.
///
/// # Panics
/// Never.
#[must_use]
pub fn sign_as(header: &Value, claims: &Value, secret: &str) -> String {
    let encoded = |bytes: &[u8]| Base64UrlSafeNoPadding::encode_to_string(bytes).expect("Base64");
    let part = |value: &Value| encoded(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    let tag = HS256Key::from_bytes(secret.as_bytes()).authentication_tag(signed.as_bytes());
    format!("{signed}.{}", encoded(&tag))
}
