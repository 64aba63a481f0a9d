//! Clients in trouble are in the operator's log.

use syncline_guest::protocol::Speech;

use super::host::{Host, admission, anybody, batch, push, push_v3, say, start};

/// What a 0.4.0 client pushes that has lost a batch of its own.
fn with_a_hole(id: &str) -> String {
    push("SyncWsRpc", id, 0, 1).replace(&batch(0, 1), &format!("{},{}", batch(0, 1), batch(2, 1)))
}

#[test]
fn a_push_with_a_hole_is_in_the_log_with_client_and_user() {
    let mut host = Host::default();
    let mut room = start(&mut host);
    let user = r#"{"v":1,"kind":"user","userId":"ada"}"#;
    room.open(&mut host, 1, &admission(Speech::SOCKET, user));
    room.open(&mut host, 2, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 1, with_a_hole("5"));
    assert!(host.take_sent(1)[0].contains(r#""code":"INVALID_EVENTS""#));
    assert!(host.events.is_empty());
    assert_eq!(host.lines_with(r#"Client "c", user "ada" (1 such"#), 1);
    // The less often the more there are.
    for _ in 1..100 {
        say(&mut room, &mut host, 2, with_a_hole("6"));
    }
    assert_eq!(host.lines_with("a push was refused: INVALID_EVENTS"), 7);
    assert_eq!(host.lines_with(r#"Client "c", user unknown (64 such"#), 1);
}

#[test]
fn so_is_one_of_a_0_3_client_and_one_over_http() {
    let mut host = Host::default();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET_V3));
    let batch = format!("{},{}", batch(0, 1), batch(2, 1));
    say(&mut room, &mut host, 1, push_v3(&batch));
    assert_eq!(host.lines_with("INVALID_EVENTS"), 1);
    let body = with_a_hole("5").replace("SyncWsRpc", "SyncHttpRpc");
    room.request(&mut host, &anybody(Speech::HTTP), body.as_bytes());
    assert_eq!(host.lines_with("INVALID_EVENTS"), 2);
}

/// Others were first, or storage fails: that happens to everybody.
#[test]
fn a_push_that_may_come_again_is_no_trouble() {
    let mut host = Host::default();
    host.write_elsewhere(2);
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 1, push("SyncWsRpc", "5", 1, 1));
    assert_eq!(host.lines_with("a push was refused"), 0);
}
