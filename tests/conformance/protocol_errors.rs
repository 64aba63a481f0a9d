//! What is no request gets an answer that real clients survive, and harms
//! nothing else on its connection (I9, design D10).

use serde_json::{Value, json};
use syncline_tests::rpc::{
    Client, event, events, failure_code, new_store, numbers, option, pull, push, request, ws_url,
};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::socket::Socket;
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![V4 Open:
        frames_that_are_no_json_get_a_defect,
        i9_a_frame_that_is_no_message_gets_a_defect_and_no_more,
        an_unknown_procedure_fails_its_request_alone,
        an_undecodable_request_fails_with_an_error_of_the_schema,
        i5_a_message_for_another_store_is_refused,
        binary_frames_of_json_are_messages_too,
        pings_are_answered_however_they_are_written,
        i9_long_junk_gets_a_short_answer,
        a_message_over_32_mib_closes_its_socket_alone,
    ]
}

/// Sends `bad` and sees a Defect, while a live pull on the socket goes on.
fn gets_a_defect(server: &Server, bad: &[&[u8]], binary: bool) {
    let store = new_store("defect");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    for (bad, n) in bad.iter().zip(1..) {
        if binary {
            client.socket.send_binary(*bad);
        } else {
            client.socket.send(str::from_utf8(bad).unwrap());
        }
        let shown = String::from_utf8_lossy(bad);
        let answer = client.socket.receive_json();
        assert_eq!(answer["_tag"], "Defect", "{shown}: {answer}");
        client.push_ok(&events(n, n));
        assert_eq!(numbers(&client.chunk(&live)), [n], "after {shown}");
    }
}

fn frames_that_are_no_json_get_a_defect(server: &Server) {
    let bad: [&[u8]; 5] = [
        b"this is not json",
        br#"{"_tag":"Request""#,
        b"",
        b"{",
        b"\0",
    ];
    gets_a_defect(server, &bad, false);
    gets_a_defect(server, &[b"\x00\xff\x01\x02", b"\xff\xfe{}"], true);
}

fn i9_a_frame_that_is_no_message_gets_a_defect_and_no_more(server: &Server) {
    let nested = "[".repeat(100_000);
    let deep = format!(r#"{{"_tag":"Request","id":{nested}"#);
    let bad = [
        "{}",
        "[]",
        "null",
        "123",
        "\"str\"",
        r#"{"_tag":"Bogus","foo":1}"#,
        r#"{"_tag":"Request","tag":"SyncWsRpc.Pull","payload":{},"headers":[]}"#,
        r#"{"_tag":"Request","id":"abc","tag":"SyncWsRpc.Pull","payload":{}}"#,
        r#"{"_tag":"Request","id":"","tag":"SyncWsRpc.Pull"}"#,
        r#"{"_tag":"Request","id":null,"tag":"SyncWsRpc.Pull"}"#,
        r#"[{"_tag":"Request","id":"1","tag":"SyncWsRpc.Pull","payload":{},"headers":[]}]"#,
        r#"{"_tag":"Interrupt"}"#,
        r#"{"_tag":"Ack"}"#,
        r#"{"_tag":5}"#,
        &nested,
        &deep,
    ];
    let bad: Vec<&[u8]> = bad.iter().map(|it| it.as_bytes()).collect();
    gets_a_defect(server, &bad, false);
}

fn an_unknown_procedure_fails_its_request_alone(server: &Server) {
    let store = new_store("unknown");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    let payload = json!({"storeId": store, "cursor": {"_tag": "None"}});
    for tag in [
        "SyncWsRpc.Nope",
        "SyncHttpRpc.Pull",
        "SyncWsRpc.Ping",
        "",
        "SyncDoRpc.Push",
    ] {
        client.socket.send(request("500", tag, payload.clone()));
        assert_eq!(failure_code(&client.exit("500")), "UNKNOWN_RPC", "{tag}");
    }
    client
        .socket
        .send(json!({"_tag": "Request", "id": "501", "payload": payload}));
    assert_eq!(failure_code(&client.exit("501")), "UNKNOWN_RPC");
    client.push_ok(&events(1, 1));
    assert_eq!(numbers(&client.chunk(&live)), [1]);
}

fn an_undecodable_request_fails_with_an_error_of_the_schema(server: &Server) {
    let store = new_store("undecodable");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    let none = option(None);
    let with = |key: &str, value: Value| {
        let mut event = event(1);
        event[key] = value;
        event
    };
    let without = |key: &str| {
        let mut event = event(1);
        event.as_object_mut().unwrap().remove(key);
        event
    };
    let cursor = |cursor: Value| json!({"storeId": store, "live": false, "cursor": cursor});
    let mut requests = vec![
        ("SyncWsRpc.Pull", Value::Null),
        ("SyncWsRpc.Pull", json!({})),
        ("SyncWsRpc.Pull", json!([store, false, none])),
        ("SyncWsRpc.Pull", json!({"storeId": store, "cursor": none})),
        (
            "SyncWsRpc.Pull",
            json!({"storeId": store, "live": "yes", "cursor": none}),
        ),
        ("SyncWsRpc.Pull", json!({"storeId": store, "live": false})),
        (
            "SyncWsRpc.Pull",
            json!({"storeId": 5, "live": false, "cursor": none}),
        ),
        ("SyncWsRpc.Pull", cursor(Value::Null)),
        ("SyncWsRpc.Pull", cursor(json!({"_tag": "Some"}))),
        ("SyncWsRpc.Pull", cursor(json!({"_tag": "Maybe"}))),
        (
            "SyncWsRpc.Pull",
            cursor(option(Some(
                json!({"backendId": "x", "eventSequenceNumber": "1"}),
            ))),
        ),
        (
            "SyncWsRpc.Push",
            json!({"storeId": store, "backendId": none}),
        ),
        (
            "SyncWsRpc.Push",
            json!({"storeId": store, "batch": [event(1)]}),
        ),
        (
            "SyncWsRpc.Push",
            json!({"storeId": store, "batch": {}, "backendId": none}),
        ),
    ];
    let broken = [
        without("name"),
        without("seqNum"),
        without("parentSeqNum"),
        without("clientId"),
        without("sessionId"),
        with("name", json!(5)),
        with("seqNum", json!("1")),
        with("seqNum", json!(1.5)),
        with("clientId", Value::Null),
        json!(["v1.X", {}, 1, 0, "c", "s"]),
        json!(null),
    ];
    requests.extend(broken.into_iter().map(|event| {
        let payload = json!({"storeId": store, "batch": [event], "backendId": none});
        ("SyncWsRpc.Push", payload)
    }));
    for (tag, payload) in requests {
        client.socket.send(request("600", tag, payload.clone()));
        let exit = client.exit("600");
        assert_eq!(failure_code(&exit), "INVALID_REQUEST", "{tag} {payload}");
    }
    // Where an id can be read, it is answered, whatever else is wrong.
    let mut numeric = pull("0", &store, false, None);
    numeric["id"] = json!(601);
    for odd in [
        numeric.to_string(),
        r#"{"_tag":"Request","id":"601","tag":5}"#.to_owned(),
        r#"{"_tag":5,"id":"601"}"#.to_owned(),
        r#"{"_tag":"Bogus","id":"601"}"#.to_owned(),
        r#"{"_tag":"Request","id":"601","tag":"SyncWsRpc.Pull","payload":{},"payload":{}}"#
            .to_owned(),
        r#"{"_tag":"Request","id":"\u0036\u0030\u0031","tag":"SyncWsRpc.Pull"}"#.to_owned(),
    ] {
        client.socket.send(&odd);
        assert_eq!(
            failure_code(&client.exit("601")),
            "INVALID_REQUEST",
            "{odd}"
        );
    }
    client.push_ok(&events(1, 1));
    assert_eq!(numbers(&client.chunk(&live)), [1]);
}

fn i5_a_message_for_another_store_is_refused(server: &Server) {
    let (store, other) = (new_store("mine"), new_store("other"));
    let mut client = Client::open(server, &store);
    client.socket.send(push("1000", &other, &events(1, 1)));
    assert_eq!(failure_code(&client.exit("1000")), "STORE_MISMATCH");
    client.socket.send(pull("1001", &other, false, None));
    assert_eq!(failure_code(&client.exit("1001")), "STORE_MISMATCH");
    for store in [&store, &other] {
        let (chunks, _) = Client::open(server, store).pull_all(None);
        assert_eq!(numbers(&chunks[0]), [0_u64; 0]);
    }
    // An Exit would silence a live pull for ever, so its socket is closed.
    client.socket.send(pull("1002", &other, true, None));
    assert_eq!(
        client.socket.receive_close(),
        (4403, "STORE_MISMATCH".to_owned())
    );
}

fn binary_frames_of_json_are_messages_too(server: &Server) {
    let store = new_store("binary");
    let mut client = Client::open(server, &store);
    let message = push("9", &store, &events(1, 1)).to_string();
    client.socket.send_binary(message.into_bytes());
    assert_eq!(client.exit("9")["_tag"], "Success");
}

fn pings_are_answered_however_they_are_written(server: &Server) {
    let mut socket = Socket::open(server, &ws_url(&new_store("ping")));
    for ping in [
        r#"{"_tag":"Ping"}"#,
        r#"{"_tag": "Ping"}"#,
        r#"{"_tag":"Ping","x":1}"#,
    ] {
        socket.send(ping);
        assert_eq!(socket.receive_json(), json!({"_tag": "Pong"}));
    }
}

fn i9_long_junk_gets_a_short_answer(server: &Server) {
    let store = new_store("long-junk");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    let long = "z\u{200b}".repeat(2_000_000);
    let none = option(None);
    let requests = [
        (
            "SyncWsRpc.Push",
            json!({"storeId": store, "batch": long, "backendId": none}),
        ),
        (
            "SyncWsRpc.Push",
            json!({"storeId": store, "batch": [long], "backendId": none}),
        ),
        (
            "SyncWsRpc.Push",
            json!({"storeId": store, "batch": [], "backendId": option(Some(json!(long)))}),
        ),
        (
            "SyncWsRpc.Pull",
            json!({"storeId": store, "live": long, "cursor": none}),
        ),
        (
            "SyncWsRpc.Pull",
            json!({"storeId": store, "live": false, "cursor": long}),
        ),
    ];
    for (tag, payload) in requests {
        client.socket.send(request("900", tag, payload));
        let exit = client.exit("900");
        assert!(exit.to_string().len() < 2_000);
        assert_eq!(failure_code(&exit), "INVALID_REQUEST");
    }
    for junk in [
        json!(long),
        json!({"_tag": long}),
        json!({"_tag": "Request", "id": long}),
    ] {
        client.socket.send(junk);
        let answer = client.socket.receive_json();
        assert_eq!(answer["_tag"], "Defect");
        assert!(answer.to_string().len() < 2_000);
    }
    client.socket.send(request("901", &long, json!({})));
    assert!(client.exit("901").to_string().len() < 2_000);
    client.push_ok(&events(1, 1));
    assert_eq!(numbers(&client.chunk(&live)), [1]);
}

fn a_message_over_32_mib_closes_its_socket_alone(server: &Server) {
    let store = new_store("33-mib");
    let mut other = Client::open(server, &store);
    let live = other.pull(true, None);
    other.chunk(&live);
    let mut socket = Socket::open(server, &ws_url(&store));
    // The server may close before it has read it all: then the rest of the
    // message is refused, and with it, perhaps, the close.
    let sent = socket.try_send("x".repeat(33 * 1024 * 1024));
    let (code, _) = socket.receive_close();
    assert!(code == 1009 || (code == 1006 && !sent), "{code}");
    other.push_ok(&events(1, 1));
    assert_eq!(numbers(&other.chunk(&live)), [1]);
}
