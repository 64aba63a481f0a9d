//! From the original server, 0.3.1, to Syncline and back. Its logs are in D1,
//! its objects know a head and no backend id.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_tests::rpc::{Client, batch, event, events, failure_code, v3_url};
use syncline_tests::server::Server;
use syncline_tests::socket::Socket;
use syncline_tests::workerd::Storage;

use crate::deployment::{Deployment, Program};
use crate::log::{Log, assert_head, many_shapes, push};

const STORE: &str = "an-old-app";

/// How long the original may take to store what it has acknowledged.
const STORED_TIMEOUT: Duration = Duration::from_secs(60);

const SYNCLINE: Program = Program::Syncline(Storage::D1);

/// Pulls all, by 0.3: events with their metadata.
fn pull_v3(socket: &mut Socket) -> Vec<Value> {
    socket.send(json!({"_tag": "WSMessage.PullReq", "requestId": "pull"}));
    let mut items = Vec::new();
    loop {
        let page = socket.receive_json();
        items.extend(batch(&page).clone());
        if page["remaining"] == 0 {
            return items;
        }
    }
}

/// Pushes by 0.3, after what the socket has pulled, and waits until all of
/// the log is stored: the original acknowledges first. Returns it.
fn push_v3(server: &Server, store: &str, pushed: &[Value]) -> Vec<Value> {
    let mut socket = Socket::open(server, &v3_url(store));
    pull_v3(&mut socket);
    socket.send(json!({"_tag": "WSMessage.PushReq", "requestId": "push", "batch": pushed}));
    let ack = json!({"_tag": "WSMessage.PushAck", "requestId": "push"});
    assert_eq!(socket.receive_json(), ack);
    assert_eq!(batch(&socket.receive_json()).len(), pushed.len());
    let last = pushed.last().map(|event| &event["seqNum"]);
    let deadline = Instant::now() + STORED_TIMEOUT;
    loop {
        let items = pull_v3(&mut socket);
        if items.last().map(|item| &item["eventEncoded"]["seqNum"]) == last {
            return items;
        }
        assert!(Instant::now() < deadline, "it was never stored");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sees that the next 0.3 push has to have `head` as its parent.
fn assert_head_v3(server: &Server, head: u64) {
    let mut socket = Socket::open(server, &v3_url(STORE));
    pull_v3(&mut socket);
    let stale = json!({"_tag": "WSMessage.PushReq", "requestId": "s", "batch": [event(head + 2)]});
    socket.send(stale);
    let answer = socket.receive_json();
    assert_eq!(answer["_tag"], "WSMessage.Error", "{answer}");
    let message = answer["message"].as_str().unwrap();
    let words = format!("Received e{} but expected e{head}", head + 1);
    assert!(message.contains(&words), "{message}");
}

fn events_of(items: &[Value]) -> Vec<Value> {
    let events = items.iter().map(|item| {
        let mut event = item["eventEncoded"].clone();
        if event["args"].is_null() {
            event.as_object_mut().unwrap().shift_remove("args");
        }
        event
    });
    events.collect()
}

#[test]
fn i8_a_0_3_deployment_becomes_synclines_and_goes_back() {
    let deployment = Deployment::new();
    let mut all = events(1, 130);
    all.extend(many_shapes(131));
    let then = deployment.run(Program::Original031, |server| {
        push_v3(server, STORE, &all[..40]);
        push_v3(server, STORE, &all[40..])
    });
    assert_eq!(events_of(&then), all);

    let log = deployment.run(SYNCLINE, |server| {
        // What 0.3 clients had, they get; 0.4 clients the same events.
        let now = pull_v3(&mut Socket::open(server, &v3_url(STORE)));
        assert_eq!(events_of(&now), all);
        for (now, then) in now.iter().zip(&then) {
            assert_eq!(now["metadata"], then["metadata"]);
        }
        let log = Log::pull(server, STORE);
        assert_eq!(log.events(), all);
        assert_head(server, STORE, all.len() as u64);
        log
    });
    let log = deployment.run(SYNCLINE, |server| {
        // The backend id was minted once.
        Log::pull(server, STORE).assert_continues(&log, &[]);
        assert_head_v3(server, log.head());
        push_v3(server, STORE, &events(139, 160));
        let longer = push(server, STORE, &events(161, 162));
        longer.assert_continues(&log, &events(139, 162));
        longer
    });
    all.extend(events(139, 162));
    deployment.run(Program::Original031, |server| {
        assert_head_v3(server, 162);
        all.extend(many_shapes(163));
        let items = push_v3(server, STORE, &many_shapes(163));
        assert_eq!(events_of(&items), all);
    });
    deployment.run(SYNCLINE, |server| {
        let now = Log::pull(server, STORE);
        now.assert_continues(&log, &many_shapes(163));
        assert_head_v3(server, 170);
        push(server, STORE, &events(171, 171)).assert_continues(&now, &events(171, 171));
    });
}

#[test]
fn what_0_3_acknowledged_and_lost_is_not_glossed_over() {
    let deployment = Deployment::new();
    deployment.run(Program::Original031, |server| {
        push_v3(server, STORE, &events(1, 4));
    });
    // As when D1 failed: 0.3.1 acknowledges before it stores.
    let delete = "DELETE FROM eventlog_7_an_old_app WHERE seqNum > 3";
    assert_eq!(deployment.d1().execute(delete, []), Ok(1));
    let before = deployment.tables(STORE);
    deployment.run(SYNCLINE, |server| {
        for batch in [events(4, 4), events(5, 5)] {
            let exit = Client::open(server, STORE).push(&batch);
            assert_eq!(failure_code(&exit), "STORAGE_UNAVAILABLE");
        }
        deployment.wait_for_log(&[STORE, "ends at 4", "ends at 3", "insert"]);
    });
    deployment.assert_untouched(STORE, &before);
    // As the log says.
    let insert =
        "INSERT INTO context_7 (storeId, currentHead, backendId) VALUES (?, 3, 'a-new-id')";
    let inserted = deployment.object(STORE).execute(insert, [STORE]);
    assert_eq!(inserted, Ok(1));
    deployment.run(SYNCLINE, |server| {
        assert_head_v3(server, 3);
        let log = push(server, STORE, &events(4, 5));
        assert_eq!(log.backend_id, "a-new-id");
        assert_eq!(log.events(), events(1, 5));
    });
    // And 0.3.1 could go on from there.
    deployment.run(Program::Original031, |server| assert_head_v3(server, 5));
}
