//! I7, I9: what one turn may allocate, whatever a client sends. A room has
//! 128 MiB (`MEMORY_BYTES_MAX` of the wasmtime host; an isolate on
//! Cloudflare): a turn that needs more is a trap, and every client of the
//! store loses its socket.
//!
//! Counted natively, where pointers are twice as wide and growing a buffer
//! always takes the old one and the new: more than the component needs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code
)]

use std::alloc::{GlobalAlloc, Layout, System as SystemAllocator};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use syncline_guest::admission::refuse;
use syncline_guest::protocol::Speech;
use syncline_guest::room::Room;

#[path = "room/host.rs"]
#[allow(dead_code)]
mod host;

use host::{Host, anybody, pull, say, start};

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(now, Relaxed);
}

// Safety: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { SystemAllocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { SystemAllocator.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        grow(new_size);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { SystemAllocator.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: they share the count.
static TURN: Mutex<()> = Mutex::new(());

/// The largest message that hosts take.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// What a turn may take beside what the room has already, its message
/// included. What is left of 128 MiB is for 5,000 connections.
const TURN_BYTES_MAX: usize = 90 << 20;

/// What a turn takes, with its message.
fn peak_of(message: String, turn: impl FnOnce(String)) -> usize {
    let before = NOW.load(Relaxed) - message.capacity();
    PEAK.store(NOW.load(Relaxed), Relaxed);
    turn(message);
    PEAK.load(Relaxed) - before
}

/// `before`, then as much of `unit` as fits a message, then `after`.
fn filled(before: &str, unit: &str, after: &str) -> String {
    let room = FRAME_BYTES_MAX - before.len() - after.len();
    let mut text = String::with_capacity(FRAME_BYTES_MAX);
    text.push_str(before);
    text.push_str(&unit.repeat(room / unit.len()));
    text.push_str(after);
    text
}

/// A string that has to be unescaped, and makes a buffer grow at the end.
fn escaped(before: &str, after: &str) -> String {
    let open = format!("{before}\"\\n");
    let close = format!("\\nyy\"{after}");
    filled(&open, "x", &close)
}

const PUSH: &str = r#"{"_tag":"Request","id":"1","tag":"SyncWsRpc.Push","payload":{"storeId":"store","backendId":{"_tag":"None"},"batch":["#;
const TINY: &str = r#"{"name":"\n","seqNum":2,"parentSeqNum":1,"clientId":"\n","sessionId":"\n"},"#;
const LAST: &str = r#"{"name":"n","seqNum":2,"parentSeqNum":1,"clientId":"c","sessionId":"s"}"#;

/// What a client that means harm may send on a socket.
fn hostile() -> Vec<(&'static str, String)> {
    let event = |key: &str| {
        let before = format!("{PUSH}{{\"seqNum\":1,\"parentSeqNum\":0,\"{key}\":");
        escaped(&before, "}]}}")
    };
    vec![
        ("a key", escaped("{", ":1}")),
        ("a tag", escaped(r#"{"_tag":"#, "}")),
        ("an id", escaped(r#"{"_tag":"Request","id":"#, "}")),
        (
            "a request id",
            escaped(r#"{"_tag":"Ack","requestId":"#, "}"),
        ),
        (
            "a procedure",
            escaped(r#"{"_tag":"Request","id":"1","tag":"#, "}"),
        ),
        (
            "a key in a payload",
            escaped(
                r#"{"_tag":"Request","id":"1","tag":"SyncWsRpc.Push","payload":{"#,
                ":1}}",
            ),
        ),
        (
            "a store id",
            escaped(
                r#"{"_tag":"Request","id":"1","tag":"SyncWsRpc.Pull","payload":{"storeId":"#,
                "}}",
            ),
        ),
        (
            "a cursor's tag",
            escaped(
                r#"{"_tag":"Request","id":"1","tag":"SyncWsRpc.Pull","payload":{"cursor":{"_tag":"#,
                "}}}",
            ),
        ),
        (
            "a backend id",
            escaped(
                r#"{"_tag":"Request","id":"1","tag":"SyncWsRpc.Push","payload":{"storeId":"store","batch":[],"backendId":{"_tag":"Some","value":"#,
                "}}}",
            ),
        ),
        ("an event's name", event("name")),
        ("an event's client id", event("clientId")),
        ("an event's session id", event("sessionId")),
        ("an event's args", event("args")),
        ("an event's seqNum", event("seqNum")),
        ("an event's key", escaped(&format!("{PUSH}{{"), ":1}]}}")),
        (
            "a string for a batch",
            escaped(&PUSH[..PUSH.len() - 1], "}}"),
        ),
        (
            "a long number",
            filled(&format!("{PUSH}{{\"seqNum\":"), "1", "}]}}"),
        ),
        ("deep args", filled(&format!("{PUSH}{{\"args\":"), "[", "")),
        ("deep nothing", filled("", "[", "")),
        ("tiny events", filled(PUSH, TINY, &format!("{LAST}]}}}}"))),
        ("tiny nothings", filled(PUSH, "0,", "0]}}")),
        ("nothing", filled("", "\\\"", "")),
    ]
}

/// What was seen: all of it is said, and what is too much fails at the end.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    fn turn(&mut self, what: &str, bytes: usize) {
        println!("{:>6} KiB  {what}", bytes >> 10);
        if bytes > TURN_BYTES_MAX {
            self.0
                .push(format!("{what}: {} MiB in a turn", bytes >> 20));
        }
    }

    fn verdict(self) {
        assert!(self.0.is_empty(), "{:#?}", self.0);
    }
}

/// A room whose clients may say as much as they like.
fn room(host: &mut Host) -> Room {
    host.env
        .insert("CONNECTION_REQUESTS_PER_SECOND", "0".to_owned());
    start(host)
}

#[test]
fn i9_no_frame_of_a_0_4_client_exhausts_a_room() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = Seen::default();
    for (what, text) in hostile() {
        let mut host = Host::default();
        let mut room = room(&mut host);
        room.open(&mut host, 1, &anybody(Speech::SOCKET));
        let bytes = peak_of(text, |text| say(&mut room, &mut host, 1, text));
        seen.turn(what, bytes);
        // It is answered, in few words.
        let said: usize = host.take_sent(1).iter().map(String::len).sum();
        assert!((1..2_000).contains(&said), "{what}: {said} bytes");
        assert!(host.events.is_empty());
    }
    seen.verdict();
}

#[test]
fn i9_no_frame_of_a_0_3_client_exhausts_a_room() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = Seen::default();
    let push = r#"{"_tag":"WSMessage.PushReq","requestId":"r","batch":["#;
    let mut frames: Vec<(&str, String)> = hostile();
    frames.truncate(4);
    frames.extend([
        (
            "a 0.3 event's name",
            escaped(&format!("{push}{{\"name\":"), "}]}"),
        ),
        ("tiny 0.3 events", filled(push, TINY, &format!("{LAST}]}}"))),
        (
            "a secret",
            escaped(
                r#"{"_tag":"WSMessage.AdminInfoReq","requestId":"r","adminSecret":"#,
                "}",
            ),
        ),
    ]);
    for (what, text) in frames {
        let mut host = Host::default();
        let mut room = room(&mut host);
        room.open(&mut host, 1, &anybody(Speech::SOCKET_V3));
        let bytes = peak_of(text, |text| say(&mut room, &mut host, 1, text));
        seen.turn(what, bytes);
        let said: usize = host.take_sent(1).iter().map(String::len).sum();
        assert!((1..2_000).contains(&said), "{what}: {said} bytes");
    }
    seen.verdict();
}

#[test]
fn i9_no_body_exhausts_a_room() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = Seen::default();
    // The same codec reads them: some of each kind.
    let mut bodies = hostile();
    bodies.retain(|(what, _)| {
        ["a key", "an event's name", "deep args", "tiny events"].contains(what)
    });
    bodies.extend([
        ("a call of nothings", filled("[", "0,", "0]")),
        ("a call in a call", filled("[[", "0,", "0]]")),
    ]);
    for (what, text) in bodies {
        for speech in [Speech::HTTP, Speech::OBJECT] {
            let mut text = match speech {
                Speech::OBJECT => format!("[{}]", text.replacen("SyncWs", "SyncDo", 1)),
                _ => text.replacen("SyncWs", "SyncHttp", 1),
            };
            text.shrink_to_fit();
            let mut host = Host::default();
            let mut room = room(&mut host);
            let mut said = 0;
            let bytes = peak_of(text, |text| {
                let answer = room.request(&mut host, &anybody(speech), text.as_bytes());
                said = answer.first.body.len();
            });
            seen.turn(what, bytes);
            assert!((1..2_000).contains(&said), "{what}: {said} bytes");
        }
    }
    seen.verdict();
}

#[test]
fn i9_no_body_that_is_refused_exhausts_the_gateway() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for unit in ["0,", "{},"] {
        let mut body = filled("[", unit, "{}]");
        // As much of it as hosts read.
        body.truncate(4 << 20);
        body.truncate(body.rfind(',').unwrap());
        body.push(']');
        body.shrink_to_fit();
        let bytes = peak_of(body, |body| {
            let _ = refuse(401, "TOKEN_MISSING", "m", None, Vec::new(), body.as_bytes());
        });
        assert!(bytes < 16 << 20, "{bytes} for {unit}");
    }
}

/// The largest pushes that land, shown to clients of both versions.
#[test]
fn i9_no_push_exhausts_a_room() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = Seen::default();
    let tiny = |bytes: usize| {
        let args = "x".repeat(bytes);
        let events: Vec<String> = (1..=10_000)
            .map(|n| {
                format!(
                    r#"{{"name":"\u0001\u0001","args":"{args}","seqNum":{n},"parentSeqNum":{},"clientId":"\u0001","sessionId":"\u0001"}}"#,
                    n - 1
                )
            })
            .collect();
        format!("{PUSH}{}]}}}}", events.join(","))
    };
    let large = || {
        let args = "x".repeat(1_990_000);
        let events: Vec<String> = (1..=16)
            .map(|n| {
                format!(
                    r#"{{"name":"n","args":"{args}","seqNum":{n},"parentSeqNum":{},"clientId":"c","sessionId":"s"}}"#,
                    n - 1
                )
            })
            .collect();
        format!("{PUSH}{}]}}}}", events.join(","))
    };
    for (what, text) in [
        ("10,000 events", tiny(1)),
        ("10,000 events of 3 KB", tiny(3_200)),
        ("16 events of 2 MB", large()),
    ] {
        assert!(text.len() <= FRAME_BYTES_MAX);
        let mut host = Host {
            discards: Some(0),
            ..Host::default()
        };
        let mut room = room(&mut host);
        for (id, speech) in [(1, Speech::SOCKET), (2, Speech::SOCKET_V3)] {
            room.open(&mut host, id, &anybody(speech));
        }
        say(&mut room, &mut host, 1, pull("SyncWsRpc", "1", true, None));
        let bytes = peak_of(text, |text| say(&mut room, &mut host, 1, text));
        seen.turn(what, bytes);
        assert!(host.head() > 0, "{what} did not land");
    }
    seen.verdict();
}
