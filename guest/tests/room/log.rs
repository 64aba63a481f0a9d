//! The log is another than the room believes (I3, I4, I8).

use syncline_guest::protocol::Speech;

use super::host::{Host, ack, anybody, batch, numbers, pass, pull, push, push_v3, say, start};

/// A room with a live 0.4 pull (connection 1) that is at the head, 2.
fn live_at_two(host: &mut Host) -> syncline_guest::room::Room {
    host.write_elsewhere(2);
    let mut room = start(host);
    room.open(host, 1, &anybody(Speech::SOCKET));
    say(&mut room, host, 1, pull("SyncWsRpc", "1", true, None));
    say(&mut room, host, 1, ack("1"));
    assert_eq!(numbers(&host.take_sent(1)), [1, 2]);
    room.open(host, 2, &anybody(Speech::SOCKET));
    // It does not look any more as if it would push.
    pass(host, 2_001);
    room
}

/// Looking again for a client that is ahead must not make the room forget
/// where those are that it has told.
#[test]
fn i3_a_look_that_fails_loses_nothing() {
    let mut host = Host::default();
    let mut room = live_at_two(&mut host);
    host.write_elsewhere(3);
    host.open_fails = true;
    let ahead = pull("SyncWsRpc", "1", false, Some(("first", 100)));
    say(&mut room, &mut host, 2, ahead);
    assert!(host.take_sent(2)[0].contains("STORAGE_UNAVAILABLE"));
    host.open_fails = false;
    say(&mut room, &mut host, 2, push("SyncWsRpc", "2", 5, 1));
    assert_eq!(numbers(&host.take_sent(1)), [3, 4, 5, 6]);
    assert!(host.closed.is_empty());
}

#[test]
fn i3_the_same_by_a_push_and_by_a_0_3_pull() {
    for text in [
        push("SyncWsRpc", "2", 100, 1),
        r#"{"_tag":"WSMessage.PullReq","requestId":"r","cursor":100}"#.to_owned(),
    ] {
        let mut host = Host::default();
        let mut room = live_at_two(&mut host);
        room.open(&mut host, 3, &anybody(Speech::SOCKET_V3));
        let from = if text.contains("WSMessage") { 3 } else { 2 };
        host.write_elsewhere(3);
        host.open_fails = true;
        say(&mut room, &mut host, from, text);
        host.open_fails = false;
        say(&mut room, &mut host, 2, push("SyncWsRpc", "3", 5, 1));
        assert_eq!(numbers(&host.take_sent(1)), [3, 4, 5, 6]);
    }
}

const PULL_V3: &str = r#"{"_tag":"WSMessage.PullReq","requestId":"r"}"#;

/// A client that is shown pushes, and whose pull fails before anything of it
/// was sent, goes on as before: its next push may be from before all that.
#[test]
fn i3_a_0_3_client_whose_pull_failed_is_shown_nothing_twice() {
    let mut host = Host::default();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET_V3));
    room.open(&mut host, 2, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 2, push("SyncWsRpc", "1", 0, 3));
    assert_eq!(numbers(&host.take_sent(1)), [1, 2, 3]);
    // One that slept has to read.
    let mut room = start(&mut host);
    host.read_fails = true;
    say(&mut room, &mut host, 1, PULL_V3);
    assert!(host.take_sent(1)[0].contains("WSMessage.Error"));
    host.read_fails = false;
    say(&mut room, &mut host, 1, push_v3(&batch(0, 1)));
    assert!(numbers(&host.take_sent(1)).is_empty());
    say(&mut room, &mut host, 2, push("SyncWsRpc", "2", 3, 1));
    assert_eq!(numbers(&host.take_sent(1)), [4]);
}

/// The same of one whose pull fails on the way: it is given the rest, also by
/// a room that has slept since.
#[test]
fn i3_a_0_3_client_whose_pull_broke_off_is_given_the_rest() {
    for has_slept in [false, true] {
        let mut host = Host::default();
        host.write_elsewhere(2_000);
        let mut room = start(&mut host);
        room.open(&mut host, 1, &anybody(Speech::SOCKET_V3));
        say(&mut room, &mut host, 1, PULL_V3);
        let mut shown = numbers(&host.take_sent(1));
        assert!(shown.len() < 2_000, "it takes several turns");
        host.read_fails = true;
        room.drained(&mut host, 1);
        assert!(host.take_sent(1)[0].contains("WSMessage.Error"));
        host.read_fails = false;
        if has_slept {
            room = start(&mut host);
        }
        say(&mut room, &mut host, 1, push_v3(&batch(0, 1)));
        for _ in 0..20 {
            room.drained(&mut host, 1);
        }
        shown.extend(numbers(&host.take_sent(1)));
        let all: Vec<u64> = (1..=2_000).collect();
        assert!(shown == all, "{} events, or not these", shown.len());
    }
}

/// Another server has emptied the log: it is another one now, and nobody may
/// be shown it as the continuation of what they have.
#[test]
fn i8_a_log_that_another_server_emptied_ends_pulls() {
    for by_conflict in [true, false] {
        let mut host = Host::default();
        let mut room = live_at_two(&mut host);
        host.events.clear();
        host.backend_id = "second".to_owned();
        host.write_elsewhere(7);
        let parent = if by_conflict { 2 } else { 50 };
        say(&mut room, &mut host, 2, push("SyncWsRpc", "2", parent, 1));
        let answer = host.take_sent(2).join("");
        assert!(answer.contains("ServerAheadError"), "{answer}");
        let told = host.take_sent(1);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(r#""expected":"second","received":"first""#));
    }
}

/// Clients of a restored backup: served as ever, and the operator is told.
#[test]
fn who_is_ahead_of_the_log_is_reported() {
    let mut host = Host::default();
    let mut room = live_at_two(&mut host);
    room.open(&mut host, 3, &anybody(Speech::SOCKET_V3));
    let ahead = Some(("first", 100));
    say(&mut room, &mut host, 2, pull("SyncWsRpc", "7", true, ahead));
    let answer = host.take_sent(2);
    assert_eq!(answer.len(), 1);
    assert!(answer[0].contains(r#""batch":[],"pageInfo":{"_tag":"NoMore"}"#));
    assert_eq!(host.lines_with("events up to 100"), 1);
    assert_eq!(host.lines_with("the log ends at 2 (1 such"), 1);

    let http = anybody(Speech::HTTP);
    let body = pull("SyncHttpRpc", "8", false, ahead);
    let answer = room.request(&mut host, &http, body.as_bytes());
    assert!(answer.first.body.contains("NoMore"));
    assert_eq!(host.lines_with("(2 such"), 1);

    let object = anybody(Speech::OBJECT);
    let call = format!("[{}]", pull("SyncDoRpc", "9", false, ahead));
    room.request(&mut host, &object, call.as_bytes());
    let call = format!("[{}]", push("SyncDoRpc", "9", 50, 1));
    room.request(&mut host, &object, call.as_bytes());
    assert_eq!(host.lines_with("(4 such"), 1);

    for _ in 0..4 {
        let text = r#"{"_tag":"WSMessage.PullReq","requestId":"r","cursor":100}"#;
        say(&mut room, &mut host, 3, text);
    }
    assert_eq!(host.lines_with("(8 such"), 1);
    for _ in 0..8 {
        say(&mut room, &mut host, 3, push_v3(&batch(60, 1)));
    }
    // Not each time.
    assert_eq!(host.lines_with("events up to"), 5);
    assert_eq!(
        host.lines_with("events up to 60, but the log ends at 2 (16 such"),
        1
    );
    assert_eq!(host.ahead, 16, "they are all counted");

    // Those of an earlier incarnation are told so, and are no divergence.
    let before = Some(("another", 100));
    for _ in 0..40 {
        say(
            &mut room,
            &mut host,
            2,
            pull("SyncWsRpc", "7", false, before),
        );
    }
    assert_eq!(host.lines_with("events up to"), 5);
}

#[test]
fn a_log_that_goes_back_under_a_running_room_is_reported() {
    let mut host = Host::default();
    let mut room = live_at_two(&mut host);
    host.events.truncate(1);
    say(&mut room, &mut host, 2, push("SyncWsRpc", "2", 2, 1));
    assert_eq!(host.lines_with("restored from a backup"), 1);
}
