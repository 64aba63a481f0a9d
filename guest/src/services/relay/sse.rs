//! Server-sent events (HTML, 9.2.6), piece by piece as they arrive: wherever
//! a piece ends, in a character or between CR and LF, the events are the same.

use serde::{Deserialize, Serialize};

/// An event, and a line of one: chunks of a model's answer have some hundred
/// bytes, but for those with an image.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// What is between two pieces, beside the bytes of [`Parser::behind`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Of the bytes behind the state, so many are data of the event that has
    /// begun; the rest is a line that has.
    data_bytes: usize,
    /// Whether an event has data, be it empty.
    has_data: bool,
    /// Whether the last byte was a CR: a LF that follows belongs to it.
    is_after_cr: bool,
    /// Whether a line has been read: before it there may be a BOM.
    is_begun: bool,
}

/// The parser.
#[derive(Debug)]
pub struct Parser {
    state: State,
    data: Vec<u8>,
    line: Vec<u8>,
}

/// What comes out of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// An event's data.
    Data(Vec<u8>),
    /// A comment: somebody keeps the connection alive.
    Comment,
    /// An event is larger than any may be. Nothing follows.
    TooLarge,
}

impl Parser {
    /// From where it was.
    #[must_use]
    pub fn resume(state: State, behind: &[u8]) -> Self {
        let (data, line) = behind
            .split_at_checked(state.data_bytes)
            .unwrap_or((behind, &[]));
        Self {
            state,
            data: data.to_vec(),
            line: line.to_vec(),
        }
    }

    /// Where it is, with [`Parser::behind`].
    #[must_use]
    pub fn state(&self) -> State {
        State {
            data_bytes: self.data.len(),
            ..self.state.clone()
        }
    }

    /// The bytes that no event was made of yet.
    #[must_use]
    pub fn behind(&self) -> [&[u8]; 2] {
        [&self.data, &self.line]
    }

    /// The next item of these bytes, which it takes off them; `None` when they
    /// are used up.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Item> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.state.is_after_cr) && *first == b'\n' {
                *bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let Some((line, rest)) = end.and_then(|end| bytes.split_at_checked(end)) else {
                self.line.extend_from_slice(bytes);
                *bytes = &[];
                return (self.line.len() > EVENT_BYTES_MAX).then_some(Item::TooLarge);
            };
            self.line.extend_from_slice(line);
            self.state.is_after_cr = rest.first() == Some(&b'\r');
            *bytes = rest.get(1..).unwrap_or_default();
            let item = self.end_line();
            if item.is_some() {
                return item;
            }
        }
        None
    }

    /// What is left when nothing more comes. By the specification an event that
    /// is not ended is none, but servers leave out the last line's end.
    pub fn finish(&mut self) -> Option<Item> {
        if !self.line.is_empty() {
            let item = self.end_line();
            if item.is_some() {
                return item;
            }
        }
        self.dispatch()
    }

    fn end_line(&mut self) -> Option<Item> {
        let mut line = std::mem::take(&mut self.line);
        if line.len() > EVENT_BYTES_MAX {
            return Some(Item::TooLarge);
        }
        if !std::mem::replace(&mut self.state.is_begun, true)
            && let Some(rest) = line.strip_prefix(b"\xEF\xBB\xBF")
        {
            line = rest.to_vec();
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon.and_then(|colon| line.split_at_checked(colon)) {
            Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
            None => (line.as_slice(), &b""[..]),
        };
        match name {
            b"" => return Some(Item::Comment),
            b"data" => {
                if std::mem::replace(&mut self.state.has_data, true) {
                    self.data.push(b'\n');
                }
                let value = value.strip_prefix(b" ").unwrap_or(value);
                self.data.extend_from_slice(value);
            }
            // `event`, `id`, `retry`: no upstream says anything with them.
            _ => {}
        }
        (self.data.len() > EVENT_BYTES_MAX).then_some(Item::TooLarge)
    }

    fn dispatch(&mut self) -> Option<Item> {
        let data = std::mem::take(&mut self.data);
        std::mem::take(&mut self.state.has_data).then_some(Item::Data(data))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// The items of a stream in pieces that end where `cut` says, with the
    /// state kept as a relay's context keeps it.
    fn items(stream: &[u8], mut cut: impl FnMut() -> usize) -> Vec<Item> {
        let mut items = Vec::new();
        let (mut state, mut behind) = (State::default(), Vec::new());
        let mut rest = stream;
        while !rest.is_empty() {
            let (mut piece, after) = rest.split_at(cut().clamp(1, rest.len()));
            rest = after;
            let mut parser = Parser::resume(state, &behind);
            while let Some(item) = parser.next(&mut piece) {
                let is_last = item == Item::TooLarge;
                items.push(item);
                if is_last {
                    return items;
                }
            }
            state = serde_json::from_str(&serde_json::to_string(&parser.state()).unwrap()).unwrap();
            behind = parser.behind().concat();
        }
        let mut parser = Parser::resume(state, &behind);
        items.extend(parser.finish());
        items
    }

    fn data(texts: &[&str]) -> Vec<Item> {
        let texts = texts.iter();
        texts
            .map(|text| Item::Data(text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn events_are_what_the_specification_says() {
        for (stream, texts) in [
            ("data: a\n\ndata:b\n\n", &["a", "b"][..]),
            ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]),
            ("data: a\ndata:  b\n\n", &["a\n b"]),
            ("data: a\r\ndata: b\r\n\r\n", &["a\nb"]),
            ("data: a\rdata: b\n\r\n", &["a\nb"]),
            ("data\n\n", &[""]),
            ("data\ndata\n\n", &["\n"]),
            ("\u{FEFF}data: a\n\n", &["a"]),
            ("\u{FEFF}\u{FEFF}data: a\n\n", &[]),
            ("event: x\nid: 1\nretry: 2\ndata: a\n\n", &["a"]),
            ("event: x\n\n\n\ndata: a\n\n", &["a"]),
            ("DATA: a\n\n data: b\n\n", &[]),
            ("data: é\u{1F600}\n\n", &["é\u{1F600}"]),
            // Not ended.
            ("data: a\n\ndata: b", &["a", "b"]),
            ("data: a\n", &["a"]),
            ("", &[]),
            ("<html>\n\n</html>", &[]),
        ] {
            assert_eq!(
                items(stream.as_bytes(), || 1 << 20),
                data(texts),
                "{stream:?}"
            );
            assert_eq!(items(stream.as_bytes(), || 1), data(texts), "{stream:?}");
        }
        assert_eq!(items(b":\n: x\n\n", || 9), [Item::Comment, Item::Comment]);
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let parts = [
            "data: ",
            "data:",
            "data",
            "\n",
            "\r\n",
            "\r",
            "\n\n",
            "{\"a\":1}",
            ": c",
            ":",
            "\u{FEFF}",
            "é",
            "event: e",
            " ",
            "[DONE]",
        ];
        for seed in 0..3_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let stream: String = (0..random.usize(1..40))
                .map(|_| parts[random.usize(..parts.len())])
                .collect();
            let whole = items(stream.as_bytes(), || usize::MAX);
            let split = items(stream.as_bytes(), || random.usize(1..9));
            assert_eq!(whole, split, "seed {seed}: {stream:?}");
        }
    }

    #[test]
    fn an_event_has_an_end() {
        let most = format!("data: {}\n\n", "a".repeat(EVENT_BYTES_MAX - 6));
        assert!(matches!(
            &items(most.as_bytes(), || 65_536)[..],
            [Item::Data(_)]
        ));
        let long = format!("data: {}", "a".repeat(EVENT_BYTES_MAX));
        assert_eq!(items(long.as_bytes(), || 65_536), [Item::TooLarge]);
        assert_eq!(items(long.as_bytes(), || usize::MAX), [Item::TooLarge]);
        let lines = "data: aaaaaaa\n".repeat(EVENT_BYTES_MAX / 8 + 1);
        assert_eq!(items(lines.as_bytes(), || 65_536), [Item::TooLarge]);
        assert_eq!(items(lines.as_bytes(), || usize::MAX), [Item::TooLarge]);
        // Fields that nobody keeps are not counted together.
        let ids = format!("{}data: a\n\n", "id: aaaaaaa\n".repeat(200_000));
        assert_eq!(items(ids.as_bytes(), || 65_536), data(&["a"]));
    }
}
