//! LiveStore 0.3, and all protocols on one log.

use serde_json::{Value, json};
use syncline_tests::http::post_rpc;
use syncline_tests::profile::ADMIN_SECRET;
use syncline_tests::rpc::{
    Client, batch, event, event_with, events, failure, new_store, numbers, option, request, v3_url,
};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::socket::{Received, Socket};
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        V3 Open:
            v3_a_pull_comes_in_pages_that_say_what_remains,
            v3_a_push_is_acknowledged_then_shown_in_one_frame,
            v3_a_stale_push_is_an_error_in_upstreams_words,
            v3_i9_a_frame_that_is_no_message_gets_an_error,
            v3_ping_is_answered_however_it_is_written,
            v3_args_come_back_byte_for_byte,
            v3_i4_a_batch_that_is_no_chain_is_refused_whole,
            v3_administration_needs_the_secret,
            v3_a_reset_empties_the_log,
            v3_a_repeated_push_is_acknowledged_again,
            v3_i3_a_client_that_lost_its_socket_sees_no_gap,
            v3_a_close_is_answered;
        Both Open:
            v3_i7_a_push_of_30_mb_comes_in_pages,
            v3_i7_a_client_that_never_reads_is_closed_and_sees_no_gap,
            all_protocols_converge_on_one_log,
            a_reset_tells_every_pull_that_the_log_is_another,
    ]
}

fn pull(id: &str, cursor: Option<u64>) -> Value {
    match cursor {
        Some(cursor) => json!({"_tag": "WSMessage.PullReq", "requestId": id, "cursor": cursor}),
        None => json!({"_tag": "WSMessage.PullReq", "requestId": id}),
    }
}

fn push(id: &str, batch: &[Value]) -> Value {
    json!({"_tag": "WSMessage.PushReq", "requestId": id, "batch": batch})
}

fn ack(id: &str) -> Value {
    json!({"_tag": "WSMessage.PushAck", "requestId": id})
}

/// Pushes on a socket that gets its own pushes shown.
fn push_ok(socket: &mut Socket, id: &str, batch: &[Value]) -> Value {
    socket.send(push(id, batch));
    assert_eq!(socket.receive_json(), ack(id));
    socket.receive_json()
}

fn assert_error(answer: &Value, id: &str, part: &str) {
    assert_eq!(answer["_tag"], "WSMessage.Error", "{answer}");
    assert_eq!(answer["requestId"], id, "{answer}");
    assert!(
        answer["message"].as_str().unwrap().contains(part),
        "{answer}"
    );
}

fn seeded(server: &Server, store: &str, count: u64) -> Socket {
    let mut socket = Socket::open(server, &v3_url(store));
    for first in (1..=count).step_by(250) {
        push_ok(
            &mut socket,
            "seed",
            &events(first, (first + 249).min(count)),
        );
    }
    socket
}

fn v3_a_pull_comes_in_pages_that_say_what_remains(server: &Server) {
    let store = new_store("v3-pages");
    drop(seeded(server, &store, 1_030));
    let mut socket = Socket::open(server, &v3_url(&store));
    socket.send(pull("p", None));
    let mut seen = 0;
    while seen < 1_030 {
        let page = socket.receive_json();
        assert_eq!(
            page["requestId"],
            json!({"context": "pull", "requestId": "p"})
        );
        let expected: Vec<u64> = (seen + 1..).take(numbers(&page).len()).collect();
        assert_eq!(numbers(&page), expected);
        assert!(expected.len() <= 100);
        seen += expected.len() as u64;
        assert_eq!(page["remaining"], 1_030 - seen);
    }
    socket.send(pull("q", Some(1_029)));
    assert_eq!(numbers(&socket.receive_json()), [1_030]);
    let shown = push_ok(&mut socket, "x", &events(1_031, 1_031));
    assert_eq!(numbers(&shown), [1_031]);
}

fn v3_a_push_is_acknowledged_then_shown_in_one_frame(server: &Server) {
    let store = new_store("v3-push");
    let mut other = Socket::open(server, &v3_url(&store));
    other.send(pull("p", None));
    assert_eq!(numbers(&other.receive_json()), [0_u64; 0]);
    let mut socket = Socket::open(server, &v3_url(&store));
    let shown = push_ok(&mut socket, "a", &events(1, 250));
    assert_eq!(numbers(&shown), (1..=250).collect::<Vec<_>>());
    assert_eq!(
        shown["requestId"],
        json!({"context": "push", "requestId": "a"})
    );
    assert_eq!(shown["remaining"], 0);
    assert_eq!(other.receive_json(), shown);
}

fn v3_a_stale_push_is_an_error_in_upstreams_words(server: &Server) {
    let store = new_store("v3-stale");
    let mut socket = Socket::open(server, &v3_url(&store));
    push_ok(&mut socket, "a", &events(1, 4));
    for (seq_num, words) in [
        (1, "Received e0 but expected e4"),
        (50, "Received e49 but expected e4"),
    ] {
        socket.send(push("b", &[event(seq_num)]));
        assert_error(&socket.receive_json(), "b", words);
    }
    push_ok(&mut socket, "c", &events(5, 5));
}

fn v3_i9_a_frame_that_is_no_message_gets_an_error(server: &Server) {
    let store = new_store("v3-junk");
    let mut socket = Socket::open(server, &v3_url(&store));
    for (bad, id) in [
        ("not json", ""),
        ("{}", ""),
        ("[]", ""),
        ("null", ""),
        (r#"{"_tag":"WSMessage.PullReq"}"#, ""),
        (r#"{"_tag":"WSMessage.Nope","requestId":"x"}"#, "x"),
        (r#"{"_tag":"WSMessage.PushReq","requestId":"x"}"#, "x"),
        (
            r#"{"_tag":"WSMessage.PushReq","requestId":"x","batch":[5]}"#,
            "x",
        ),
        (
            r#"{"_tag":"WSMessage.PullReq","requestId":"x","cursor":"1"}"#,
            "x",
        ),
    ] {
        socket.send(bad);
        assert_error(&socket.receive_json(), id, "");
    }
    socket.send_binary(b"\xff\x00".to_vec());
    assert_error(&socket.receive_json(), "", "");
    push_ok(&mut socket, "a", &events(1, 1));
}

fn v3_ping_is_answered_however_it_is_written(server: &Server) {
    let mut socket = Socket::open(server, &v3_url(&new_store("v3-ping")));
    for ping in [
        r#"{"_tag":"WSMessage.Ping","requestId":"ping"}"#,
        r#"{"requestId":"ping","_tag":"WSMessage.Ping"}"#,
    ] {
        socket.send(ping);
        assert_eq!(
            socket.receive_json(),
            json!({"_tag": "WSMessage.Pong", "requestId": "ping"})
        );
    }
}

fn v3_args_come_back_byte_for_byte(server: &Server) {
    let store = new_store("v3-bytes");
    let mut socket = Socket::open(server, &v3_url(&store));
    let args = r#"{ "b":1.0, "a":"\u00e9" }"#;
    socket.send(format!(
        r#"{{"_tag":"WSMessage.PushReq","requestId":"a","batch":[{{"name":"e","args":{args},"seqNum":1,"parentSeqNum":0,"clientId":"c","sessionId":"s"}},{{"name":"e","seqNum":2,"parentSeqNum":1,"clientId":"c","sessionId":"s"}}]}}"#
    ));
    assert_eq!(socket.receive_json(), ack("a"));
    socket.receive();
    socket.send(pull("p", None));
    let Received::Text(page) = socket.receive() else {
        panic!("a page was due");
    };
    assert!(page.contains(&format!(r#""args":{args},"#)), "{page}");
    assert!(page.contains(r#"{"name":"e","seqNum":2,"#), "{page}");
}

fn v3_i4_a_batch_that_is_no_chain_is_refused_whole(server: &Server) {
    let store = new_store("v3-chain");
    let mut socket = Socket::open(server, &v3_url(&store));
    socket.send(push("a", &[event(1), event(3)]));
    assert_error(&socket.receive_json(), "a", "");
    push_ok(&mut socket, "b", &events(1, 2));
}

fn admin(what: &str, secret: &str) -> Value {
    json!({"_tag": format!("WSMessage.{what}"), "requestId": "r", "adminSecret": secret})
}

fn v3_administration_needs_the_secret(server: &Server) {
    let store = new_store("v3-admin");
    let mut socket = Socket::open(server, &v3_url(&store));
    push_ok(&mut socket, "a", &events(1, 1));
    for what in ["AdminInfoReq", "AdminResetRoomReq"] {
        for secret in ["", "bad", "change-me-not"] {
            socket.send(admin(what, secret));
            assert_error(&socket.receive_json(), "r", "Invalid admin secret");
        }
    }
    socket.send(admin("AdminInfoReq", ADMIN_SECRET));
    let info = socket.receive_json();
    assert_eq!(info["_tag"], "WSMessage.AdminInfoRes");
    assert!(info["info"]["durableObjectId"].is_string(), "{info}");
    push_ok(&mut socket, "b", &events(2, 2));
}

fn v3_a_reset_empties_the_log(server: &Server) {
    let store = new_store("v3-reset");
    let mut socket = Socket::open(server, &v3_url(&store));
    push_ok(&mut socket, "a", &events(1, 3));
    socket.send(admin("AdminResetRoomReq", ADMIN_SECRET));
    assert_eq!(
        socket.receive_json(),
        json!({"_tag": "WSMessage.AdminResetRoomRes", "requestId": "r"})
    );
    socket.send(pull("p", None));
    assert_eq!(numbers(&socket.receive_json()), [0_u64; 0]);
    push_ok(&mut socket, "b", &events(1, 1));
}

fn v3_a_repeated_push_is_acknowledged_again(server: &Server) {
    let store = new_store("v3-repeat");
    drop(seeded(server, &store, 3));
    // The client has restarted: it pulls, and pushes what was never
    // acknowledged to it, though it is stored.
    let mut socket = Socket::open(server, &v3_url(&store));
    socket.send(pull("p", Some(1)));
    assert_eq!(numbers(&socket.receive_json()), [2, 3]);
    socket.send(push("again", &events(2, 3)));
    assert_eq!(socket.receive_json(), ack("again"));
    // Another event at that place is not the same push.
    let mut other = event(2);
    other["args"] = json!({"id": "other"});
    socket.send(push("other", &[other]));
    assert_error(
        &socket.receive_json(),
        "other",
        "Received e1 but expected e3",
    );
    let shown = push_ok(&mut socket, "next", &events(4, 4));
    assert_eq!(numbers(&shown), [4]);
}

fn v3_i3_a_client_that_lost_its_socket_sees_no_gap(server: &Server) {
    let store = new_store("v3-lost");
    let mut pusher = seeded(server, &store, 3);
    // A client that was at 2 when its socket died: it does not pull again.
    let mut lost = Socket::open(server, &v3_url(&store));
    push_ok(&mut pusher, "a", &events(4, 5));
    let mut mine = event(3);
    mine["clientId"] = json!("client-b");
    lost.send(push("mine", &[mine]));
    // Nothing of 4 and 5 came before: it would have been a gap.
    assert_error(&lost.receive_json(), "mine", "Received e2 but expected e5");
    let missed = lost.receive_json();
    assert_eq!(missed["requestId"]["context"], "push");
    assert_eq!(numbers(&missed), [3, 4, 5]);
    push_ok(&mut pusher, "b", &events(6, 6));
    assert_eq!(numbers(&lost.receive_json()), [6]);
}

fn v3_i7_a_push_of_30_mb_comes_in_pages(server: &Server) {
    let store = new_store("v3-30-mb");
    let mut socket = Socket::open(server, &v3_url(&store));
    socket.send(pull("p", None));
    socket.receive_json();
    let text = "x".repeat(500_000);
    let batch: Vec<_> = (1..=60).map(|n| event_with(n, json!(text))).collect();
    Client::open(server, &store).push_ok(&batch);
    let mut seen = Vec::new();
    while seen.len() < 60 {
        let shown = socket.receive_json();
        assert_eq!(shown["requestId"]["context"], "push");
        seen.extend(numbers(&shown));
    }
    assert_eq!(seen, (1..=60).collect::<Vec<_>>());
    assert_eq!(numbers(&push_ok(&mut socket, "x", &events(61, 61))), [61]);
}

fn v3_i7_a_client_that_never_reads_is_closed_and_sees_no_gap(server: &Server) {
    let store = new_store("v3-deaf");
    let mut deaf = Socket::open(server, &v3_url(&store));
    deaf.send(pull("p", None));
    deaf.receive_json();
    let mut pusher = Client::open(server, &store);
    let text = "x".repeat(800_000);
    // More than the outbox and the network in between hold.
    for n in 1..=80 {
        pusher.push_ok(&[event_with(n, json!(text))]);
    }
    let mut seen = Vec::new();
    let code = loop {
        match deaf.receive() {
            Received::Text(frame) => seen.extend(numbers(&serde_json::from_str(&frame).unwrap())),
            Received::Closed(code, _) => break code,
        }
    };
    // Who takes nothing for as long as a close may take is cut off untold.
    assert!([1013, 1005, 1006].contains(&code), "{code}");
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    assert!(seen.len() < 80);
}

fn v3_a_close_is_answered(server: &Server) {
    let mut socket = Socket::open(server, &v3_url(&new_store("v3-close")));
    socket.close(3000);
    assert_eq!(socket.receive_close().0, 3000);
}

fn all_protocols_converge_on_one_log(server: &Server) {
    let store = new_store("converge");
    let mut v4 = Client::open(server, &store);
    let live = v4.pull(true, None);
    v4.chunk(&live);
    let mut v3 = Socket::open(server, &v3_url(&store));
    v3.send(pull("p", None));
    v3.receive_json();
    let http_push = |batch: &[Value]| {
        let payload = json!({"storeId": store, "batch": batch, "backendId": option(None)});
        let response = post_rpc(server, &store, request("1", "SyncHttpRpc.Push", payload));
        response.json()[0]["exit"].clone()
    };
    v4.push_ok(&events(1, 2));
    assert_eq!(numbers(&v3.receive_json()), [1, 2]);
    assert_eq!(numbers(&push_ok(&mut v3, "x", &events(3, 4))), [3, 4]);
    assert_eq!(http_push(&events(5, 5))["_tag"], "Success");
    assert_eq!(numbers(&v3.receive_json()), [5]);
    assert_eq!(v4.numbers_until(&live, 5), [1, 2, 3, 4, 5]);
    assert_eq!(failure(&http_push(&[event(2)]))["_tag"], "ServerAheadError");
    // The same events, but for the metadata's tag.
    v3.send(pull("q", None));
    let old = v3.receive_json();
    let (chunks, _) = v4.pull_all(None);
    let events = |frame: &Value| -> Vec<Value> {
        batch(frame)
            .iter()
            .map(|item| item["eventEncoded"].clone())
            .collect()
    };
    assert_eq!(events(&old), events(&chunks[0]));
}

fn a_reset_tells_every_pull_that_the_log_is_another(server: &Server) {
    let store = new_store("reset-both");
    let mut v4 = Client::open(server, &store);
    v4.push_ok(&events(1, 3));
    let live = v4.pull(true, None);
    let before = v4.chunk(&live)["values"][0]["backendId"].clone();
    let mut v3 = Socket::open(server, &v3_url(&store));
    v3.send(admin("AdminResetRoomReq", ADMIN_SECRET));
    assert_eq!(v3.receive_json()["_tag"], "WSMessage.AdminResetRoomRes");
    let error = failure(&v4.exit(&live));
    assert_eq!(error["_tag"], "BackendIdMismatchError");
    assert_eq!(error["received"], before);
    let (chunks, _) = v4.pull_all(None);
    assert_eq!(numbers(&chunks[0]), [0_u64; 0]);
    assert_eq!(chunks[0]["values"][0]["backendId"], error["expected"]);
    v4.push_ok(&events(1, 1));
}
