//! When clients that edit are told of others' events (`room/editor.rs`): late,
//! but whole and in order (I2, I3), and nobody else waits for anything.

use syncline_guest::protocol::Speech;
use syncline_guest::room::Room;

use super::host::{
    Host, ack, anybody, batch, numbers, pass, pull, push, push_v3, say, set_clock, start, wait,
    wakes_in_ms,
};

/// A room with a live 0.4 pull, "1" on connection 1, that is long there, and
/// another 0.4 connection, 2, that has not pulled.
fn listening(host: &mut Host) -> Room {
    let mut room = start(host);
    for id in [1, 2] {
        room.open(host, id, &anybody(Speech::SOCKET));
    }
    say(&mut room, host, 1, pull("SyncWsRpc", "1", true, None));
    say(&mut room, host, 1, ack("1"));
    pass(host, 2_001);
    host.sent.clear();
    room
}

/// The same, and what connection 1 pushes is refused: connection 2 was first,
/// with event 1. Connection 1 has been told of that; of event 2 it is not.
fn waiting(host: &mut Host) -> Room {
    let mut room = listening(host);
    say(&mut room, host, 2, push("SyncWsRpc", "5", 0, 1));
    say(&mut room, host, 1, push("SyncWsRpc", "2", 0, 1));
    let told = host.take_sent(1);
    assert_eq!(numbers(&told), [1]);
    assert!(told[1].contains("ServerAheadError"), "{told:?}");
    say(&mut room, host, 2, push("SyncWsRpc", "6", 1, 1));
    assert!(host.take_sent(1).is_empty());
    room
}

/// The next event by connection 2.
fn another(room: &mut Room, host: &mut Host) {
    let head = host.head();
    say(room, host, 2, push("SyncWsRpc", "9", head, 1));
}

fn told(host: &mut Host) -> Vec<u64> {
    numbers(&host.take_sent(1))
}

#[test]
fn i3_who_is_quiet_is_told_in_the_same_turn() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    for n in 1..=20 {
        another(&mut room, &mut host);
        assert_eq!(told(&mut host), [n]);
        say(&mut room, &mut host, 1, ack("1"));
    }
    // One push is no burst: so is who answers now and then.
    for n in (21..60).step_by(2) {
        pass(&mut host, 501);
        another(&mut room, &mut host);
        say(&mut room, &mut host, 1, push("SyncWsRpc", "2", n, 1));
        assert_eq!(told(&mut host), [n, n + 1]);
    }
    assert_eq!(host.wakes_at, None);
}

#[test]
fn who_comes_may_push_first() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    room.open(&mut host, 3, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 3, pull("SyncWsRpc", "1", true, None));
    host.sent.clear();
    pass(&mut host, 1_000);
    another(&mut room, &mut host);
    assert_eq!(told(&mut host), [1]);
    assert!(host.take_sent(3).is_empty());
    assert_eq!(wakes_in_ms(&host), Some(10));
    wait(&mut room, &mut host, 10);
    assert_eq!(numbers(&host.take_sent(3)), [1]);
    assert_eq!(wakes_in_ms(&host), None);
}

#[test]
fn who_types_is_told_in_a_pause_of_all_at_once() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    for n in 0..10 {
        say(&mut room, &mut host, 1, push("SyncWsRpc", "2", n, 1));
        say(&mut room, &mut host, 1, ack("1"));
        pass(&mut host, 100);
    }
    host.sent.clear();
    another(&mut room, &mut host);
    another(&mut room, &mut host);
    assert!(told(&mut host).is_empty());
    wait(&mut room, &mut host, 149);
    assert!(told(&mut host).is_empty());
    wait(&mut room, &mut host, 1);
    let chunks = host.take_sent(1);
    assert_eq!(chunks.len(), 1);
    assert_eq!(numbers(&chunks), [11, 12]);
    // From here on it is at the head.
    another(&mut room, &mut host);
    assert_eq!(told(&mut host), [13]);
}

/// I7: its time is over, and its window is full.
#[test]
fn i7_who_has_no_room_is_told_by_its_ack() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    for n in 0..10 {
        say(&mut room, &mut host, 1, push("SyncWsRpc", "2", n, 1));
        pass(&mut host, 100);
    }
    host.sent.clear();
    another(&mut room, &mut host);
    wait(&mut room, &mut host, 1_000);
    assert!(told(&mut host).is_empty());
    assert_eq!(wakes_in_ms(&host), None);
    for _ in 0..2 {
        say(&mut room, &mut host, 1, ack("1"));
        assert!(told(&mut host).is_empty());
    }
    say(&mut room, &mut host, 1, ack("1"));
    assert_eq!(told(&mut host), [11]);
}

#[test]
fn who_was_refused_is_told_when_the_others_pause() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    wait(&mut room, &mut host, 999);
    another(&mut room, &mut host);
    wait(&mut room, &mut host, 399);
    assert!(told(&mut host).is_empty());
    wait(&mut room, &mut host, 1);
    assert_eq!(told(&mut host), [2, 3]);
    assert_eq!(wakes_in_ms(&host), None);
}

#[test]
fn nobody_waits_for_longer_than_five_seconds() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    for _ in 0..50 {
        assert!(told(&mut host).is_empty());
        wait(&mut room, &mut host, 100);
        another(&mut room, &mut host);
    }
    // The last came when it had been told.
    assert_eq!(told(&mut host), (2..=51).collect::<Vec<_>>());
}

/// A client that goes on pushing what fails.
#[test]
fn nobody_waits_for_longer_for_pushes_that_fail() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    let failing = push("SyncWsRpc", "2", 0, 1).replace(r#""storeId":"store""#, r#""storeId":"x""#);
    for _ in 0..3 {
        say(&mut room, &mut host, 1, failing.clone());
    }
    another(&mut room, &mut host);
    for _ in 0..50 {
        assert!(told(&mut host).is_empty());
        wait(&mut room, &mut host, 100);
        say(&mut room, &mut host, 1, failing.clone());
    }
    assert_eq!(told(&mut host), [1]);
}

/// Turns come so fast that the host's timer, which each of them sets anew,
/// is never over.
#[test]
fn a_busy_room_tells_in_time() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    for _ in 0..1_000 {
        assert!(told(&mut host).is_empty());
        pass(&mut host, 1);
        say(&mut room, &mut host, 2, ack("77"));
    }
    assert_eq!(told(&mut host), [2]);
}

#[test]
fn who_was_told_is_told_no_more_for_a_second() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    wait(&mut room, &mut host, 1_000);
    assert_eq!(told(&mut host), [2]);
    another(&mut room, &mut host);
    another(&mut room, &mut host);
    wait(&mut room, &mut host, 999);
    assert!(told(&mut host).is_empty());
    wait(&mut room, &mut host, 1);
    assert_eq!(told(&mut host), [3, 4]);
}

#[test]
fn held_through_sleep() {
    for by_timer in [true, false] {
        let mut host = Host::default();
        drop(waiting(&mut host));
        let mut room = start(&mut host);
        if by_timer {
            room.wake(&mut host);
        } else {
            another(&mut room, &mut host);
        }
        let due: Vec<u64> = (2..=host.head()).collect();
        assert_eq!(told(&mut host), due);
        assert!(!host.attachments[&1].contains("held"));
        another(&mut room, &mut host);
        assert_eq!(told(&mut host), [host.head()]);
    }
}

/// D10: a live pull that cannot be served any more has its socket closed.
#[test]
fn who_cannot_be_told_is_closed() {
    let mut host = Host::default();
    drop(waiting(&mut host));
    let mut room = start(&mut host);
    host.open_fails = true;
    room.wake(&mut host);
    let close = (1, 1011, "STORAGE_UNAVAILABLE".to_owned());
    assert_eq!(host.closed, [close]);
    assert!(host.take_sent(1).is_empty());
}

/// It knew where the head is, and so all that there is.
#[test]
fn who_lands_a_push_is_told() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    say(&mut room, &mut host, 1, push("SyncWsRpc", "3", 2, 1));
    let frames = host.take_sent(1);
    assert_eq!(numbers(&frames), [2, 3]);
    assert!(frames.last().unwrap().contains("Success"));
}

#[test]
fn a_push_of_nothing_lands_nowhere() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    say(&mut room, &mut host, 1, push("SyncWsRpc", "3", 0, 0));
    assert_eq!(told(&mut host), [0; 0]);
    wait(&mut room, &mut host, 1_000);
    assert_eq!(told(&mut host), [2]);
}

#[test]
fn a_second_pull_waits_with_the_first() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    let after = Some(("first", 2));
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "7", true, after));
    host.sent.clear();
    another(&mut room, &mut host);
    assert!(told(&mut host).is_empty());
    wait(&mut room, &mut host, 1_000);
    let frames = host.take_sent(1);
    let of = |id: &str| {
        let frames = frames.iter().filter(|it| it.contains(id)).cloned();
        numbers(&frames.collect::<Vec<_>>())
    };
    assert_eq!(of(r#""requestId":"1""#), [2, 3]);
    assert_eq!(of(r#""requestId":"7""#), [3]);
}

#[test]
fn a_pull_that_is_interrupted_waits_no_more() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    let interrupt = r#"{"_tag":"Interrupt","requestId":"1"}"#;
    say(&mut room, &mut host, 1, interrupt);
    assert!(host.take_sent(1)[0].contains("Interrupt"));
    // The timer that is set finds nobody.
    wait(&mut room, &mut host, 1_000);
    assert!(told(&mut host).is_empty());
    assert_eq!(wakes_in_ms(&host), None);
    assert!(!host.attachments[&1].contains("held"));
}

#[test]
fn a_pull_that_is_started_again_has_all_at_once() {
    let mut host = Host::default();
    let mut room = waiting(&mut host);
    let after = Some(("first", 1));
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "1", true, after));
    assert_eq!(told(&mut host), [2]);
    // And is a pull like any other: its client was refused a moment ago.
    another(&mut room, &mut host);
    assert!(told(&mut host).is_empty());
    wait(&mut room, &mut host, 5_000);
    assert_eq!(told(&mut host), [3]);
}

/// I3: what another writer did is found out by the very pull: it is not shown
/// to the one before, whose place is another.
#[test]
fn i3_a_pull_that_is_started_again_is_where_it_says() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    host.write_elsewhere(5);
    let after = Some(("first", 3));
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "1", true, after));
    assert_eq!(told(&mut host), [4, 5]);
}

#[test]
fn a_reset_ends_what_waits() {
    let mut host = Host::default();
    host.env.insert("ADMIN_SECRET", "secret".to_owned());
    let mut room = waiting(&mut host);
    room.open(&mut host, 4, &anybody(Speech::SOCKET_V3));
    let reset = r#"{"_tag":"WSMessage.AdminResetRoomReq","requestId":"r","adminSecret":"secret"}"#;
    say(&mut room, &mut host, 4, reset);
    assert!(host.take_sent(1)[0].contains("BackendIdMismatchError"));
    assert!(!host.attachments[&1].contains("held"));
    // Of the new log it is told like anybody.
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "8", true, None));
    wait(&mut room, &mut host, 6_000);
    host.sent.clear();
    another(&mut room, &mut host);
    assert_eq!(told(&mut host), [1]);
}

#[test]
fn who_waits_is_told_when_the_clock_is_set() {
    for (back, by_ms) in [(true, 3_600_000), (false, 3_600_000), (false, 1_000)] {
        let mut host = Host::default();
        let mut room = waiting(&mut host);
        set_clock(&mut host, back, by_ms);
        say(&mut room, &mut host, 2, ack("77"));
        assert_eq!(told(&mut host), [2], "{back} {by_ms}");
    }
}

#[test]
fn i3_who_is_quiet_does_not_wait_because_the_clock_was_set_back() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    set_clock(&mut host, true, 3_600_000);
    another(&mut room, &mut host);
    assert_eq!(told(&mut host), [1]);
    assert_eq!(host.wakes_at, None);
}

/// What was a burst by the clock of before is none when that time comes again.
#[test]
fn i3_who_is_quiet_does_not_wait_when_the_clock_has_caught_up() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    for n in 0..2 {
        say(&mut room, &mut host, 1, push("SyncWsRpc", "9", n, 1));
    }
    set_clock(&mut host, true, 10_000);
    wait(&mut room, &mut host, 9_900);
    host.sent.clear();
    another(&mut room, &mut host);
    assert_eq!(told(&mut host), [3]);
    assert_eq!(host.wakes_at, None);
}

/// They lose a batch of theirs if others' events come while they push
/// (livestore#1530); 0.3 clients, HTTP clients and objects do not wait.
#[test]
fn i3_only_0_4_sockets_wait() {
    let mut host = Host::default();
    let mut room = listening(&mut host);
    room.open(&mut host, 3, &anybody(Speech::SOCKET_V3));
    for n in 0..3 {
        say(&mut room, &mut host, 3, push_v3(&batch(n, 1)));
    }
    host.sent.clear();
    another(&mut room, &mut host);
    assert_eq!(numbers(&host.take_sent(3)), [4]);
    assert_eq!(host.wakes_at, None);
}
