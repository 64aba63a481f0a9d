//! How a client speaks: what carries its messages, and in which version they
//! are written.

use super::dialect::Dialect;
use super::message::Decoded;
use super::reply::Reply;

/// What carries a client's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// A WebSocket, a message a frame.
    Socket,
    /// An HTTP POST, with one request.
    Http,
    /// A call by another Durable Object, with several.
    Object,
    /// A call of another Durable Object, with what is pushed later.
    Callback,
}

/// How a client came in: what its messages are carried by, and their version
/// where the way it came in tells. Else its first message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speech {
    /// The carrier.
    pub carrier: Carrier,
    /// The version, if it is known.
    pub dialect: Option<Dialect>,
}

impl Speech {
    /// Over a WebSocket, of 0.4 or later.
    pub const SOCKET: Self = Self::by(Carrier::Socket);
    /// Over HTTP.
    pub const HTTP: Self = Self::by(Carrier::Http);
    /// Between Durable Objects.
    pub const OBJECT: Self = Self::by(Carrier::Object);
    /// Over a WebSocket, 0.3.
    pub const SOCKET_V3: Self = Self {
        carrier: Carrier::Socket,
        dialect: Some(Dialect::V3),
    };

    const ALL: [(&'static str, Self); 4] = [
        ("socket", Self::SOCKET),
        ("http", Self::HTTP),
        ("object", Self::OBJECT),
        ("socket 0.3", Self::SOCKET_V3),
    ];

    const fn by(carrier: Carrier) -> Self {
        Self {
            carrier,
            dialect: None,
        }
    }

    /// As the host passes it on.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, it)| *it == self);
        known.map_or("", |(name, _)| name)
    }

    /// What the host passed on; `None` if another version of Syncline wrote it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let known = Self::ALL.iter().find(|(it, _)| *it == name);
        known.map(|(_, speech)| *speech)
    }
}

/// A client's way to read and to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Voice {
    /// The version.
    pub dialect: Dialect,
    /// The carrier.
    pub carrier: Carrier,
}

impl Voice {
    /// The voice of whoever sent this message, which may be its first.
    #[must_use]
    pub fn of_first(message: &[u8], carrier: Carrier) -> Self {
        let dialect = Dialect::of_first(message).unwrap_or_default();
        Self { dialect, carrier }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When no request id can be read that an answer could name.
    pub fn read(self, message: &[u8]) -> Decoded<'_> {
        self.dialect.codec().read(message, self.carrier)
    }

    /// Writes what answers a request.
    #[must_use]
    pub fn write(self, request_id: &str, reply: &Reply<'_>) -> String {
        self.dialect.codec().write(request_id, reply, self.carrier)
    }

    /// Writes what answers a message that cannot be understood.
    #[must_use]
    pub fn defect(self, words: &str) -> String {
        self.dialect.codec().defect(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_is_known_again() {
        for (name, speech) in Speech::ALL {
            assert_eq!(speech.as_str(), name);
            assert_eq!(Speech::parse(name), Some(speech));
        }
        assert_eq!(Speech::parse("ws-v4"), None);
    }
}
