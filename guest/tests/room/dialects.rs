//! Versions of LiveStore side by side: each client is answered in its own words,
//! and what they share is written once. What `next` is follows the transcripts
//! in `tests/fixtures/wire/next`.

use std::collections::BTreeSet;

use syncline_guest::imports::Callback;
use syncline_guest::protocol::Speech;
use syncline_guest::room::Room;

use super::host::{Host, ack, anybody, numbers, pass, pull, push, say, start};

/// As `effect` 4 spells it: the request's id is a number.
fn as_next(text: &str) -> String {
    let mut spelled = text.to_owned();
    for key in ["\"id\":", "\"requestId\":"] {
        if let Some(at) = spelled.find(&format!("{key}\"")) {
            let rest = spelled.split_off(at + key.len());
            let mut parts = rest.splitn(3, '"').skip(1);
            let (id, after) = (parts.next().unwrap(), parts.next().unwrap());
            spelled = format!("{spelled}{id}{after}");
        }
    }
    spelled
}

/// A room with a client of next (1), one of 0.4 (2) and one of 0.3 (3), all at
/// the head.
fn mixed(host: &mut Host) -> Room {
    let mut room = start(host);
    for (id, speech) in [
        (1, Speech::SOCKET),
        (2, Speech::SOCKET),
        (3, Speech::SOCKET_V3),
    ] {
        room.open(host, id, &anybody(speech));
    }
    say(
        &mut room,
        host,
        1,
        as_next(&pull("SyncWsRpc", "0", true, None)),
    );
    say(&mut room, host, 1, as_next(&ack("0")));
    say(&mut room, host, 2, pull("SyncWsRpc", "0", true, None));
    say(&mut room, host, 2, ack("0"));
    let begun = host.take_sent(1);
    assert_eq!(
        begun,
        [
            r#"{"_tag":"Chunk","requestId":0,"values":[{"batch":[],"pageInfo":{"_tag":"NoMore"},"backendId":"first"}]}"#
        ]
    );
    assert_eq!(host.take_sent(2), [begun[0].replace(":0,", ":\"0\",")]);
    // They may have been about to push.
    pass(host, 60_000);
    room
}

#[test]
fn what_is_pushed_is_written_once_and_everybody_reads_it() {
    let mut host = Host::default();
    let mut room = mixed(&mut host);
    let by_next = as_next(&push("SyncWsRpc", "7", 0, 2));
    say(&mut room, &mut host, 1, by_next);
    let told = host.take_sent(1);
    assert_eq!(numbers(&told), [1, 2]);
    assert!(told[0].starts_with(r#"{"_tag":"Chunk","requestId":0,"values":"#));
    assert_eq!(
        told[1],
        r#"{"_tag":"Exit","requestId":7,"exit":{"_tag":"Success","value":{}}}"#
    );
    assert_eq!(host.take_sent(2), [told[0].replacen(":0,", ":\"0\",", 1)]);
    assert_eq!(numbers(&host.take_sent(3)), [1, 2]);
    assert_eq!(host.shared.len(), 1, "D5: once for all that pull");
}

#[test]
fn a_next_client_is_answered_as_its_own_server_answers() {
    let mut host = Host::default();
    let mut room = mixed(&mut host);
    say(&mut room, &mut host, 2, push("SyncWsRpc", "1", 0, 1));
    host.take_sent(1);
    let mut answer = |request: &str| {
        say(&mut room, &mut host, 1, as_next(request));
        host.take_sent(1)
    };
    // ServerAheadError: transcript next/ws-04.
    assert_eq!(
        answer(&push("SyncWsRpc", "2", 0, 1)),
        [
            r#"{"_tag":"Exit","requestId":2,"exit":{"_tag":"Failure","cause":[{"_tag":"Fail","error":{"minimumExpectedNum":1,"providedNum":0,"_tag":"ServerAheadError"}}]}}"#
        ]
    );
    let elsewhere = pull("SyncWsRpc", "3", false, Some(("other", 0)));
    assert_eq!(
        answer(&elsewhere),
        [
            r#"{"_tag":"Exit","requestId":3,"exit":{"_tag":"Failure","cause":[{"_tag":"Fail","error":{"expected":"first","received":"other","_tag":"BackendIdMismatchError"}}]}}"#
        ]
    );
    // A pull that ends, ends with null: transcript next/ws-16.
    let chunk = answer(&pull("SyncWsRpc", "4", false, None));
    assert_eq!(numbers(&chunk), [1]);
    assert_eq!(
        answer(&ack("4")),
        [r#"{"_tag":"Exit","requestId":4,"exit":{"_tag":"Success","value":null}}"#]
    );
    // A fiber is a number: transcript next/ws-15.
    assert_eq!(
        answer(r#"{"_tag":"Interrupt","requestId":"0"}"#),
        [
            r#"{"_tag":"Exit","requestId":0,"exit":{"_tag":"Failure","cause":[{"_tag":"Interrupt","fiberId":0}]}}"#
        ]
    );
    let unknown = answer(&pull("SyncNoRpc", "5", true, None));
    assert!(unknown[0].contains(
        r#""requestId":5,"exit":{"_tag":"Failure","cause":[{"_tag":"Fail","error":{"cause""#
    ));
    assert!(unknown[0].contains("UNKNOWN_RPC"), "{unknown:?}");
}

#[test]
fn the_first_request_tells_the_version_for_the_connections_life() {
    let mut host = Host::default();
    let mut room = start(&mut host);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    // Both say this, and it tells nothing.
    say(&mut room, &mut host, 1, r#"{"_tag":"Ping"}"#);
    assert_eq!(host.take_sent(1), [r#"{"_tag":"Pong"}"#]);
    say(
        &mut room,
        &mut host,
        1,
        as_next(&pull("SyncWsRpc", "0", true, None)),
    );
    assert!(host.take_sent(1)[0].contains(r#""requestId":0,"#));
    // It is known when the room has slept.
    let mut room = start(&mut host);
    say(&mut room, &mut host, 1, as_next(&ack("0")));
    say(
        &mut room,
        &mut host,
        1,
        as_next(&push("SyncWsRpc", "1", 0, 1)),
    );
    let told = host.take_sent(1);
    assert_eq!(numbers(&told), [1]);
    assert!(
        told.iter()
            .all(|it| it.contains(r#""requestId":0,"#) || it.contains(r#""requestId":1,"#))
    );
    // And whoever changes it is told so, and served nothing.
    say(&mut room, &mut host, 1, push("SyncWsRpc", "2", 1, 1));
    let refused = host.take_sent(1);
    assert!(refused[0].contains("INVALID_REQUEST"), "{refused:?}");
    assert_eq!(host.head(), 1);
}

#[test]
fn requests_over_http_and_calls_are_each_of_their_own_version() {
    let mut host = Host::default();
    host.env.insert("DO_RPC_CLIENTS", "CLIENTS".to_owned());
    let mut room = start(&mut host);
    for (speech, group, is_call) in [
        (Speech::HTTP, "SyncHttpRpc", false),
        (Speech::OBJECT, "SyncDoRpc", true),
    ] {
        for is_next in [false, true] {
            let request = pull(group, "7", false, None);
            let request = if is_next { as_next(&request) } else { request };
            let body = if is_call {
                format!("[{request}]")
            } else {
                request
            };
            let answer = room.request(&mut host, &anybody(speech), body.as_bytes());
            let text = answer.first.body;
            let (id, end) = if is_next {
                ("7", r#""exit":{"_tag":"Success","value":null}}]"#)
            } else {
                ("\"7\"", r#""exit":{"_tag":"Success"}}]"#)
            };
            assert!(
                text.contains(&format!(r#""_tag":"Chunk","requestId":{id},"#)),
                "{text}"
            );
            assert!(text.ends_with(end), "{text}");
            // Beside the batch it is a string in both (transcript next/do-rpc-02).
            assert_eq!(text.contains(r#""rpcRequestId":"7""#), is_call, "{text}");
        }
    }
}

#[test]
fn objects_are_called_as_their_version_takes_it() {
    let mut host = Host::default();
    host.env.insert("DO_RPC_CLIENTS", "CLIENTS".to_owned());
    let mut room = start(&mut host);
    for (object, is_next) in [("older", false), ("newer", true)] {
        let context = format!(
            r#""rpcContext":{{"callerContext":{{"bindingName":"CLIENTS","durableObjectId":"{object}"}}}},"live""#
        );
        let request = pull("SyncDoRpc", "7", true, None).replace(r#""live""#, &context);
        let request = if is_next { as_next(&request) } else { request };
        let body = format!("[{request}]");
        room.request(&mut host, &anybody(Speech::OBJECT), body.as_bytes());
    }
    assert_eq!(host.callbacks["older"], Callback::Value);
    assert_eq!(host.callbacks["newer"], Callback::Packed);
    room.open(&mut host, 1, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 1, push("SyncWsRpc", "1", 0, 1));
    // What they are called with names its pull by a string in both
    // (transcript next/do-rpc-02).
    let ids: BTreeSet<_> = host.subscribed.values().copied().collect();
    for id in ids {
        let told = host.take_sent(id);
        assert_eq!(numbers(&told), [1]);
        assert!(
            told[0].starts_with(r#"{"_tag":"Chunk","requestId":"7","#),
            "{told:?}"
        );
    }
}

#[test]
fn an_event_without_arguments_is_shown_to_each_as_it_takes_it() {
    let mut host = Host::default();
    let mut room = mixed(&mut host);
    let bare = |text: String| text.replace(r#""args":0,"#, "");
    say(&mut room, &mut host, 2, bare(push("SyncWsRpc", "1", 0, 2)));
    let [next, older, oldest] = [1, 2, 3].map(|id| host.take_sent(id));
    assert!(
        next[0].contains(r#"{"name":"n","args":null,"seqNum":1"#),
        "{next:?}"
    );
    assert!(
        next[0].contains(r#"{"name":"n","args":1,"seqNum":2"#),
        "{next:?}"
    );
    for told in [older, oldest] {
        assert!(told[0].contains(r#"{"name":"n","seqNum":1"#), "{told:?}");
    }
    // The same out of storage, and of a push of which all are complete it is
    // written once again.
    say(&mut room, &mut host, 1, as_next(&ack("0")));
    let mut room = start(&mut host);
    say(
        &mut room,
        &mut host,
        1,
        as_next(&pull("SyncWsRpc", "9", false, None)),
    );
    let stored = host.take_sent(1);
    assert!(
        stored[0].contains(r#""args":null,"seqNum":1"#),
        "{stored:?}"
    );
    host.shared.clear();
    say(&mut room, &mut host, 2, push("SyncWsRpc", "2", 2, 1));
    assert_eq!(host.shared.len(), 1);
    // Who could not be shown its own again is refused, as its own server
    // refuses it (transcript next/ws-08).
    host.take_sent(1);
    say(
        &mut room,
        &mut host,
        1,
        as_next(&bare(push("SyncWsRpc", "3", 3, 1)).replace(r#""args":3,"#, "")),
    );
    let refused = host.take_sent(1);
    assert!(
        refused.last().unwrap().contains("INVALID_REQUEST"),
        "{refused:?}"
    );
    assert_eq!(host.head(), 3);
}
