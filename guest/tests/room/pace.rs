//! What costs a turn is charged for, and no real client is (I7).

use std::time::Duration;

use syncline_guest::limits::{PULLS_MAX, WINDOW_LIVE_CHUNKS_MAX};
use syncline_guest::protocol::Speech;
use syncline_guest::room::Room;

use super::host::{Host, ack, anybody, pass, pull, push, say, start};

/// A host that lets a connection make ten requests a second, and twenty at
/// once.
fn slow() -> Host {
    let mut host = Host::default();
    let rate = "10".to_owned();
    host.env.insert("CONNECTION_REQUESTS_PER_SECOND", rate);
    host
}

/// A room with a connection, 1, and a live pull on it that owes no Ack.
fn live(host: &mut Host) -> Room {
    let mut room = start(host);
    room.open(host, 1, &anybody(Speech::SOCKET));
    say(&mut room, host, 1, pull("SyncWsRpc", "1", true, None));
    say(&mut room, host, 1, ack("1"));
    room
}

/// How many of these are taken before the connection is closed.
fn taken(room: &mut Room, host: &mut Host, text: &str) -> usize {
    for n in 0..100_000 {
        say(room, host, 1, text);
        if let Some((1, code, reason)) = host.closed.first() {
            assert_eq!((*code, reason.as_str()), (1013, "TOO_MANY_REQUESTS"));
            return n;
        }
    }
    panic!("all are taken");
}

#[test]
fn i7_messages_that_do_nothing_are_counted() {
    let interrupt = r#"{"_tag":"Interrupt","requestId":"77"}"#;
    for text in [
        &ack("77"),
        &ack("1"),
        interrupt,
        r#"{"_tag":"Eof"}"#,
        r#"{ "_tag":"Ping"}"#,
    ] {
        let mut host = slow();
        let mut room = live(&mut host);
        // The pull was the first of twenty.
        assert_eq!(taken(&mut room, &mut host, text), 19, "{text}");
    }
    let mut host = slow();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET_V3));
    let ping = r#"{"_tag":"WSMessage.Ping","requestId":"p"}"#;
    assert_eq!(taken(&mut room, &mut host, ping), 20);
}

#[test]
fn acks_that_are_due_are_free() {
    let mut host = slow();
    let mut room = live(&mut host);
    room.open(&mut host, 2, &anybody(Speech::SOCKET));
    pass(&mut host, 2_001);
    for n in 0..1_000 {
        host.now += Duration::from_millis(200);
        let batch = push("SyncWsRpc", "5", n, 1);
        say(&mut room, &mut host, 2, batch);
    }
    // A second of its own: it is not time that pays for them.
    for _ in 0..1_000 {
        say(&mut room, &mut host, 1, ack("1"));
    }
    assert!(host.closed.is_empty());
    // One more is not due.
    assert_eq!(taken(&mut room, &mut host, &ack("1")), 20);
}

/// After waking the room does not know what a client has yet to acknowledge:
/// as much as a window holds, whatever the rates are.
#[test]
fn acks_from_before_the_room_slept_are_free() {
    let mut host = slow();
    let mut room = live(&mut host);
    room.open(&mut host, 2, &anybody(Speech::SOCKET));
    let count = WINDOW_LIVE_CHUNKS_MAX as u64;
    pass(&mut host, 2_001);
    for n in 0..count {
        host.now += Duration::from_millis(200);
        say(&mut room, &mut host, 2, push("SyncWsRpc", "5", n, 1));
    }
    let shown = host.take_sent(1);
    assert_eq!(
        shown.iter().filter(|it| it.contains("Chunk")).count(),
        WINDOW_LIVE_CHUNKS_MAX + 1
    );
    let mut room = start(&mut host);
    for _ in 0..WINDOW_LIVE_CHUNKS_MAX {
        say(&mut room, &mut host, 1, ack("1"));
    }
    assert!(host.closed.is_empty());
    assert_eq!(taken(&mut room, &mut host, &ack("1")), 20);
}

/// A room that forgets all after each turn, as `wasmtime-drowsy` does, counts
/// nothing: a client is never worse off for it.
#[test]
fn a_drowsy_room_refuses_no_acks() {
    let mut host = slow();
    drop(live(&mut host));
    for _ in 0..2_000 {
        let mut room = start(&mut host);
        say(&mut room, &mut host, 1, ack("1"));
    }
    assert!(host.closed.is_empty());
}

#[test]
fn i7_bytes_are_counted() {
    let padded = |bytes: usize| {
        let padding = "x".repeat(bytes);
        format!(r#"{{"_tag":"Ack","requestId":"1","padding":"{padding}"}}"#)
    };
    let mut host = slow();
    let mut room = live(&mut host);
    // Ten requests by its bytes and one for nothing.
    assert_eq!(taken(&mut room, &mut host, &padded(655_360)), 1);
    // An Ack that is due costs its bytes too.
    let mut host = slow();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "1", true, None));
    say(&mut room, &mut host, 1, padded(655_360));
    assert!(host.closed.is_empty());
    assert_eq!(taken(&mut room, &mut host, &ack("77")), 9);
}

/// However low the rate, the largest push gets through in its time.
#[test]
fn what_costs_more_than_a_burst_is_served_in_its_time() {
    let mut host = slow();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    let large = |parent: u64| {
        let args = format!("\"{}\"", "x".repeat(1_900_000));
        push("SyncWsRpc", "1", parent, 1)
            .replace(&format!("\"args\":{parent}"), &format!("\"args\":{args}"))
    };
    say(&mut room, &mut host, 1, large(0));
    assert_eq!(host.head(), 1);
    say(&mut room, &mut host, 1, large(1));
    assert!(host.take_sent(1)[1].contains(r#""retryAfterMs":4000"#));
    host.now += Duration::from_secs(4);
    say(&mut room, &mut host, 1, large(1));
    assert_eq!(host.head(), 2);
    assert!(host.closed.is_empty());
}

/// Many live pulls on one connection do not multiply what a room remembers.
#[test]
fn i7_only_the_first_live_pull_of_a_connection_has_a_large_window() {
    let mut host = Host::default();
    host.env
        .insert("CONNECTION_REQUESTS_PER_SECOND", "0".to_owned());
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    for n in 0..PULLS_MAX {
        say(
            &mut room,
            &mut host,
            1,
            pull("SyncWsRpc", &n.to_string(), true, None),
        );
    }
    host.take_sent(1);
    room.open(&mut host, 2, &anybody(Speech::SOCKET));
    pass(&mut host, 2_001);
    for n in 0..1_100 {
        say(&mut room, &mut host, 2, push("SyncWsRpc", "5", n, 1));
    }
    let shown = host.take_sent(1);
    let of = |id: usize| {
        let tag = format!(r#""requestId":"{id}","values""#);
        shown.iter().filter(|frame| frame.contains(&tag)).count()
    };
    assert_eq!(of(0), WINDOW_LIVE_CHUNKS_MAX - 1);
    for id in 1..PULLS_MAX {
        assert_eq!(of(id), WINDOW_LIVE_CHUNKS_MAX / PULLS_MAX - 1, "{id}");
    }
}
