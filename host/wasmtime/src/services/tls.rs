//! TLS, for calls of other servers.

use rustls::crypto::ring;

/// Says whose cryptography is used: to be called before a client is made.
pub fn prepare() {
    // It fails when somebody has said so before.
    let _ = ring::default_provider().install_default();
}
