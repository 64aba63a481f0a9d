//! Backend ids of stores that nobody ever pushed to: nothing is kept of them,
//! and still the id must be the same after a rest and after a restart (I8). A
//! client sends the one that it was told with its first push.

use std::io;

use hmac_sha256::HMAC;

/// Upstream's alphabet, that of nanoid (`@livestore/sync-cf` 0.4.0,
/// `src/cf-worker/do/layer.ts`).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A backend id's length, upstream's, in characters.
const LENGTH: usize = 21;

/// A secret's length, in bytes.
const BYTES: usize = 32;

/// What the ids of a data directory, or of a process's memory, are derived
/// from. Another secret gives other ids. It is kept as a secret so that nobody
/// can tell the id of a store that they may not enter.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; BYTES]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes))
    }

    /// The one that was kept as [`bytes`](Self::bytes); `None` when its length
    /// is another.
    #[must_use]
    pub fn kept(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As it is kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The backend id of a store: 21 characters, as random as the secret.
    #[must_use]
    pub fn backend_id(&self, store: &str) -> String {
        HMAC::mac(store, self.0)
            .iter()
            .take(LENGTH)
            .filter_map(|byte| ALPHABET.get(usize::from(byte & 63)))
            .map(|&letter| char::from(letter))
            .collect()
    }
}
