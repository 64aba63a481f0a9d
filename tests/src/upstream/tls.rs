//! TLS for the upstream: a certificate that nobody has heard of.

use std::io;

use anyhow::Result;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A certificate for `127.0.0.1`, signed by itself.
pub struct Identity {
    /// The certificate, as PEM: who trusts it trusts the upstream.
    pub pem: String,
    acceptor: TlsAcceptor,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::from(key))?;
        Ok(Self {
            pem: made.cert.pem(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}

/// A connection, in plain or in TLS.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A connection that was accepted, as this identity if there is one.
pub async fn accepted(
    stream: TcpStream,
    identity: Option<&Identity>,
) -> io::Result<Box<dyn Connection>> {
    Ok(match identity {
        None => Box::new(stream),
        Some(identity) => Box::new(identity.acceptor.accept(stream).await?),
    })
}
