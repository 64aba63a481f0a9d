//! Where frames end in what a socket reads. tungstenite keeps the buffer that
//! its largest frame needed, for as long as the socket lives, and does not
//! tell whether anything is in it: 20 sockets that had sent a message of
//! 30 MB each and gone quiet held 700 MB. This tells when nothing is.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// A header's largest size, in bytes (RFC 6455).
const HEADER_BYTES_MAX: usize = 14;

/// Follows the frames of a stream.
#[derive(Default)]
pub struct Boundary {
    /// What has come of the next header.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// What is to come of the frame's payload, in bytes.
    payload_left: u64,
    /// More frames of a message are to come.
    is_continued: bool,
    largest: u64,
    /// Of the message under way, what its frames up to now hold, in bytes;
    /// of the last one, where none is.
    message_bytes: u64,
    /// Messages that have begun.
    begun: u64,
    /// Whether the frame under way is one of a message.
    is_data: bool,
}

/// A message, as far as its frames' headers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Which one it is of those that came.
    pub number: u64,
    /// Its size, in bytes; `None` when more frames of it are to come.
    pub bytes: Option<u64>,
    /// What its frames up to now hold, in bytes.
    pub bytes_min: u64,
}

impl Boundary {
    /// These bytes have come.
    pub fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.payload_left)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.payload_left -= skipped as u64;
            bytes = self.read_header(bytes.get(skipped..).unwrap_or_default());
        }
    }

    /// Reads a header, or its beginning, if it is time for one. Returns what
    /// is behind it.
    fn read_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.header_bytes;
        for (place, byte) in self.header.iter_mut().skip(before).zip(bytes) {
            *place = *byte;
            self.header_bytes += 1;
        }
        let mut cursor = Cursor::new(self.header.get(..self.header_bytes).unwrap_or_default());
        match FrameHeader::parse(&mut cursor) {
            Ok(Some((header, payload_bytes))) => {
                self.header_bytes = 0;
                self.payload_left = payload_bytes;
                self.largest = self.largest.max(payload_bytes);
                self.is_data = matches!(header.opcode, OpCode::Data(_));
                if let OpCode::Data(data @ (Data::Text | Data::Binary | Data::Continue)) =
                    header.opcode
                {
                    if data != Data::Continue {
                        self.begun += 1;
                        self.message_bytes = 0;
                    }
                    self.message_bytes = self.message_bytes.saturating_add(payload_bytes);
                    self.is_continued = !header.is_final;
                }
                let used = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
                bytes.get(used.saturating_sub(before)..).unwrap_or_default()
            }
            Ok(None) => &[],
            Err(_) => {
                // No frame: tungstenite ends the connection.
                self.payload_left = u64::MAX;
                &[]
            }
        }
    }

    /// Whether what has come ends with a message.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.header_bytes == 0 && self.payload_left == 0 && !self.is_continued
    }

    /// The message that began last: it may have ended.
    #[must_use]
    pub fn announced(&self) -> Announced {
        Announced {
            number: self.begun,
            bytes: (!self.is_continued).then_some(self.message_bytes),
            bytes_min: self.message_bytes,
        }
    }

    /// Whether all of the message that began last has come. Control frames
    /// may come between its frames and behind them.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !(self.is_continued || self.is_data && self.payload_left > 0)
    }

    /// The largest frame's payload since this was last taken, in bytes.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// The same, and counts anew.
    pub fn take_largest(&mut self) -> u64 {
        std::mem::take(&mut self.largest)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use tungstenite::Message;
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::{Role, WebSocketContext};

    use super::*;

    /// Messages as a client sends them, one after another.
    pub(crate) fn sent(messages: impl IntoIterator<Item = Message>) -> Vec<u8> {
        let mut sent = Cursor::new(Vec::new());
        let mut client = WebSocketContext::new(Role::Client, None);
        for message in messages {
            client.write(&mut sent, message).unwrap();
            client.flush(&mut sent).unwrap();
        }
        sent.into_inner()
    }

    fn fragment(text: &'static str, opcode: Data, is_final: bool) -> Message {
        Message::Frame(Frame::message(text, OpCode::Data(opcode), is_final))
    }

    #[test]
    fn it_knows_the_end_of_a_message_however_the_bytes_come() {
        let messages = [
            Message::text(""),
            Message::text("x".repeat(125)),
            Message::Ping(vec![1].into()),
            Message::binary(vec![0; 126]),
            Message::text("x".repeat(65_535)),
            Message::text("x".repeat(65_536)),
        ];
        let mut all = Vec::new();
        let mut ends = vec![0];
        for message in messages {
            all.extend(sent([message]));
            ends.push(all.len());
        }
        for piece_bytes in [1, 2, 3, 13, 14, 15, 1_000, 2_048] {
            let mut boundary = Boundary::default();
            let mut read = 0;
            for piece in all.chunks(piece_bytes) {
                boundary.read(piece);
                read += piece.len();
                assert_eq!(
                    boundary.is_between_messages(),
                    ends.contains(&read),
                    "{read}"
                );
            }
            assert_eq!(boundary.largest(), 65_536);
        }
    }

    #[test]
    fn a_message_of_several_frames_ends_with_the_last() {
        let mut boundary = Boundary::default();
        let mut is_between = |message| {
            boundary.read(&sent([message]));
            boundary.is_between_messages()
        };
        assert!(!is_between(fragment("a", Data::Text, false)));
        assert!(!is_between(Message::Ping(vec![1].into())));
        assert!(!is_between(fragment("b", Data::Continue, false)));
        assert!(is_between(fragment("c", Data::Continue, true)));
    }

    #[test]
    fn i7_whether_a_message_is_whole_no_control_frame_tells() {
        let mut boundary = Boundary::default();
        let mut read = |message| {
            boundary.read(&sent([message]));
            (boundary.has_ended(), boundary.announced())
        };
        let announced = |number, bytes, bytes_min| Announced {
            number,
            bytes,
            bytes_min,
        };
        let ping = || Message::Ping(vec![1; 100].into());
        assert_eq!(read(ping()), (true, announced(0, Some(0), 0)));
        let first = fragment("abc", Data::Text, false);
        assert_eq!(read(first), (false, announced(1, None, 3)));
        assert_eq!(read(ping()), (false, announced(1, None, 3)));
        let next = fragment("de", Data::Continue, false);
        assert_eq!(read(next), (false, announced(1, None, 5)));
        let last = fragment("f", Data::Continue, true);
        assert_eq!(read(last), (true, announced(1, Some(6), 6)));
        assert_eq!(read(ping()), (true, announced(1, Some(6), 6)));
        assert_eq!(
            read(Message::text("next")),
            (true, announced(2, Some(4), 4))
        );
        // All but its last byte.
        let mut boundary = Boundary::default();
        let whole = sent([Message::text("x".repeat(100))]);
        let (last, most) = whole.split_last().unwrap();
        boundary.read(most);
        assert!(!boundary.has_ended());
        boundary.read(&[*last]);
        assert!(boundary.has_ended());
    }

    #[test]
    fn what_is_no_frame_has_no_end() {
        let mut boundary = Boundary::default();
        boundary.read(&[0x83, 0x80, 0, 0, 0, 0]);
        assert!(!boundary.is_between_messages());
        boundary.read(&sent([Message::text("x")]));
        assert!(!boundary.is_between_messages());
    }
}
