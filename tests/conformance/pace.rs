//! Clients that ask too often: refused in a way that they survive, then
//! disconnected (I7).

use serde_json::{Value, json};
use syncline_tests::rpc::{Client, ack, events, failure, new_store, v3_url, ws_url};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::socket::{Received, Socket};
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        V4 Paced:
            i7_a_client_that_asks_too_often_is_told_when_to_try_again,
            i7_a_live_pull_that_is_one_too_many_ends_by_a_close,
            i7_a_client_that_floods_is_disconnected,
            i7_messages_that_do_nothing_are_counted,
            i7_bytes_are_counted,
            acks_that_are_due_are_not_counted;
        V3 Paced:
            v3_i7_a_client_that_asks_too_often_is_disconnected,
    ]
}

/// More than are ever served, however slow the machine is.
const MANY: usize = 1_000;

/// Pushes nothing until that is refused: the error.
fn ask_until_refused(client: &mut Client) -> Value {
    for _ in 0..MANY {
        let exit = client.push(&[]);
        if exit["_tag"] == "Failure" {
            return failure(&exit);
        }
    }
    panic!("{MANY} requests were served");
}

fn i7_a_client_that_asks_too_often_is_told_when_to_try_again(server: &Server) {
    let store = new_store("paced");
    let mut client = Client::open(server, &store);
    let error = ask_until_refused(&mut client);
    assert_eq!(error["payload"]["code"], "TOO_MANY_REQUESTS");
    let wait = error["payload"]["retryAfterMs"].as_u64().expect("a hint");
    assert!((1..=1_000).contains(&wait), "{wait} ms");
    // Others are not held up.
    Client::open(server, &store).push_ok(&events(1, 1));
    std::thread::sleep(std::time::Duration::from_millis(wait));
    client.push_ok(&events(2, 2));
}

fn i7_a_live_pull_that_is_one_too_many_ends_by_a_close(server: &Server) {
    let mut client = Client::open(server, &new_store("paced-pull"));
    for _ in 0..MANY {
        // One after the other: each takes the place of the one before.
        client.socket.send(json!({
            "_tag": "Request", "id": "1", "tag": "SyncWsRpc.Pull",
            "payload": {"storeId": "another", "live": false, "cursor": {"_tag": "None"}},
            "headers": [],
        }));
        if failure(&client.exit("1"))["payload"]["code"] == "TOO_MANY_REQUESTS" {
            client.pull(true, None);
            assert_eq!(client.socket.receive_close(), closed());
            return;
        }
    }
    panic!("{MANY} requests were served");
}

fn closed() -> (u16, String) {
    (1013, "TOO_MANY_REQUESTS".to_owned())
}

fn i7_a_client_that_floods_is_disconnected(server: &Server) {
    let store = new_store("flood");
    let mut socket = Socket::open(server, &ws_url(&store));
    for id in 0..MANY {
        let push = syncline_tests::rpc::push(&id.to_string(), &store, &[]);
        if !socket.try_send(push.to_string()) {
            break;
        }
    }
    assert_eq!(end_of(&mut socket), closed());
    Client::open(server, &store).push_ok(&events(1, 1));
}

fn i7_messages_that_do_nothing_are_counted(server: &Server) {
    let interrupt = json!({"_tag": "Interrupt", "requestId": "77"}).to_string();
    for text in [
        ack("77").to_string(),
        interrupt,
        r#"{"_tag":"Eof"}"#.to_owned(),
        r#"{ "_tag" : "Ping" }"#.to_owned(),
    ] {
        let mut socket = Socket::open(server, &ws_url(&new_store("idle-talk")));
        for _ in 0..MANY {
            if !socket.try_send(text.clone()) {
                break;
            }
        }
        assert_eq!(end_of(&mut socket), closed(), "{text}");
    }
}

/// A few large messages are as many as a lot of small ones.
fn i7_bytes_are_counted(server: &Server) {
    let mut socket = Socket::open(server, &ws_url(&new_store("heavy-talk")));
    let text = format!(r#"{{"_tag":"Eof","padding":"{}"}}"#, "x".repeat(1 << 20));
    for _ in 0..8 {
        if !socket.try_send(text.clone()) {
            break;
        }
    }
    assert_eq!(end_of(&mut socket), closed());
}

/// Ten times as many as the client might ask.
fn acks_that_are_due_are_not_counted(server: &Server) {
    let store = new_store("acks");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    let mut pusher = Client::open(server, &store);
    let all = 5_000;
    pusher.push_ok(&events(1, all));
    assert_eq!(client.numbers_until(&live, all).len() as u64, all);
    client.push_ok(&events(all + 1, all + 1));
    assert_eq!(client.numbers_until(&live, all + 1), [all + 1]);
}

fn v3_i7_a_client_that_asks_too_often_is_disconnected(server: &Server) {
    let mut socket = Socket::open(server, &v3_url(&new_store("paced-v3")));
    for id in 0..MANY {
        let pull = json!({"_tag": "WSMessage.PullReq", "requestId": id.to_string()});
        if !socket.try_send(pull.to_string()) {
            break;
        }
    }
    assert_eq!(end_of(&mut socket), closed());
}

/// How a socket is closed, after whatever it gets before.
fn end_of(socket: &mut Socket) -> (u16, String) {
    loop {
        if let Received::Closed(code, reason) = socket.receive() {
            return (code, reason);
        }
    }
}
