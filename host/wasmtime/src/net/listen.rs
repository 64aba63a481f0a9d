//! Where the server listens: the addresses that `--listen` means, and the
//! sockets on them.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::task::Poll;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};

/// How often another port is tried, if the system chose one for the first
/// address that is taken on the next.
const PORTS_TRIED_MAX: usize = 16;

/// `--listen HOST:PORT`, resolved. A name stands for all addresses that it
/// has: a browser, curl and Node each choose for themselves which of
/// `127.0.0.1` and `[::1]` they try first for `localhost`, and whoever finds
/// nobody on it, or somebody else, does not always try the other.
#[derive(Debug, Clone)]
pub struct Listen {
    host: String,
    addresses: Vec<SocketAddr>,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const USAGE: &str = "use HOST:PORT, for example localhost:8787, 0.0.0.0:8787 or [::1]:8787";
        let (host, port) = text.rsplit_once(':').ok_or(USAGE)?;
        let is_v6 = host.starts_with('[') && host.ends_with(']');
        let is_odd = host.is_empty() || (host.contains(':') && !is_v6);
        if is_odd || port.parse::<u16>().is_err() {
            return Err(USAGE.to_owned());
        }
        let mut addresses = Vec::new();
        let found = text
            .to_socket_addrs()
            .map_err(|error| format!("{host} has no address: {error}"))?;
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(format!("{host} has no address"));
        }
        Ok(Self {
            host: host.to_owned(),
            addresses,
        })
    }
}

impl Listen {
    /// Whether only this machine can connect.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.addresses
            .iter()
            .all(|address| address.ip().to_canonical().is_loopback())
    }
}

/// Why nothing listens.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Somebody else does. Also where others of the name's addresses are free:
    /// some of its clients would reach that other program.
    #[error(
        "cannot listen on {0}: another program does already; stop it, or choose another port with --listen"
    )]
    InUse(SocketAddr),
    /// The system does not let us.
    #[error("cannot listen on {address}: {error}")]
    System {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The name's addresses are other machines'.
    #[error(
        "cannot listen on {0}: this machine has no such address; use 127.0.0.1 for this machine alone, 0.0.0.0 for all its addresses"
    )]
    Elsewhere(String),
}

/// The server's listening sockets.
#[derive(Debug)]
pub struct Listeners {
    host: String,
    sockets: Vec<(SocketAddr, TcpListener)>,
    /// Whose turn it is to be asked first: no address starves another.
    first: usize,
}

impl Listeners {
    /// Listens on all addresses that this machine has, on the same port. One
    /// that it does not have is passed over: hosts files name `::1` where
    /// IPv6 is off, too.
    ///
    /// # Errors
    /// When it cannot listen on one, or has none of them.
    pub async fn bind(listen: &Listen) -> Result<Self, ListenError> {
        for _ in 1..PORTS_TRIED_MAX {
            match Self::bind_once(listen).await {
                Err(ListenError::InUse(_)) if listen.addresses.iter().any(|it| it.port() == 0) => {}
                done => return done,
            }
        }
        Self::bind_once(listen).await
    }

    async fn bind_once(listen: &Listen) -> Result<Self, ListenError> {
        let mut sockets: Vec<(SocketAddr, TcpListener)> = Vec::new();
        for mut address in listen.addresses.iter().copied() {
            // Port 0: the first chooses for all.
            if let Some((chosen, _)) = sockets.first() {
                address.set_port(chosen.port());
            }
            let bound = TcpListener::bind(address)
                .await
                .and_then(|socket| Ok((socket.local_addr()?, socket)));
            match bound {
                Ok(bound) => sockets.push(bound),
                Err(error) if is_elsewhere(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(ListenError::InUse(address));
                }
                Err(error) => return Err(ListenError::System { address, error }),
            }
        }
        if sockets.is_empty() {
            return Err(ListenError::Elsewhere(listen.host.clone()));
        }
        Ok(Self {
            host: listen.host.clone(),
            sockets,
            first: 0,
        })
    }

    /// The next connection, and where it comes from. Safe to cancel.
    ///
    /// # Errors
    /// When the system refuses one.
    pub(crate) async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.first = self.first.wrapping_add(1) % self.sockets.len().max(1);
        let (before, from) = self.sockets.split_at(self.first);
        poll_fn(|context| {
            for (_, socket) in from.iter().chain(before) {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// For people: `http://127.0.0.1:8787`, `http://localhost:8787 (127.0.0.1, ::1)`.
impl fmt::Display for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self
            .sockets
            .first()
            .map_or(0, |(address, _)| address.port());
        write!(f, "http://{}:{port}", self.host)?;
        if self.host.starts_with('[') {
            return Ok(());
        }
        let mut between = " (";
        for (address, _) in &self.sockets {
            let ip = address.ip().to_string();
            if ip != self.host {
                write!(f, "{between}{ip}")?;
                between = ", ";
            }
        }
        if between == ", " {
            f.write_str(")")
        } else {
            Ok(())
        }
    }
}

/// Whether this machine does not have the address, or its whole family.
fn is_elsewhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::{TcpListener, TcpStream};

    use super::{Listen, ListenError, Listeners};

    /// A name with these addresses.
    fn named(addresses: &[&str]) -> Listen {
        Listen {
            host: "name".to_owned(),
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        }
    }

    /// Whether there is IPv6 on this machine.
    async fn has_v6() -> bool {
        TcpListener::bind("[::1]:0").await.is_ok()
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_answered_on_one_port() {
        let mut listeners = Listeners::bind(&named(&["127.0.0.1:0", "[::1]:0"]))
            .await
            .unwrap();
        let addresses: Vec<SocketAddr> = listeners.sockets.iter().map(|(at, _)| *at).collect();
        assert_eq!(addresses.len(), 1 + usize::from(has_v6().await));
        for address in &addresses {
            assert_eq!(address.port(), addresses[0].port());
            let client = TcpStream::connect(address).await.unwrap();
            let (_, peer) = listeners.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_passed_over() {
        // RFC 5737: nobody's.
        let listeners = Listeners::bind(&named(&["192.0.2.1:0", "127.0.0.1:0"])).await;
        assert_eq!(listeners.unwrap().sockets.len(), 1);
        let none = Listeners::bind(&named(&["192.0.2.1:0"])).await;
        assert!(matches!(none, Err(ListenError::Elsewhere(_))), "{none:?}");
    }

    #[tokio::test]
    async fn one_address_that_is_taken_refuses_the_name() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = other.local_addr().unwrap().to_string();
        let free = format!("[::1]:{}", other.local_addr().unwrap().port());
        let refused = Listeners::bind(&named(&[&free, &taken])).await;
        assert!(matches!(refused, Err(ListenError::InUse(_))), "{refused:?}");
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in [
            "localhost",
            "8787",
            ":8787",
            "localhost:",
            "localhost:http",
            "::1",
            "::1:1",
        ] {
            let refused = text.parse::<Listen>().unwrap_err();
            assert!(refused.contains("HOST:PORT"), "{text}: {refused}");
        }
        for (text, is_loopback) in [
            ("localhost:1", true),
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
        ] {
            assert_eq!(
                text.parse::<Listen>().unwrap().is_loopback(),
                is_loopback,
                "{text}"
            );
        }
    }
}
