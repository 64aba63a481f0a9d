//! Backend ids of stores that nobody has pushed to. A pull tells its client
//! the store's id, and the client sends it with its first push, perhaps after
//! a restart; but a store that was only pulled leaves nothing on disk. So its
//! id follows from a secret, which the data directory keeps.

use std::fmt::Write;

use hmac_sha256::HMAC;

/// Its size, in bytes: as much as its hash.
const SECRET_BYTES: usize = 32;

/// A backend id's letters, and how many: upstream's (`@livestore/sync-cf`
/// 0.4.0, `src/cf-worker/do/layer.ts`, nanoid).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LETTERS: usize = 21;

/// What the backend ids of a data directory follow from.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The one that [`Secret::to_hex`] has written; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; SECRET_BYTES];
        if text.len() != 2 * SECRET_BYTES {
            return None;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * place..2 * place + 2)?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Its 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The backend id of a store.
    #[must_use]
    pub fn backend_id(&self, store: &str) -> String {
        let hash = HMAC::mac(store.as_bytes(), self.0);
        let letters = hash
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
        letters
            .take(LETTERS)
            .map(|&letter| char::from(letter))
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn i8_an_id_follows_from_secret_and_store_and_tells_neither() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        let id = one.backend_id("s");
        assert_eq!(id.len(), LETTERS);
        assert_eq!(Secret::from_hex(&one.to_hex()).unwrap().backend_id("s"), id);
        assert_ne!(one.backend_id("t"), id);
        assert_ne!(other.backend_id("s"), id);
        for text in ["", "00", &"x".repeat(64), &"é".repeat(32)] {
            assert!(Secret::from_hex(text).is_none());
        }
    }
}
