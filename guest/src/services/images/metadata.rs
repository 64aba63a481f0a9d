//! What is kept with an image: who uploaded it, when, for which workspace,
//! how it was called, and its hash.
//!
//! Object stores take about 2 KiB of it (S3), ASCII, and some write names in
//! lower case; so values are percent-encoded and short.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::services::caller::Caller;

/// Who uploaded it: `user:<id>`, `server` or `anonymous`.
pub const UPLOADER: &str = "uploader";

/// The workspace that it was uploaded for, where one was named.
pub const WORKSPACE: &str = "workspace";

/// When: ISO 8601, UTC.
pub const UPLOADED_AT: &str = "uploaded-at";

/// What the client called it.
pub const NAME: &str = "name";

/// SHA-256 of its content, lower-case hexadecimal.
pub const SHA256: &str = "sha256";

/// An encoded name has at most so many characters: file systems' limit.
const NAME_CHARS_MAX: usize = 255;

/// An encoded id has at most so many characters; of a longer one the hash is
/// kept. Real ones have some dozens.
const ID_CHARS_MAX: usize = 255;

/// What stays as it is: what URLs have as it is, but for `~`, which nothing
/// encoded has.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A value by its name, whatever the store made of the name's letters.
#[must_use]
pub fn value<'a>(metadata: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut fields = metadata.iter();
    let (_, value) = fields.find(|(it, _)| it.eq_ignore_ascii_case(name))?;
    Some(value)
}

/// The hash of an object's content, if it is one.
#[must_use]
pub fn sha256(metadata: &[(String, String)]) -> Option<&str> {
    let is_hash = |text: &&str| {
        text.len() == 64
            && text
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    value(metadata, SHA256).filter(is_hash)
}

/// A caller, as it is kept.
#[must_use]
pub fn uploader(caller: &Caller) -> String {
    match caller {
        Caller::User { id, .. } => format!("user:{}", id_of(id)),
        Caller::Server => "server".to_owned(),
        Caller::Anonymous => "anonymous".to_owned(),
    }
}

/// A user's or workspace's id, as it is kept.
#[must_use]
pub fn id_of(id: &str) -> String {
    let encoded = utf8_percent_encode(id, ENCODED).to_string();
    if encoded.len() <= ID_CHARS_MAX {
        return encoded;
    }
    let mut hashed = "sha256~".to_owned();
    for byte in hmac_sha256::Hash::hash(id.as_bytes()) {
        let _ = write!(hashed, "{byte:02x}");
    }
    hashed
}

/// A file's name, as it is kept: cut where a character ends.
#[must_use]
pub fn name_of(name: &str) -> String {
    let mut kept = String::new();
    for char in name.chars() {
        let mut bytes = [0; 4];
        let encoded = utf8_percent_encode(char.encode_utf8(&mut bytes), ENCODED).to_string();
        if kept.len() + encoded.len() > NAME_CHARS_MAX {
            break;
        }
        kept.push_str(&encoded);
    }
    kept
}
