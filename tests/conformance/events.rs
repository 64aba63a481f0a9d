//! Events: what is pushed comes back as it was, of whatever size.

use serde_json::{Value, json};
use syncline_tests::http::post_rpc;
use syncline_tests::rpc::{
    Client, batch, event, event_with, failure_code, new_store, numbers, option, request,
};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::socket::Received;
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![V4 Open:
        args_come_back_byte_for_byte,
        an_event_without_args_comes_back_without_args,
        keys_of_an_event_that_are_not_known_are_dropped,
        an_event_over_900_000_bytes_travels_alone,
        an_event_over_2_mb_is_refused_and_nothing_is_stored,
        names_and_ids_may_hold_any_text,
        names_and_ids_have_a_length,
    ]
}

/// Arguments that a re-encoding would change.
const ODD_ARGS: [&str; 6] = [
    r#"{ "b" : 1,"a":2 , "c":[ ] }"#,
    r#"{"n":1.0,"m":1e2,"big":12345678901234567890,"x":-0}"#,
    r#""caf\u00e9 \ud83d\ude00 \/ \u0041""#,
    r#"{"lone":"\ud800"}"#,
    "null",
    r#"{"a":1,"a":2}"#,
];

fn args_come_back_byte_for_byte(server: &Server) {
    let store = new_store("bytes");
    let mut subscriber = Client::open(server, &store);
    let live = subscriber.pull(true, None);
    subscriber.chunk(&live);
    let mut pusher = Client::open(server, &store);
    for (args, n) in ODD_ARGS.iter().zip(1_u64..) {
        let event = format!(
            r#"{{"name":"e","args":{args},"seqNum":{n},"parentSeqNum":{},"clientId":"c","sessionId":"s"}}"#,
            n - 1
        );
        pusher.socket.send(format!(
            r#"{{"_tag":"Request","id":"{}","tag":"SyncWsRpc.Push","payload":{{"storeId":"{store}","batch":[{event}],"backendId":{{"_tag":"None"}}}},"headers":[]}}"#,
            1_000 + n
        ));
        let exit = pusher.exit(&(1_000 + n).to_string());
        assert_eq!(exit["_tag"], "Success", "{args}: {exit}");
        let Received::Text(shown) = subscriber.socket.receive() else {
            panic!("a broadcast was due");
        };
        subscriber.ack(&live);
        assert!(
            shown.contains(&format!(r#""args":{args},"seqNum""#)),
            "{args}: {shown}"
        );
    }
    let pull = request(
        "1",
        "SyncHttpRpc.Pull",
        json!({"storeId": store, "cursor": option(None)}),
    );
    let body = post_rpc(server, &store, pull).body;
    for args in ODD_ARGS {
        assert!(
            body.contains(&format!(r#""args":{args},"seqNum""#)),
            "{args}: {body}"
        );
    }
}

fn an_event_without_args_comes_back_without_args(server: &Server) {
    let store = new_store("void");
    let mut client = Client::open(server, &store);
    let mut event = event(1);
    event.as_object_mut().unwrap().remove("args");
    client.push_ok(std::slice::from_ref(&event));
    let (chunks, _) = client.pull_all(None);
    assert_eq!(batch(&chunks[0])[0]["eventEncoded"], event);
}

fn keys_of_an_event_that_are_not_known_are_dropped(server: &Server) {
    let store = new_store("extra");
    let mut client = Client::open(server, &store);
    let mut extra = event(1);
    extra["more"] = json!(1);
    client.push_ok(&[extra]);
    let (chunks, _) = client.pull_all(None);
    assert_eq!(batch(&chunks[0])[0]["eventEncoded"], event(1));
}

fn sized(seq_num: u64, bytes: usize) -> Value {
    event_with(seq_num, json!("x".repeat(bytes)))
}

fn an_event_over_900_000_bytes_travels_alone(server: &Server) {
    let store = new_store("large");
    let mut subscriber = Client::open(server, &store);
    let live = subscriber.pull(true, None);
    subscriber.chunk(&live);
    let mut pusher = Client::open(server, &store);
    let batch = [
        sized(1, 10),
        sized(2, 1_900_000),
        sized(3, 950_000),
        sized(4, 10),
    ];
    pusher.push_ok(&batch);
    let shapes = |chunks: &[Value]| chunks.iter().map(numbers).collect::<Vec<_>>();
    let mut shown = Vec::new();
    while shown
        .last()
        .is_none_or(|chunk| !numbers(chunk).contains(&4))
    {
        shown.push(subscriber.chunk(&live));
    }
    assert_eq!(shapes(&shown), [vec![1], vec![2], vec![3], vec![4]]);
    let (stored, exit) = pusher.pull_all(None);
    assert_eq!(exit["_tag"], "Success");
    assert_eq!(shapes(&stored), [vec![1], vec![2], vec![3], vec![4]]);
}

fn an_event_over_2_mb_is_refused_and_nothing_is_stored(server: &Server) {
    let store = new_store("too-large");
    let mut client = Client::open(server, &store);
    for bytes in [2_000_001, 2_100_000, 5_000_000] {
        let exit = client.push(&[event(1), sized(2, bytes)]);
        assert_eq!(failure_code(&exit), "EVENT_TOO_LARGE");
    }
    let (chunks, _) = client.pull_all(None);
    assert_eq!(numbers(&chunks[0]), [0_u64; 0]);
    client.push_ok(&[event(1)]);
}

/// A name of 1.9 MB could not be read back from D1.
fn names_and_ids_have_a_length(server: &Server) {
    let store = new_store("long-names");
    let mut client = Client::open(server, &store);
    for (key, bytes_max) in [("name", 8_192), ("clientId", 1_024), ("sessionId", 1_024)] {
        for bytes in [bytes_max + 1, 1_900_000] {
            for text in ["x".repeat(bytes), format!("\n{}", "x".repeat(bytes - 1))] {
                let mut long = event(1);
                long[key] = json!(text);
                let exit = client.push(&[long]);
                assert_eq!(failure_code(&exit), "EVENT_TOO_LARGE", "{key} of {bytes}");
            }
        }
    }
    let mut longest = event(1);
    longest["name"] = json!("\n".repeat(8_192));
    longest["clientId"] = json!("c".repeat(1_024));
    longest["sessionId"] = json!("\u{1}".repeat(1_024));
    client.push_ok(&[longest.clone()]);
    let (chunks, _) = client.pull_all(None);
    assert_eq!(batch(&chunks[0])[0]["eventEncoded"], longest);
}

fn names_and_ids_may_hold_any_text(server: &Server) {
    let store = new_store("text");
    let mut client = Client::open(server, &store);
    let mut odd = event(1);
    odd["name"] = json!("v1.\"quoted\" \\ \u{1F600} \u{7f} '; DROP TABLE x; --");
    odd["clientId"] = json!("");
    odd["sessionId"] = json!("\t\n\u{0}");
    client.push_ok(&[odd.clone()]);
    let (chunks, _) = client.pull_all(None);
    assert_eq!(batch(&chunks[0])[0]["eventEncoded"], odd);
}
