//! What a host with telemetry is told of a room's turns (`wit/telemetry.wit`).

use syncline_guest::imports::{Method, Subscriptions};
use syncline_guest::protocol::Speech;

use super::host::{Host, anybody, pull, push, say, start};

fn host() -> Host {
    let mut host = Host::default();
    host.env.insert("HOST_TELEMETRY", "1".to_owned());
    host
}

/// A request as a client with a tracer makes it.
fn traced(request: &str, trace_id: &str, span_id: &str) -> String {
    let fields = format!(r#","traceId":"{trace_id}","spanId":"{span_id}","sampled":true}}"#);
    format!("{}{fields}", request.strip_suffix('}').unwrap())
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[test]
fn a_request_is_told_with_its_outcome_and_its_clients_span() {
    let mut host = host();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    let request = pull("SyncWsRpc", "1", true, None);
    say(&mut room, &mut host, 1, traced(&request, TRACE, SPAN));
    say(&mut room, &mut host, 1, push("SyncWsRpc", "2", 0, 3));
    say(&mut room, &mut host, 1, push("SyncWsRpc", "3", 0, 1));
    say(
        &mut room,
        &mut host,
        1,
        push("SyncWsRpc", "4", 3, 1).replace(r#""storeId":"store""#, r#""storeId":"other""#),
    );
    let called: Vec<_> = host
        .called
        .iter()
        .map(|call| {
            (
                call.connection,
                call.method,
                call.request.as_str(),
                call.events,
                call.refused,
            )
        })
        .collect();
    assert_eq!(
        called,
        [
            (Some(1), Method::Pull, "1", 0, None),
            (Some(1), Method::Push, "2", 3, None),
            (Some(1), Method::Push, "3", 1, Some("SERVER_AHEAD")),
            (Some(1), Method::Push, "4", 1, Some("STORE_MISMATCH")),
        ]
    );
    let parent = host.called[0].parent.as_ref().unwrap();
    assert_eq!(
        (parent.trace_id.as_str(), parent.span_id.as_str()),
        (TRACE, SPAN)
    );
    assert!(parent.sampled);
    assert!(host.called[1].parent.is_none());
}

#[test]
fn a_span_that_makes_no_sense_is_none_and_its_request_is_served() {
    let mut host = host();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    let zeros = "0".repeat(32);
    for (trace_id, span_id) in [("x", SPAN), (&zeros, SPAN), (TRACE, ""), (TRACE, "é")] {
        let request = push("SyncWsRpc", "1", host.head(), 1);
        say(&mut room, &mut host, 1, traced(&request, trace_id, span_id));
        let call = host.called.pop().unwrap();
        assert_eq!(
            (call.refused, call.parent),
            (None, None),
            "{trace_id} {span_id}"
        );
    }
}

#[test]
fn subscriptions_are_told_when_they_change_and_after_a_sleep() {
    let mut host = host();
    let mut room = start(&mut host);
    for id in 1..=3 {
        room.open(&mut host, id, &anybody(Speech::SOCKET));
        say(&mut room, &mut host, id, pull("SyncWsRpc", "1", true, None));
    }
    let live = |live| Subscriptions {
        live,
        ..Subscriptions::default()
    };
    assert_eq!(host.standing, [live(1), live(2), live(3)]);
    // A push that all are shown changes nothing.
    host.now += std::time::Duration::from_secs(60);
    say(&mut room, &mut host, 1, push("SyncWsRpc", "2", 0, 1));
    assert_eq!(host.standing.len(), 3);
    room.closed(&mut host, 2);
    assert_eq!(host.standing.last(), Some(&live(2)));
    host.attachments.remove(&2);
    let mut room = start(&mut host);
    room.closed(&mut host, 3);
    assert_eq!(host.standing.last(), Some(&live(1)));
}

#[test]
fn a_host_without_telemetry_is_told_nothing() {
    let mut host = Host::default();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 1, pull("SyncWsRpc", "1", true, None));
    assert!(host.called.is_empty() && host.standing.is_empty());
}
