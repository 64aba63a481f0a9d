//! Where a WebSocket's frames end (`boundary.rs` of the wasmtime host): the
//! same however the bytes come, and as tungstenite sees it.

use std::io::{Cursor, Read, Write};

use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketContext};
use tungstenite::{Error, Message};

use crate::boundary_followed::{Announced, Boundary};
use crate::transcripts::{Step, Transcript, distinct};
use crate::{Reached, Target};

/// How many bytes at the beginning of an input say in what pieces the rest
/// comes: their sizes, again and again.
const PIECES: usize = 4;

/// The target.
pub const TARGET: Target = Target {
    name: "boundary",
    check,
    corpus,
    words: &["\u{1}\u{7e}", "\u{7f}", "\0\0\0\0", "\u{1}\u{1}\u{1}\u{1}"],
    reaches: &["between messages", "within one", "no frame"],
    runs: 6_000,
};

/// The frames of a transcript as one socket would send them: whole, or in
/// fragments with a Ping between.
fn corpus(transcripts: &[Transcript]) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for transcript in transcripts {
        let frames = transcript.steps.iter().filter_map(|step| match step {
            Step::Send(_, json) | Step::Request(_, json) | Step::Call(json) => Some(json.as_str()),
            _ => None,
        });
        let frames: Vec<&str> = frames.filter(|it| it.len() < 2_000).take(8).collect();
        let whole: Vec<Message> = frames.iter().map(|it| Message::text(*it)).collect();
        let fragments: Vec<Message> = frames.iter().flat_map(|it| fragments(it)).collect();
        for (pieces, messages, is_wide) in [
            ([1, 1, 1, 1], &whole, false),
            ([2, 13, 14, 200], &fragments, false),
            ([11, 3, 1, 90], &fragments, true),
        ] {
            inputs.push([pieces.to_vec(), sent(messages, is_wide)].concat());
        }
    }
    distinct(inputs)
}

fn fragments(text: &str) -> [Message; 3] {
    let middle = (0..=text.len() / 2)
        .rev()
        .find(|&it| text.is_char_boundary(it));
    let (one, other) = text.split_at(middle.unwrap_or(0));
    let fragment = |text: &str, opcode, is_final| {
        Message::Frame(Frame::message(
            text.to_owned(),
            OpCode::Data(opcode),
            is_final,
        ))
    };
    [
        fragment(one, Data::Text, false),
        Message::Ping(vec![1].into()),
        fragment(other, Data::Continue, true),
    ]
}

/// Messages as a client sends them, with a mask that is always the same.
/// Wide ones have their length in 8 bytes, as if they were large: the longest
/// header.
fn sent(messages: &[Message], is_wide: bool) -> Vec<u8> {
    let mut sent = Vec::new();
    for message in messages {
        let frame = match message.clone() {
            Message::Frame(frame) => frame,
            Message::Text(text) => Frame::message(text, OpCode::Data(Data::Text), true),
            other => Frame::ping(other.into_data()),
        };
        let mut header = frame.header().clone();
        let mask = [7, 0, 1, 255];
        header.mask = Some(mask);
        let payload = frame.into_payload();
        let length = payload.len() as u64;
        // A control frame's length is in its second byte.
        if is_wide && matches!(header.opcode, OpCode::Data(_)) {
            header.format(u64::MAX, &mut sent).unwrap();
            let at = sent.len() - mask.len() - 8;
            sent[at..at + 8].copy_from_slice(&length.to_be_bytes());
        } else {
            header.format(length, &mut sent).unwrap();
        }
        let masked = payload.iter().zip(mask.iter().cycle());
        sent.extend(masked.map(|(byte, it)| byte ^ it));
    }
    sent
}

/// All that a boundary tells.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    is_between_messages: bool,
    announced: Announced,
    has_ended: bool,
    largest: u64,
}

fn told(boundary: &Boundary) -> Told {
    Told {
        is_between_messages: boundary.is_between_messages(),
        announced: boundary.announced(),
        has_ended: boundary.has_ended(),
        largest: boundary.largest(),
    }
}

/// Feeds the bytes in pieces, in other pieces and at once.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> Reached {
    let (sizes, stream) = input.split_at(input.len().min(PIECES));
    // Each comparison reads everything before it again.
    let stream = &stream[..stream.len().min(4 * 1024)];
    let mut sizes = sizes.iter().cycle();
    let mut boundary = Boundary::default();
    let mut one_by_one = Boundary::default();
    let mut read = 0;
    let mut is_between = true;
    let mut pieces = 0;
    while read < stream.len() {
        let size = sizes.next().map_or(1, |&size| usize::from(size).max(1));
        let piece = &stream[read..stream.len().min(read + size)];
        boundary.read(piece);
        for byte in piece {
            one_by_one.read(std::slice::from_ref(byte));
        }
        read += piece.len();
        assert_eq!(told(&boundary), told(&one_by_one), "after {read} bytes");
        // Not after every piece: that would be quadratic.
        pieces += 1;
        if pieces % 64 == 1 || read == stream.len() {
            let mut at_once = Boundary::default();
            at_once.read(&stream[..read]);
            assert_eq!(told(&boundary), told(&at_once), "after {read} bytes");
        }
        is_between = boundary.is_between_messages();
        if is_between {
            assert!(boundary.has_ended(), "{:?}", told(&boundary));
        }
    }
    let told = told(&boundary);
    assert_eq!(boundary.take_largest(), told.largest);
    assert_eq!(boundary.largest(), 0);
    vec![check_against_tungstenite(stream, &told, is_between)]
}

/// tungstenite, given the same bytes, has read as many messages.
fn check_against_tungstenite(stream: &[u8], told: &Told, is_between: bool) -> &'static str {
    let mut socket = WebSocketContext::new(Role::Server, None);
    let mut wire = Wire(Cursor::new(stream));
    let mut messages = 0;
    let mut last_bytes = 0;
    loop {
        match socket.read(&mut wire) {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                messages += 1;
                last_bytes = message.len() as u64;
            }
            Ok(Message::Close(_)) => return "close",
            Ok(_) => {}
            Err(Error::Io(_)) => break,
            // No WebSocket: it ends the connection, whatever we think.
            Err(_) => return "no frame",
        }
    }
    if is_between {
        assert_eq!(told.announced.number, messages, "messages that begun");
        if messages > 0 {
            assert_eq!(told.announced.bytes, Some(last_bytes));
        }
        "between messages"
    } else {
        assert!(told.announced.number >= messages);
        "within one"
    }
}

/// The peer: silent when it has sent everything.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
