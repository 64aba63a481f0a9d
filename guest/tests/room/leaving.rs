//! A connection that is gone makes a turn like any other: whoever waits is
//! seen to at the end of it.

use syncline_guest::protocol::Speech;
use syncline_guest::room::Room;

use super::host::{Host, ack, anybody, numbers, pass, pull, push, say, start, wait, wakes_in_ms};

/// A room in which connection 1, with a live 0.4 pull, was refused and waits
/// to be told of event 2, and connection 2 edits. Others are there, from 10
/// on.
fn waiting(host: &mut Host, others: u32) -> Room {
    let mut room = start(host);
    for id in [1, 2].into_iter().chain(10..10 + others) {
        room.open(host, id, &anybody(Speech::SOCKET));
    }
    say(&mut room, host, 1, pull("SyncWsRpc", "1", true, None));
    say(&mut room, host, 1, ack("1"));
    pass(host, 2_001);
    say(&mut room, host, 2, push("SyncWsRpc", "5", 0, 1));
    say(&mut room, host, 1, push("SyncWsRpc", "2", 0, 1));
    say(&mut room, host, 2, push("SyncWsRpc", "6", 1, 1));
    assert_eq!(numbers(&host.take_sent(1)), [1]);
    room
}

/// The timer was lost with the room's memory (`wit/timer.wit`).
#[test]
fn who_waited_when_the_room_fell_asleep_is_told_when_the_editor_leaves() {
    let mut host = Host::default();
    drop(waiting(&mut host, 0));
    host.wakes_at = None;
    let mut room = start(&mut host);
    host.attachments.remove(&2);
    room.closed(&mut host, 2);
    assert_eq!(numbers(&host.take_sent(1)), [2]);
    assert!(!host.attachments[&1].contains("held"));
}

/// The host's timer comes late: turn follows turn.
#[test]
fn who_has_waited_long_enough_is_told_while_others_leave() {
    let mut host = Host::default();
    let mut room = waiting(&mut host, 1_000);
    for id in 10..1_010 {
        assert!(host.take_sent(1).is_empty());
        pass(&mut host, 1);
        room.closed(&mut host, id);
    }
    assert_eq!(numbers(&host.take_sent(1)), [2]);
}

/// When others are told depends on what they did: that the editor is gone is
/// no sign that theirs is over.
#[test]
fn who_leaves_does_not_cut_the_others_wait_short() {
    let mut host = Host::default();
    let mut room = waiting(&mut host, 0);
    room.closed(&mut host, 2);
    wait(&mut room, &mut host, 999);
    assert!(host.take_sent(1).is_empty());
    wait(&mut room, &mut host, 1);
    assert_eq!(numbers(&host.take_sent(1)), [2]);
    assert_eq!(wakes_in_ms(&host), None);
}

#[test]
fn a_room_that_lost_its_timer_sets_it_again_when_somebody_leaves() {
    let mut host = Host::default();
    host.write_elsewhere(2);
    let mut room = start(&mut host);
    for id in [1, 2] {
        room.open(&mut host, id, &anybody(Speech::SOCKET));
    }
    // It has a second to pull.
    say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
    drop(room);
    host.wakes_at = None;
    pass(&mut host, 400);
    let mut room = start(&mut host);
    host.attachments.remove(&2);
    room.closed(&mut host, 2);
    assert_eq!(wakes_in_ms(&host), Some(600));
    wait(&mut room, &mut host, 600);
    assert_eq!(host.closed, [(1, 4409, "NEVER_PULLED".to_owned())]);
}

#[test]
fn the_last_to_leave_leaves_no_timer_that_finds_somebody() {
    let mut host = Host::default();
    let mut room = waiting(&mut host, 0);
    for id in [2, 1] {
        host.attachments.remove(&id);
        room.closed(&mut host, id);
    }
    wait(&mut room, &mut host, 10_000);
    assert!(host.take_sent(1).is_empty() && host.closed.is_empty());
    assert_eq!(wakes_in_ms(&host), None);
    assert!(
        host.attachments.is_empty(),
        "nothing is written of who is gone"
    );
}
