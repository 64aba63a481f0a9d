//! A whole room fed with frames, on the plain host of the guest's own tests.
//!
//! An input is lines; a line's first byte says what happens, the next one on
//! which connection: `+a4` and `+a3` open one, `>a…` and `#a…` are its text
//! and binary messages, `-a` closes it, `~a` and `!a` are `drained` and
//! `delivered`. `h…` is a request over HTTP, `c…` a call by another Durable
//! Object. `t50` lets 50 ms pass, `z` puts the room to sleep, `w2` has another
//! writer append two events, `f` makes storage fail, or not any more.

use std::collections::BTreeMap;

use syncline_guest::imports::ConnectionId;
use syncline_guest::limits::SEQ_NUM_MAX;
use syncline_guest::protocol::{Call, Message, Speech, Voice};
use syncline_guest::room::{Frame, Room};

use crate::host::{Host, ack, anybody, numbers, pull, push, say, start, wait};
use crate::room_answers::{ADMIN_SECRET, JWT_SECRET, Watch};
use crate::texts::json;
use crate::transcripts::{Step, Transcript, distinct};
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "room",
    check,
    corpus,
    words: &[
        "+b4",
        "+c3",
        "-a",
        "~a",
        "!",
        "t5",
        "t5000",
        "z",
        "w2",
        "f",
        r#">a{"_tag":"Ack","requestId":"0"}"#,
        r#">a{"_tag":"Interrupt","requestId":"0"}"#,
        r#">b{"_tag":"Request","id":"0","tag":"SyncWsRpc.Pull","payload":{"storeId":"store","live":true,"cursor":{"_tag":"None"}}}"#,
        r#">c{"_tag":"WSMessage.PullReq","requestId":"r"}"#,
        r#">a{"_tag":"WSMessage.AdminResetRoomReq","requestId":"r","adminSecret":"change-me"}"#,
        r#">c{"_tag":"WSMessage.AdminResetRoomReq","requestId":"r","adminSecret":"change-me"}"#,
    ],
    reaches: &[
        "landed",
        "refused",
        "not understood",
        "shown",
        "page",
        "closed by the room",
        "reset",
        "served afterwards",
    ],
    runs: 2_500,
};

/// Lines of an input that are looked at: what is longer is slow.
const LINES_MAX: usize = 200;

/// Who comes when all is over. None of an input's.
const LAST: ConnectionId = 2_000;

/// Each transcript as a script, in this room's names. Where an administrator
/// has a wrong secret in it, also with the right one.
fn corpus(transcripts: &[Transcript]) -> Vec<Vec<u8>> {
    let scripts = transcripts.iter().map(script);
    let right = format!(r#""adminSecret":"{ADMIN_SECRET}""#);
    let scripts = scripts.flat_map(|script| {
        let other = script.replace(r#""adminSecret":"bad""#, &right);
        [script.into_bytes(), other.into_bytes()]
    });
    distinct(scripts.collect())
}

fn script(transcript: &Transcript) -> String {
    let mut letters: BTreeMap<&str, char> = BTreeMap::new();
    let mut lines = Vec::new();
    for step in &transcript.steps {
        match step {
            Step::Open(name, url) => {
                let letter = ('a'..='z').nth(letters.len()).expect("few sockets");
                letters.insert(name, letter);
                let version = if url.contains("/websocket") { 3 } else { 4 };
                lines.push(format!("+{letter}{version}"));
            }
            Step::Send(name, json) => lines.push(format!(">{}{json}", letters[name.as_str()])),
            Step::Close(name) => lines.push(format!("-{}", letters[name.as_str()])),
            Step::Request(_, body) => lines.push(format!("h{body}")),
            Step::Call(messages) => lines.push(format!("c{messages}")),
        }
    }
    let mut text = lines.join("\n").replace(&transcript.store_id, "store");
    if let Some(backend_id) = &transcript.backend_id {
        text = text.replace(backend_id, "first");
    }
    text
}

/// Plays a script, and then asks whether the room still serves.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> Reached {
    let mut host = Host::default();
    for (name, value) in [
        ("ADMIN_SECRET", ADMIN_SECRET),
        ("JWT_SECRET", JWT_SECRET),
        ("DO_RPC_CLIENTS", "CLIENT"),
    ] {
        host.env.insert(name, value.to_owned());
    }
    let mut play = Play {
        room: start(&mut host),
        watch: Watch::new(input),
        host,
        others_wrote: false,
    };
    for line in input.split(|&it| it == b'\n').take(LINES_MAX) {
        play.line(line);
        play.watch.turn_is_over(&mut play.host);
    }
    play.still_serves();
    play.watch.reached()
}

struct Play {
    room: Room,
    host: Host,
    watch: Watch,
    /// The room cannot know its log's head.
    others_wrote: bool,
}

impl Play {
    fn line(&mut self, line: &[u8]) {
        let (Some(&what), rest) = (line.first(), line.get(1..).unwrap_or_default()) else {
            return;
        };
        let id = ConnectionId::from(rest.first().copied().unwrap_or_default());
        let body = rest.get(1..).unwrap_or_default();
        let is_open = self.watch.is_open(id);
        match what {
            b'+' if !is_open => {
                let speech = if body == b"3" {
                    Speech::SOCKET_V3
                } else {
                    Speech::SOCKET
                };
                self.watch.opened(id, speech);
                self.room.open(&mut self.host, id, &anybody(speech));
            }
            b'>' | b'#' if is_open => self.message(what == b'>', id, body),
            b'-' if is_open => {
                self.host.attachments.remove(&id);
                self.watch.gone(id);
                self.room.closed(&mut self.host, id);
            }
            b'~' if is_open => self.room.drained(&mut self.host, id),
            // The first of the subscribers.
            b'!' => self.room.delivered(&mut self.host, 1_000),
            b'h' => self.request(Speech::HTTP, rest),
            b'c' => self.request(Speech::OBJECT, rest),
            b't' => {
                let ms = number(rest).min(60_000);
                wait(&mut self.room, &mut self.host, ms);
            }
            b'z' => self.sleep(),
            b'w' => {
                let count = number(rest).min(5);
                if self.host.head() + count <= SEQ_NUM_MAX {
                    self.host.write_elsewhere(count);
                    self.others_wrote = true;
                }
            }
            b'f' => self.host.open_fails = !self.host.open_fails,
            _ => {}
        }
    }

    fn message(&mut self, is_text: bool, id: ConnectionId, body: &[u8]) {
        let frame = match String::from_utf8(body.to_vec()) {
            Ok(text) if is_text => Frame::Text(text),
            _ => Frame::Binary(body.to_vec()),
        };
        self.watch.says(&self.host, id, body);
        self.room.message(&mut self.host, id, &frame);
        self.watch.is_answered(&self.host, id, body);
    }

    fn request(&mut self, speech: Speech, body: &[u8]) {
        let answer = self.room.request(&mut self.host, &anybody(speech), body);
        assert!(
            [200, 400, 429].contains(&answer.status),
            "{}",
            answer.status
        );
        let mut pages = vec![answer.first.body];
        let mut next = answer.first.continuation;
        while let Some(continuation) = next {
            let page = self.room.resume(&mut self.host, &continuation);
            pages.push(page.body);
            next = page.continuation;
            assert!(pages.len() < 1_000, "an answer without end");
        }
        self.watch.answered(&self.host, speech, body, &pages);
    }

    fn sleep(&mut self) {
        self.room = start(&mut self.host);
        // A room that was asleep while another wrote cannot notice
        // (ARCHITECTURE.md, "Another writer").
        if std::mem::take(&mut self.others_wrote) {
            self.watch.forgets_where_they_are();
        }
    }

    /// I9: whatever was said, a new client is served: it gets the whole log,
    /// and its push lands.
    fn still_serves(&mut self) {
        self.host.open_fails = false;
        wait(&mut self.room, &mut self.host, 120_000);
        self.watch.turn_is_over(&mut self.host);
        if self.others_wrote {
            self.sleep();
        }
        for _ in 0..2 {
            self.serves_one();
            self.sleep();
        }
        self.watch.reaches("served afterwards");
    }

    fn serves_one(&mut self) {
        let log: Vec<u64> = self.host.events.iter().map(|it| it.seq_num).collect();
        let head = self.host.head();
        let (room, host) = (&mut self.room, &mut self.host);
        self.watch.opened(LAST, Speech::SOCKET);
        room.open(host, LAST, &anybody(Speech::SOCKET));
        say(room, host, LAST, pull("SyncWsRpc", "1", true, None));
        let mut got = Vec::new();
        loop {
            let frames = host.take_sent(LAST);
            if frames.is_empty() {
                break;
            }
            got.extend(numbers(&frames));
            for _ in frames {
                say(room, host, LAST, ack("1"));
            }
        }
        assert_eq!(got, log, "what a new client gets is not the log");
        if head < SEQ_NUM_MAX {
            say(room, host, LAST, push("SyncWsRpc", "2", head, 1));
            let frames = host.take_sent(LAST);
            let exit = frames.iter().find(|it| it.contains(r#""requestId":"2""#));
            let exit = json(exit.expect("a push is answered"));
            assert_eq!(exit["exit"]["_tag"], "Success", "{exit}");
        }
        host.attachments.remove(&LAST);
        room.closed(host, LAST);
        self.watch.gone(LAST);
        self.watch.turn_is_over(&mut self.host);
    }
}

fn number(digits: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(digits);
    text.parse().unwrap_or(1)
}

/// Whether a message is a pull, and from where.
pub(crate) fn pull_of(voice: Voice, body: &[u8]) -> Option<(String, Option<u64>)> {
    match voice.read(body) {
        Ok(Message::Request(id, Ok(Call::Pull(pull)))) => {
            Some((id, Some(pull.cursor.map_or(0, |cursor| cursor.after))))
        }
        Ok(Message::Request(id, _) | Message::Interrupt(id)) => Some((id, None)),
        _ => None,
    }
}
