//! How a store is named on spans and in log lines: by its id, or by a hash of
//! it where ids are nobody else's business (`TELEMETRY_HASH_IDS=true`).

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Of a hash, in bytes: enough to tell stores apart.
const HASH_BYTES: usize = 8;

/// Whether ids are hashed: said once, when the process starts.
static ARE_HASHED: AtomicBool = AtomicBool::new(false);

/// From now on ids are hashed.
pub fn hash_all() {
    ARE_HASHED.store(true, Ordering::Relaxed);
}

/// A store's id as it is shown.
#[must_use]
pub fn shown(store: &str) -> Cow<'_, str> {
    if ARE_HASHED.load(Ordering::Relaxed) {
        Cow::Owned(hash(store))
    } else {
        Cow::Borrowed(store)
    }
}

/// The beginning of an id's SHA-256, in hexadecimal digits.
fn hash(id: &str) -> String {
    let mut text = String::new();
    for byte in hmac_sha256::Hash::hash(id.as_bytes())
        .iter()
        .take(HASH_BYTES)
    {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hash_is_the_beginning_of_sha_256() {
        assert_eq!(super::hash("abc"), "ba7816bf8f01cfea");
    }
}
