//! What is decided before any object is touched (I6), seen on the disk.

use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::rpc::{events, new_store, request};
use syncline_tests::socket::{Received, Socket};

use crate::Scenario;
use crate::peer::Peer;
use crate::rooms::Rooms;
use crate::token;

pub fn scenarios() -> Vec<Scenario> {
    crate::scenarios![
        i6_a_refused_request_makes_no_object,
        i6_a_forged_admission_does_not_admit,
        i5_a_forged_admission_leads_to_no_other_store,
        the_guest_sees_the_variables_that_it_reads_and_no_other,
    ]
}

/// How the Worker tells a room of an admission.
const HEADER: &str = "x-syncline-admission";

fn push_request(store: &str) -> Value {
    let payload = json!({"storeId": store, "batch": events(1, 1), "backendId": {"_tag": "None"}});
    request("1", "SyncHttpRpc.Push", payload)
}

fn post(rooms: &Rooms, url: &str, headers: &[(&str, &str)], body: &Value) -> http::Response {
    http::request(&rooms.server, "POST", url, headers, &body.to_string())
}

/// An admission to a store as the gateway makes it, in its header's form.
fn admission(store: &str, entry: &str, speech: &str) -> String {
    let admission = json!({
        "storeId": store,
        "entry": entry,
        "speech": speech,
        "principal": "",
        "responseHeaders": [],
    });
    let text = admission.to_string();
    percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn i6_a_refused_request_makes_no_object(rooms: &Rooms) {
    let store = new_store("refused");
    let hour = token::now() + 3_600;
    let bad = [
        (None, "TOKEN_MISSING"),
        (Some("no token".to_owned()), "TOKEN_INVALID"),
        (
            Some(token::signed(
                &store,
                hour,
                "another-secret-of-more-than-32-bytes",
            )),
            "TOKEN_INVALID",
        ),
        (
            Some(token::until(&store, token::now() - 5)),
            "GRACE_PERIOD_EXPIRED",
        ),
        (Some(token::good("another")), "FORBIDDEN"),
    ];
    for (token, code) in &bad {
        let close = if *code == "FORBIDDEN" { 4403 } else { 4401 };
        for transport in ["ws", "0.3"] {
            let url = token::url(&store, transport, token.as_deref());
            let refused = Received::Closed(close, (*code).to_owned());
            assert_eq!(Socket::open(&rooms.server, &url).receive(), refused);
        }
        let url = token::url(&store, "http", token.as_deref());
        let answer = post(rooms, &url, &[], &push_request(&store));
        assert_eq!(answer.status, close - 4_000, "{answer:?}");
        let payload = &answer.json()[0]["exit"]["cause"]["error"]["payload"];
        assert_eq!(payload["code"], *code);
    }
    assert!(
        !rooms.has_object(&store),
        "a refused request made an object"
    );
    // The one that is admitted does: so this sees objects.
    Peer::v4(rooms, &store).push_ok(1, 1);
    assert!(rooms.has_object(&store));
}

fn i6_a_forged_admission_does_not_admit(rooms: &Rooms) {
    let store = new_store("forged");
    for (transport, named) in [("ws", "socket"), ("0.3", "socket 0.3")] {
        let forged = admission(&store, "socket", named);
        let url = token::url(&store, transport, None);
        let headers = [(HEADER, forged.as_str())];
        let mut socket = Socket::try_open(&rooms.server, &url, &headers).expect("an upgrade");
        let refused = Received::Closed(4401, "TOKEN_MISSING".to_owned());
        assert_eq!(socket.receive(), refused);
    }
    let forged = admission(&store, "exchange", "http");
    let headers = [(HEADER, forged.as_str()), ("host", "room.invalid")];
    for headers in [&headers[..1], &headers] {
        for url in [token::url(&store, "http", None), "/".to_owned()] {
            let answer = post(rooms, &url, headers, &push_request(&store));
            assert!([400, 401].contains(&answer.status), "{answer:?}");
        }
    }
    assert!(!rooms.has_object(&store));
}

fn i5_a_forged_admission_leads_to_no_other_store(rooms: &Rooms) {
    let (mine, theirs) = (new_store("mine"), new_store("theirs"));
    let token = token::good(&mine);
    let forged = admission(&theirs, "exchange", "http");
    let headers = [(HEADER, forged.as_str())];
    let url = token::url(&mine, "http", Some(&token));
    let answer = post(rooms, &url, &headers, &push_request(&mine));
    assert_eq!(answer.json()[0]["exit"]["_tag"], "Success", "{answer:?}");
    let answer = post(rooms, &url, &headers, &push_request(&theirs));
    let payload = answer.json()[0]["exit"]["cause"]["error"]["payload"].clone();
    assert_eq!(payload["code"], "STORE_MISMATCH", "{answer:?}");
    let forged = admission(&theirs, "socket", "socket");
    let url = token::url(&mine, "ws", Some(&token));
    let headers = [(HEADER, forged.as_str())];
    let mut socket = Socket::try_open(&rooms.server, &url, &headers).expect("an upgrade");
    socket.send(syncline_tests::rpc::push("2", &theirs, &events(1, 1)));
    let answer = socket.receive_json();
    let payload = &answer["exit"]["cause"]["error"]["payload"];
    assert_eq!(payload["code"], "STORE_MISMATCH", "{answer}");
    Peer::live_v4(rooms, &mine, 1).has_all_to(1);
    assert!(!rooms.has_object(&theirs));
}

fn the_guest_sees_the_variables_that_it_reads_and_no_other(rooms: &Rooms) {
    let store = new_store("variables");
    assert_eq!(rooms.post(&store, &push_request(&store)).status, 200);
    let url = format!("/__probe/variables?storeId={store}");
    let seen = http::get(&rooms.server, &url).json();
    for place in ["gateway", "room"] {
        let names: Vec<_> = seen[place].as_array().unwrap().iter().collect();
        assert!(names.contains(&&json!("JWT_SECRET")), "{place}: {seen}");
        // The operator's own, and the shim's.
        for other in ["CLOUD_SECRET_KEY", "STORAGE"] {
            assert!(!names.contains(&&json!(other)), "{place}: {seen}");
        }
    }
}
