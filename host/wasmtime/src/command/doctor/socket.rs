//! A client's WebSocket to the server that is visited.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, Message, WebSocket};

use super::target::Target;
use crate::limits::FRAME_BYTES_MAX;
use crate::process::tls;

/// A connection, with TLS or without.
pub enum Stream {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects to the first address that takes it.
    ///
    /// # Errors
    /// Of the last address.
    pub fn connect(target: &Target) -> io::Result<TcpStream> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (target.host().as_str(), target.port()).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, target.timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(target.timeout))?;
                    stream.set_write_timeout(Some(target.timeout))?;
                    return Ok(stream);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Connects, and agrees on TLS where the address asks for it.
    ///
    /// # Errors
    /// When nobody is there, or is not who is asked for.
    pub fn open(target: &Target) -> io::Result<Self> {
        let mut tcp = Self::connect(target)?;
        if !target.is_tls() {
            return Ok(Self::Plain(tcp));
        }
        let config = tls::client_config().map_err(io::Error::other)?;
        let name = ServerName::try_from(target.host()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, tcp))))
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(buffer),
            Self::Tls(tls) => tls.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub enum Refusal {
    /// The upgrade is refused: status, and the beginning of the body.
    Status(u16, String),
    /// It cannot be reached, or breaks off.
    Gone(String),
}

/// What comes in.
#[derive(Debug)]
pub enum Received {
    /// A frame.
    Frame(Value),
    /// A frame that is no JSON.
    Garbage,
    /// The server's close: code and reason.
    Closed(u16, String),
    /// The connection broke off, in the system's words.
    Gone(String),
    /// Nothing, in time.
    Silence,
}

impl Received {
    /// In words, where something else was due.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Frame(frame) => {
                let tag = frame.get("_tag").and_then(Value::as_str);
                format!(
                    "a frame came that was not due: {}",
                    tag.unwrap_or("without a _tag")
                )
            }
            Self::Garbage => "a frame came that is no JSON".to_owned(),
            Self::Closed(code, reason) => format!("the server closed the socket: {code} {reason}"),
            Self::Gone(why) => format!("the connection broke off: {why}"),
            Self::Silence => "no answer came in time".to_owned(),
        }
    }
}

/// An open socket.
pub struct Socket {
    socket: WebSocket<Stream>,
    timeout: Duration,
}

impl Socket {
    /// Connects to a store.
    ///
    /// # Errors
    /// Why there is no socket.
    pub fn dial(target: &Target, store: &str, token: Option<&str>) -> Result<Self, Refusal> {
        let gone = |words: String| Refusal::Gone(words);
        let stream = Stream::open(target).map_err(|error| gone(error.to_string()))?;
        let request = target
            .socket(store, token)
            .into_client_request()
            // Its words may quote the URL.
            .map_err(|_| gone("the address makes no request".to_owned()))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => Ok(Self {
                socket,
                timeout: target.timeout,
            }),
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = String::from_utf8_lossy(body).into_owned();
                Err(Refusal::Status(response.status().as_u16(), body))
            }
            Err(HandshakeError::Failure(error)) => Err(gone(error.to_string())),
            Err(HandshakeError::Interrupted(_)) => Err(gone("no answer came in time".to_owned())),
        }
    }

    /// Sends a frame. A socket that is gone says so when it is read.
    pub fn send(&mut self, frame: &Value) {
        let _ = self.socket.send(Message::text(frame.to_string()));
    }

    /// What comes next, within the time for an answer.
    pub fn receive(&mut self) -> Received {
        self.receive_within(self.timeout)
    }

    /// What comes next, within this time.
    pub fn receive_within(&mut self, timeout: Duration) -> Received {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Received::Silence;
            }
            if let Err(error) = self.socket.get_ref().tcp().set_read_timeout(Some(left)) {
                return Received::Gone(error.to_string());
            }
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return serde_json::from_str(text.as_str())
                        .map_or(Received::Garbage, Received::Frame);
                }
                Ok(Message::Binary(_)) => return Received::Garbage,
                Ok(Message::Close(frame)) => {
                    let _ = self.socket.flush();
                    return frame.map_or_else(
                        || Received::Closed(1005, String::new()),
                        |it| Received::Closed(it.code.into(), it.reason.as_str().to_owned()),
                    );
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Received::Silence;
                }
                Err(error) => return Received::Gone(error.to_string()),
            }
        }
    }

    /// Closes it as a client does that leaves.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}
