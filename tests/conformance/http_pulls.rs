//! 0.4 over HTTP: RPC arrays, and pulls of any length.

use std::thread;

use serde_json::{Value, json};
use syncline_tests::http::{post_rpc, request as http_request};
use syncline_tests::rpc::{
    Client, cursor, event, events, failure, failure_code, new_store, numbers, option, request,
};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        V4 Open:
            i3_a_long_http_pull_is_whole_while_pushes_go_on,
            http_and_websocket_clients_see_one_log,
            http_errors_are_of_the_schema;
        OwnHttp Open:
            http_requests_that_cannot_be_read_get_an_rpc_array,
            i5_http_messages_for_another_store_are_refused,
            http_answers_carry_cors_headers,
    ]
}

fn pull(server: &Server, store: &str, cursor: Option<Value>) -> Vec<Value> {
    let message = request(
        "1",
        "SyncHttpRpc.Pull",
        json!({"storeId": store, "cursor": option(cursor)}),
    );
    let response = post_rpc(server, store, message);
    assert_eq!(response.status, 200);
    let Value::Array(frames) = response.json() else {
        panic!("an array was due: {}", response.body);
    };
    frames
}

fn push(server: &Server, store: &str, batch: &[Value]) -> Value {
    let payload = json!({"storeId": store, "batch": batch, "backendId": option(None)});
    let response = post_rpc(server, store, request("1", "SyncHttpRpc.Push", payload));
    response.json()[0]["exit"].clone()
}

fn i3_a_long_http_pull_is_whole_while_pushes_go_on(server: &Server) {
    const SEEDED: u64 = 4_000;
    let store = new_store("long");
    let mut pusher = Client::open(server, &store);
    for first in (1..=SEEDED).step_by(1_000) {
        pusher.push_ok(&events(first, first + 999));
    }
    thread::scope(|scope| {
        let store = &store;
        scope.spawn(move || {
            for n in SEEDED + 1..=SEEDED + 50 {
                pusher.push_ok(&events(n, n));
            }
        });
        for _ in 0..2 {
            let frames = pull(server, store, None);
            let (exit, chunks) = frames.split_last().unwrap();
            assert_eq!(exit["exit"], json!({"_tag": "Success"}));
            let seen: Vec<u64> = chunks.iter().flat_map(numbers).collect();
            assert!(seen.len() as u64 >= SEEDED);
            assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
            let last = &chunks.last().unwrap()["values"][0]["pageInfo"];
            assert_eq!(last, &json!({"_tag": "NoMore"}));
        }
    });
    let frames = pull(server, &store, None);
    assert_eq!(
        frames
            .iter()
            .filter(|it| it["_tag"] == "Chunk")
            .flat_map(numbers)
            .max(),
        Some(SEEDED + 50)
    );
}

fn http_and_websocket_clients_see_one_log(server: &Server) {
    let store = new_store("one-log");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    let backend_id = client.chunk(&live)["values"][0]["backendId"].clone();
    assert_eq!(
        push(server, &store, &events(1, 2)),
        json!({"_tag": "Success", "value": {}})
    );
    assert_eq!(client.numbers_until(&live, 2), [1, 2]);
    client.push_ok(&events(3, 3));
    let frames = pull(
        server,
        &store,
        Some(cursor(backend_id.as_str().unwrap(), 1)),
    );
    assert_eq!(numbers(&frames[0]), [2, 3]);
    let error = failure(&push(server, &store, &[event(2)]));
    assert_eq!(error["minimumExpectedNum"], 3);
}

fn http_errors_are_of_the_schema(server: &Server) {
    let store = new_store("http-errors");
    for (tag, payload, code) in [
        ("SyncHttpRpc.Nope", json!({}), "UNKNOWN_RPC"),
        ("SyncWsRpc.Pull", json!({}), "UNKNOWN_RPC"),
        (
            "SyncHttpRpc.Pull",
            json!({"storeId": store}),
            "INVALID_REQUEST",
        ),
        ("SyncHttpRpc.Ping", json!({}), "INVALID_REQUEST"),
    ] {
        let response = post_rpc(server, &store, request("7", tag, payload));
        assert_eq!(response.status, 200);
        let frame = &response.json()[0];
        assert_eq!(frame["requestId"], "7");
        assert_eq!(failure_code(&frame["exit"]), code, "{tag}");
    }
}

fn http_requests_that_cannot_be_read_get_an_rpc_array(server: &Server) {
    let store = new_store("http-junk");
    for body in [
        "not json",
        "{}",
        "[]",
        "null",
        "{\"_tag\":\"Request\",\"tag\":\"x\"}",
        " ",
    ] {
        let response = post_rpc(server, &store, body);
        assert_eq!(response.status, 400, "{body}");
        assert_eq!(response.json()[0]["_tag"], "Defect", "{body}");
    }
    let empty = http_request(
        server,
        "POST",
        &format!("/?storeId={store}&transport=http"),
        &[],
        "",
    );
    assert_eq!(
        (empty.status, &empty.json()[0]["_tag"]),
        (400, &json!("Defect"))
    );
    let answers = [
        (json!({"_tag": "Ping"}), json!([{"_tag": "Pong"}])),
        (json!({"_tag": "Interrupt", "requestId": "1"}), json!([])),
        (json!({"_tag": "Eof"}), json!([])),
    ];
    for (message, answer) in answers {
        assert_eq!(post_rpc(server, &store, message).json(), answer);
    }
}

fn i5_http_messages_for_another_store_are_refused(server: &Server) {
    let (store, other) = (new_store("http-mine"), new_store("http-other"));
    let messages = [
        ("SyncHttpRpc.Ping", json!({"storeId": other})),
        (
            "SyncHttpRpc.Pull",
            json!({"storeId": other, "cursor": option(None)}),
        ),
        (
            "SyncHttpRpc.Push",
            json!({"storeId": other, "batch": events(1, 1), "backendId": option(None)}),
        ),
    ];
    for (tag, payload) in messages {
        let response = post_rpc(server, &store, request("1", tag, payload));
        assert_eq!(
            failure_code(&response.json()[0]["exit"]),
            "STORE_MISMATCH",
            "{tag}"
        );
    }
    for store in [&store, &other] {
        assert_eq!(numbers(&pull(server, store, None)[0]), [0_u64; 0]);
    }
}

fn http_answers_carry_cors_headers(server: &Server) {
    let store = new_store("cors");
    let url = format!("/?storeId={store}&transport=http");
    let ping = request("1", "SyncHttpRpc.Ping", json!({"storeId": store})).to_string();
    for origin in ["http://localhost:5173", "https://app.example.com"] {
        let headers = [("origin", origin)];
        let response = http_request(server, "POST", &url, &headers, &ping);
        assert_eq!(response.status, 200, "{origin}");
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "content-type,x-livestore-store-id",
            ),
        ];
        let response = http_request(server, "OPTIONS", &url, &preflight, "");
        assert_eq!(response.status, 204);
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
        assert_eq!(
            response.header("access-control-allow-headers"),
            Some("content-type,x-livestore-store-id")
        );
    }
}
