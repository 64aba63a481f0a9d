//! A WebSocket client of raw frames.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use crate::server::Server;

/// How long an answer may take before the test fails. Generous: it is there
/// so that a missing answer is a failure and not a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// An open socket.
pub struct Socket {
    socket: WebSocket<TcpStream>,
    /// Whether it speaks 0.3: by its path.
    pub is_v3: bool,
    /// The id that its upgrade was answered with, if it was.
    pub request_id: Option<String>,
}

/// What came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// A text frame, as it came.
    Text(String),
    /// The server's close: code and reason.
    Closed(u16, String),
}

impl Received {
    /// Whether the connection has ended without a close.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Closed(1006, _))
    }
}

/// Why there is no socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// The server refuses the upgrade, with this status.
    Refused(u16),
    /// The server cannot be reached, or went away in the middle.
    Gone(String),
}

impl Socket {
    /// Connects to `path_and_query` on the server.
    ///
    /// # Panics
    /// When the server refuses the upgrade.
    #[must_use]
    pub fn open(server: &Server, path_and_query: &str) -> Self {
        Self::try_open(server, path_and_query, &[]).expect("the upgrade is accepted")
    }

    /// Connects, with more headers; the HTTP status where it is refused.
    ///
    /// # Errors
    /// The status of the refusal.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub fn try_open(
        server: &Server,
        path_and_query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        match Self::dial(server, path_and_query, headers) {
            Ok(socket) => Ok(socket),
            Err(DialError::Refused(status)) => Err(status),
            Err(DialError::Gone(words)) => panic!("no upgrade: {words}"),
        }
    }

    /// Connects to a server that may be gone at any moment.
    ///
    /// # Errors
    /// Why there is no socket.
    pub fn dial(
        server: &Server,
        path_and_query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, DialError> {
        let gone = |error: &dyn std::fmt::Display| DialError::Gone(error.to_string());
        let authority = server.url.trim_start_matches("http://");
        let tcp = TcpStream::connect(authority).map_err(|error| gone(&error))?;
        tcp.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        tcp.set_write_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let url = format!("ws://{authority}{path_and_query}");
        let mut request = url.into_client_request().expect("a valid URL");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        match tungstenite::client::client_with_config(request, tcp, Some(config)) {
            Ok((socket, answer)) => Ok(Self {
                socket,
                request_id: answer.headers().get("x-request-id").map(|id| {
                    let id = id.to_str().expect("an id of ASCII");
                    id.to_owned()
                }),
                is_v3: path_and_query.contains("/websocket?")
                    && !path_and_query.contains("transport="),
            }),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(DialError::Refused(response.status().as_u16()))
            }
            Err(error) => Err(gone(&error)),
        }
    }

    /// Sends a text frame.
    pub fn send(&mut self, frame: impl ToString) {
        let text = frame.to_string();
        self.socket
            .send(Message::text(text))
            .expect("the socket is open");
    }

    /// Sends a text frame; whether all of it was taken.
    pub fn try_send(&mut self, text: String) -> bool {
        self.socket.send(Message::text(text)).is_ok()
    }

    /// Sends a binary frame.
    pub fn send_binary(&mut self, bytes: impl Into<Vec<u8>>) {
        let message = Message::binary(bytes.into());
        self.socket.send(message).expect("the socket is open");
    }

    /// What comes next.
    ///
    /// # Panics
    /// When nothing comes in time.
    pub fn receive(&mut self) -> Received {
        self.receive_within(ANSWER_TIMEOUT)
            .expect("an answer comes")
    }

    /// What comes next, if it comes in time.
    pub fn receive_within(&mut self, timeout: Duration) -> Option<Received> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let stream = self.socket.get_ref();
            stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .unwrap();
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(Received::Text(text.as_str().to_owned())),
                Ok(Message::Close(frame)) => {
                    // Answers the close.
                    let _ = self.socket.flush();
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.as_str().to_owned())
                    });
                    return Some(Received::Closed(code, reason));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    return None;
                }
                // Gone without a close.
                Err(_) => return Some(Received::Closed(1006, String::new())),
            }
        }
    }

    /// The next frame as JSON.
    ///
    /// # Panics
    /// When none comes, or it is none.
    pub fn receive_json(&mut self) -> Value {
        match self.receive() {
            Received::Text(text) => serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("a frame that is no JSON ({error}): {text}")),
            closed @ Received::Closed(..) => panic!("a frame was due, not {closed:?}"),
        }
    }

    /// The server's close.
    ///
    /// # Panics
    /// When a frame comes instead, or nothing.
    pub fn receive_close(&mut self) -> (u16, String) {
        match self.receive() {
            Received::Closed(code, reason) => (code, reason),
            frame @ Received::Text(_) => panic!("a close was due, not {frame:?}"),
        }
    }

    /// Closes with this code.
    pub fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        let _ = self.socket.close(Some(frame));
        let _ = self.socket.flush();
    }
}
