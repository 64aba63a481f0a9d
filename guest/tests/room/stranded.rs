//! A 0.4 client that slept never pulls again (`room/stranded.rs`): its socket
//! is closed, and nobody else's.

use syncline_guest::protocol::Speech;
use syncline_guest::room::Room;

use super::host::{
    Host, ack, anybody, batch, numbers, pass, pull, push, push_v3, say, start, wait, wakes_in_ms,
};

/// A room whose log has two events, with a 0.4 connection that has not pulled.
fn connected(host: &mut Host) -> Room {
    host.write_elsewhere(2);
    let mut room = start(host);
    room.open(host, 1, &anybody(Speech::SOCKET));
    room
}

fn never_pulled() -> [(u32, u16, String); 1] {
    [(1, 4409, "NEVER_PULLED".to_owned())]
}

#[test]
fn a_refused_push_without_a_pull_is_answered_then_closed() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
    assert!(host.take_sent(1)[0].contains("ServerAheadError"));
    wait(&mut room, &mut host, 999);
    assert!(host.closed.is_empty());
    wait(&mut room, &mut host, 1);
    assert_eq!(host.closed, never_pulled());
    assert_eq!(wakes_in_ms(&host), None);
}

#[test]
fn who_is_refused_and_pushes_again_by_itself_is_not_closed() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    for id in ["5", "6"] {
        say(&mut room, &mut host, 1, push("SyncWsRpc", id, 1, 1));
        wait(&mut room, &mut host, 999);
        assert!(host.closed.is_empty());
    }
    // Then it knows where the head is.
    say(&mut room, &mut host, 1, push("SyncWsRpc", "7", 2, 1));
    wait(&mut room, &mut host, 10_000);
    assert!(host.closed.is_empty());
}

#[test]
fn an_ack_of_nothing_without_a_pull_is_closed() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    say(&mut room, &mut host, 1, ack("0"));
    // Not anew with each.
    wait(&mut room, &mut host, 600);
    say(&mut room, &mut host, 1, ack("0"));
    wait(&mut room, &mut host, 400);
    assert_eq!(host.closed, never_pulled());
}

#[test]
fn a_client_that_pushes_before_it_pulls_is_not_closed() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
    wait(&mut room, &mut host, 999);
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "6", true, None));
    assert_eq!(numbers(&host.take_sent(1)), [1, 2]);
    wait(&mut room, &mut host, 10_000);
    // Nor when it is refused again, or acknowledges what it should not.
    say(&mut room, &mut host, 1, push("SyncWsRpc", "7", 1, 1));
    say(&mut room, &mut host, 1, ack("99"));
    wait(&mut room, &mut host, 10_000);
    assert!(host.closed.is_empty());
}

#[test]
fn an_ack_before_the_pull_is_no_sign() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    say(&mut room, &mut host, 1, ack("0"));
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "6", true, None));
    wait(&mut room, &mut host, 10_000);
    assert!(host.closed.is_empty());
}

#[test]
fn a_tool_that_only_pushes_and_is_up_to_date_is_not_closed() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    for n in 2..10 {
        say(&mut room, &mut host, 1, push("SyncWsRpc", "5", n, 1));
        wait(&mut room, &mut host, 1_000);
    }
    assert_eq!(host.head(), 10);
    assert!(host.closed.is_empty());
    assert_eq!(host.wakes_at, None);
}

#[test]
fn a_doubt_outlives_the_rooms_memory() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
    drop(room);
    let mut room = start(&mut host);
    room.wake(&mut host);
    assert!(host.closed.is_empty(), "it may still pull");
    wait(&mut room, &mut host, 1_000);
    assert_eq!(host.closed, never_pulled());

    // So does that it never pulled, and that it does.
    for pulls in [false, true] {
        let mut host = Host::default();
        let mut room = connected(&mut host);
        if pulls {
            say(&mut room, &mut host, 1, pull("SyncWsRpc", "6", true, None));
        }
        drop(room);
        let mut room = start(&mut host);
        say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
        wait(&mut room, &mut host, 1_000);
        assert_eq!(host.closed.is_empty(), pulls);
    }
}

/// It pulls with the room's first turn.
#[test]
fn who_pulls_when_the_room_wakes_is_not_closed() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
    drop(room);
    let mut room = start(&mut host);
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "6", true, None));
    wait(&mut room, &mut host, 10_000);
    assert!(host.closed.is_empty());
}

/// Nothing is left of it but its answer, which its client has read.
#[test]
fn a_pull_that_is_refused_is_a_pull() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
    let elsewhere = Some(("another", 1));
    say(
        &mut room,
        &mut host,
        1,
        pull("SyncWsRpc", "6", false, elsewhere),
    );
    assert!(host.take_sent(1)[1].contains("BackendIdMismatchError"));
    drop(room);
    let mut room = start(&mut host);
    room.wake(&mut host);
    assert!(host.closed.is_empty());
}

/// Turns come so fast that the host's timer, which each of them sets anew,
/// is never over.
#[test]
fn a_busy_room_closes_in_time() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    room.open(&mut host, 2, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
    for _ in 0..1_000 {
        assert!(host.closed.is_empty());
        pass(&mut host, 1);
        say(&mut room, &mut host, 2, r#"{"_tag":"Eof"}"#);
    }
    assert_eq!(host.closed, never_pulled());
}

#[test]
fn a_0_3_client_is_not_closed() {
    let mut host = Host::default();
    let mut room = connected(&mut host);
    room.open(&mut host, 3, &anybody(Speech::SOCKET_V3));
    say(&mut room, &mut host, 3, push_v3(&batch(1, 1)));
    wait(&mut room, &mut host, 10_000);
    assert!(host.closed.is_empty());
    assert_eq!(host.wakes_at, None);
}
