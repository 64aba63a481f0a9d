//! TLS, for calls of other servers.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::ConfigVerifierExt;

/// Says whose cryptography is used: to be called before a client is made.
pub fn prepare() {
    // It fails when somebody has said so before.
    let _ = ring::default_provider().install_default();
}

/// For a connection of one's own, which trusts whom this machine trusts, as
/// the services' calls of their upstream do.
///
/// # Errors
/// When the machine's certificates cannot be read.
pub fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    prepare();
    Ok(Arc::new(ClientConfig::with_platform_verifier()?))
}
