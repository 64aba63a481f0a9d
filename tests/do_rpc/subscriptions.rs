//! Live pulls: the object is called with what is pushed later.

use serde_json::{Value, json};
use syncline_tests::rpc::{Client, cursor, event, event_with, events, failure_code, new_store};

use crate::objects::{Clients, Object};
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        i3_a_live_pull_is_called_with_each_later_event_once,
        a_call_has_the_form_of_a_chunk,
        a_call_names_its_store,
        an_object_of_next_is_called_with_bytes_and_one_of_0_4_with_a_message,
        a_subscriber_that_pushes_is_called_too,
        i3_a_live_pull_with_a_cursor_begins_there,
        i3_a_large_push_comes_in_several_calls,
        i3_a_second_live_pull_takes_the_place_of_the_first,
        a_pull_that_is_not_live_leaves_the_subscription,
        several_subscribers_are_called,
        thirty_subscribers_are_called,
        pushes_over_a_socket_are_shown_to_subscribers,
        pushes_by_objects_are_shown_to_sockets,
        i3_concurrent_pushes_reach_a_subscriber_in_their_order,
        a_binding_that_may_not_subscribe_is_forbidden,
        a_binding_that_is_none_is_refused,
        an_object_id_that_is_none_is_refused,
        i8_a_live_pull_of_another_backend_id_leaves_the_subscription,
        i5_a_live_pull_of_another_store_subscribes_nobody,
        i3_a_call_that_fails_is_made_again,
        a_subscriber_that_keeps_failing_is_let_go_until_it_pulls_again,
        i9_a_call_that_hangs_holds_up_nobody_else,
        i3_a_slow_subscriber_gets_everything_later,
        i7_a_subscriber_far_behind_gets_everything_later,
        i3_a_live_pull_begins_anew_though_a_call_hangs,
    ]
}

fn pair<'a>(clients: &'a Clients, store: &'a str) -> (Object<'a>, Object<'a>) {
    (clients.object("r", store), clients.object("w", store))
}

fn push_each(writer: &Object<'_>, first: u64, last: u64) {
    for seq_num in first..=last {
        writer.push_ok(&[event(seq_num)]);
    }
}

fn to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

fn i3_a_live_pull_is_called_with_each_later_event_once(clients: &Clients) {
    let store = new_store("live");
    let (reader, writer) = pair(clients, &store);
    reader.subscribe(None).ok();
    push_each(&writer, 1, 10);
    reader.called_until(10);
    // One more, so that a call too many would have come.
    push_each(&writer, 11, 11);
    assert_eq!(reader.called_until(11), to(11));
}

fn a_call_has_the_form_of_a_chunk(clients: &Clients) {
    let store = new_store("form");
    let (reader, writer) = pair(clients, &store);
    let pulled = reader.subscribe(None).ok();
    writer.push_ok(&events(1, 2));
    reader.called_until(2);
    let [call] = reader.updates().try_into().expect("one call");
    let call: Value = call;
    let created_at = &call["values"][0]["batch"][0]["metadata"]["value"]["createdAt"];
    assert!(created_at.is_string(), "{call}");
    let item = |seq_num: u64| {
        let metadata = json!({"_tag": "SyncMessage.SyncMetadata", "createdAt": created_at});
        let metadata = syncline_tests::rpc::option(Some(metadata));
        json!({"eventEncoded": event(seq_num), "metadata": metadata})
    };
    let due = json!({
        "_tag": "Chunk",
        "requestId": pulled.id,
        "values": [{
            "batch": [item(1), item(2)],
            "pageInfo": {"_tag": "NoMore"},
            "backendId": pulled.backend_id,
        }],
    });
    assert_eq!(call, due);
}

/// Transcripts next/do-rpc-02 and do-rpc-02.
fn an_object_of_next_is_called_with_bytes_and_one_of_0_4_with_a_message(clients: &Clients) {
    let store = new_store("next");
    let (next, older) = (clients.object("n", &store), clients.object("o", &store));
    let payload = json!({
        "storeId": store,
        "payload": null,
        "cursor": {"_tag": "None"},
        "rpcContext": {"callerContext": next.context()},
    });
    let pull = json!({"_tag": "Request", "id": 7, "tag": "SyncDoRpc.Pull", "payload": payload, "headers": []});
    let answer = next.send(&[pull]);
    let [chunk, exit] = answer.messages.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!(chunk["requestId"], 7);
    assert_eq!(chunk["values"][0]["rpcRequestId"], "7");
    let ended = json!({"_tag": "Exit", "requestId": 7, "exit": {"_tag": "Success", "value": null}});
    assert_eq!(*exit, ended);
    older.subscribe(None).ok();
    push_each(&older, 1, 2);
    for object in [next, older] {
        assert_eq!(object.called_until(2), [1, 2]);
    }
    assert_eq!(next.were_packed(), [true, true]);
    assert_eq!(older.were_packed(), [false, false]);
    for (object, id) in [(next, Some("7")), (older, None)] {
        for update in object.updates() {
            assert!(update["requestId"].is_string(), "{update}");
            assert!(id.is_none_or(|id| update["requestId"] == id), "{update}");
        }
    }
}

/// As LiveStore's clients after 0.4.0 take it, for which one object may have
/// several stores.
fn a_call_names_its_store(clients: &Clients) {
    let store = new_store("told");
    let (reader, writer) = pair(clients, &store);
    reader.subscribe(None).ok();
    push_each(&writer, 1, 3);
    reader.called_until(3);
    assert_eq!(reader.stores_told(), [&*store; 3]);
}

fn a_subscriber_that_pushes_is_called_too(clients: &Clients) {
    let store = new_store("own");
    let reader = clients.object("r", &store);
    reader.subscribe(None).ok();
    push_each(&reader, 1, 3);
    assert_eq!(reader.called_until(3), to(3));
}

fn i3_a_live_pull_with_a_cursor_begins_there(clients: &Clients) {
    let store = new_store("cursor");
    let (reader, writer) = pair(clients, &store);
    push_each(&writer, 1, 5);
    let pulled = reader.subscribe_after(3).ok();
    assert_eq!(pulled.numbers(), [4, 5]);
    push_each(&writer, 6, 7);
    assert_eq!(reader.called_until(7), [6, 7]);
}

fn i3_a_large_push_comes_in_several_calls(clients: &Clients) {
    let store = new_store("large");
    let (reader, writer) = pair(clients, &store);
    reader.subscribe(None).ok();
    writer.push_ok(&events(1, 250));
    assert_eq!(reader.called_until(250), to(250));
    assert!(reader.updates().len() >= 3, "at most 100 events a call");
}

fn i3_a_second_live_pull_takes_the_place_of_the_first(clients: &Clients) {
    let store = new_store("second");
    let (reader, writer) = pair(clients, &store);
    let first = reader.subscribe(None).ok();
    push_each(&writer, 1, 2);
    reader.called_until(2);
    let second = reader.subscribe(Some(cursor(&first.backend_id, 2))).ok();
    push_each(&writer, 3, 4);
    assert_eq!(reader.called_until(4), to(4));
    let ids: Vec<_> = reader
        .updates()
        .iter()
        .map(|it| it["requestId"].clone())
        .collect();
    assert_eq!(ids, [&*first.id, &*first.id, &*second.id, &*second.id]);
}

fn a_pull_that_is_not_live_leaves_the_subscription(clients: &Clients) {
    let store = new_store("once");
    let (reader, writer) = pair(clients, &store);
    let live = reader.subscribe(None).ok();
    reader.pull(None).ok();
    push_each(&writer, 1, 1);
    reader.called_until(1);
    assert_eq!(reader.updates()[0]["requestId"], live.id);
}

fn several_subscribers_are_called(clients: &Clients) {
    let store = new_store("several");
    let (reader, writer) = pair(clients, &store);
    let other = reader.beside("s");
    reader.subscribe(None).ok();
    other.subscribe(None).ok();
    push_each(&writer, 1, 5);
    assert_eq!(reader.called_until(5), to(5));
    assert_eq!(other.called_until(5), to(5));
}

fn thirty_subscribers_are_called(clients: &Clients) {
    let store = new_store("thirty");
    let names: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
    for name in &names {
        clients.object(name, &store).subscribe(None).ok();
    }
    let writer = clients.object("w", &store);
    push_each(&writer, 1, 3);
    for name in &names {
        assert_eq!(clients.object(name, &store).called_until(3), to(3));
    }
}

fn pushes_over_a_socket_are_shown_to_subscribers(clients: &Clients) {
    let store = new_store("socket");
    let reader = clients.object("r", &store);
    reader.subscribe(None).ok();
    let mut socket = Client::open(&clients.server, &store);
    socket.pull_all(None);
    socket.push_ok(&events(1, 3));
    assert_eq!(reader.called_until(3), to(3));
}

fn pushes_by_objects_are_shown_to_sockets(clients: &Clients) {
    let store = new_store("socket");
    let writer = clients.object("w", &store);
    let mut socket = Client::open(&clients.server, &store);
    let pull = socket.pull(true, None);
    socket.chunk(&pull);
    push_each(&writer, 1, 3);
    assert_eq!(socket.numbers_until(&pull, 3), to(3));
}

/// Pushes one event after another, whatever the others do.
fn push_among_others(writer: &Object<'_>, count: usize) {
    let mut next = 1;
    for _ in 0..count {
        loop {
            let exit = writer.push(&[event(next)]);
            if exit["_tag"] == "Success" {
                next += 1;
                break;
            }
            let error = syncline_tests::rpc::failure(&exit);
            next = error["minimumExpectedNum"].as_u64().expect("the head") + 1;
        }
    }
}

fn i3_concurrent_pushes_reach_a_subscriber_in_their_order(clients: &Clients) {
    let store = new_store("concurrent");
    let reader = clients.object("r", &store);
    let other = reader.beside("s");
    reader.subscribe(None).ok();
    std::thread::scope(|scope| {
        for name in ["w1", "w2", "w3"] {
            let writer = reader.beside(name);
            scope.spawn(move || push_among_others(&writer, 15));
        }
        // In the midst of it.
        let pulled = other.subscribe(None).ok();
        let mut seen = pulled.numbers();
        seen.extend(other.called_until(45));
        assert_eq!(seen, to(45));
    });
    assert_eq!(reader.called_until(45), to(45));
}

fn a_binding_that_may_not_subscribe_is_forbidden(clients: &Clients) {
    let store = new_store("forbidden");
    let (reader, writer) = pair(clients, &store);
    let mut context = reader.context();
    for binding in ["OTHER", "WEBSOCKET_SERVER", "DB", ""] {
        context["bindingName"] = json!(binding);
        let pulled = reader.subscribe_as(None, &context);
        assert_eq!(failure_code(&pulled.exit), "FORBIDDEN", "{binding}");
        assert_eq!(pulled.chunks.len(), 0, "nothing is shown");
    }
    push_each(&writer, 1, 1);
    reader.pull(None).ok();
    assert_eq!(reader.called_with(), [0; 0]);
}

fn a_binding_that_is_none_is_refused(clients: &Clients) {
    let store = new_store("unbound");
    let reader = clients.object("r", &store);
    let mut context = reader.context();
    // Both are in DO_RPC_CLIENTS: an operator's mistake.
    for binding in ["UNBOUND", "WORKSPACE_CLAIMS_VERSION"] {
        context["bindingName"] = json!(binding);
        let pulled = reader.subscribe_as(None, &context);
        assert_eq!(failure_code(&pulled.exit), "INVALID_REQUEST", "{binding}");
    }
    reader.push_ok(&[event(1)]);
}

fn an_object_id_that_is_none_is_refused(clients: &Clients) {
    let store = new_store("nobody");
    let (reader, writer) = pair(clients, &store);
    let context = reader.context();
    let longer = format!("{}00", context["durableObjectId"].as_str().unwrap());
    let strange = format!("{:064x}", 7);
    for id in ["x", "", &longer, &strange] {
        let context = json!({"bindingName": "CLIENT", "durableObjectId": id});
        let pulled = reader.subscribe_as(None, &context);
        assert_eq!(failure_code(&pulled.exit), "INVALID_REQUEST", "{id}");
    }
    reader.subscribe(None).ok();
    push_each(&writer, 1, 1);
    assert_eq!(reader.called_until(1), [1]);
}

fn i8_a_live_pull_of_another_backend_id_leaves_the_subscription(clients: &Clients) {
    let store = new_store("backend");
    let (reader, writer) = pair(clients, &store);
    reader.subscribe(None).ok();
    let pulled = reader.subscribe(Some(cursor("wrong", 0)));
    assert_eq!(
        syncline_tests::rpc::failure(&pulled.exit)["_tag"],
        "BackendIdMismatchError"
    );
    push_each(&writer, 1, 1);
    assert_eq!(reader.called_until(1), [1]);
}

fn i5_a_live_pull_of_another_store_subscribes_nobody(clients: &Clients) {
    let (own, other) = (new_store("own"), new_store("other"));
    let reader = clients.object("r", &own);
    let payload = json!({
        "storeId": other,
        "cursor": {"_tag": "None"},
        "rpcContext": {"callerContext": reader.context()},
    });
    let (answer, id) = reader.ask("SyncDoRpc.Pull", payload);
    assert_eq!(failure_code(&answer.exit(&id)), "STORE_MISMATCH");
    // In order: what either push would have called it with would come first.
    push_each(&clients.object("w", &other), 1, 1);
    push_each(&clients.object("w", &own), 1, 1);
    reader.subscribe_after(1).ok();
    push_each(&clients.object("w", &own), 2, 2);
    assert_eq!(reader.called_until(2), [2]);
}

fn i3_a_call_that_fails_is_made_again(clients: &Clients) {
    let store = new_store("again");
    let (reader, writer) = pair(clients, &store);
    reader.subscribe(None).ok();
    push_each(&writer, 1, 1);
    reader.called_until(1);
    // Its memory goes while it is being called.
    reader.when_called("hang");
    push_each(&writer, 2, 3);
    reader.called_until(2);
    reader.evict();
    assert_eq!(reader.called_until(3), [1, 2, 2, 3]);
}

fn a_subscriber_that_keeps_failing_is_let_go_until_it_pulls_again(clients: &Clients) {
    let store = new_store("failing");
    let (reader, writer) = pair(clients, &store);
    let pulled = reader.subscribe(None).ok();
    push_each(&writer, 1, 1);
    reader.called_until(1);
    reader.when_called("throw");
    push_each(&writer, 2, 2);
    reader.called_times(5);
    reader.when_called("ok");
    push_each(&writer, 3, 4);
    let again = reader.subscribe(Some(cursor(&pulled.backend_id, 1))).ok();
    assert_eq!(again.numbers(), [2, 3, 4]);
    push_each(&writer, 5, 5);
    // Calls come in order: none was made of 3 or 4.
    assert_eq!(reader.called_until(5), [1, 2, 2, 2, 2, 5]);
}

fn i9_a_call_that_hangs_holds_up_nobody_else(clients: &Clients) {
    let store = new_store("hanging");
    let (reader, writer) = pair(clients, &store);
    let other = reader.beside("s");
    reader.subscribe(None).ok();
    other.subscribe(None).ok();
    reader.when_called("hang");
    push_each(&writer, 1, 5);
    assert_eq!(other.called_until(5), to(5));
    assert_eq!(writer.pull(None).ok().events(), events(1, 5));
    assert_eq!(reader.called_until(1), [1], "one call at a time");
}

fn i3_a_slow_subscriber_gets_everything_later(clients: &Clients) {
    let store = new_store("slow");
    let (reader, writer) = pair(clients, &store);
    reader.subscribe(None).ok();
    reader.when_called("hang");
    push_each(&writer, 1, 20);
    assert_eq!(reader.called_until(1), [1]);
    reader.when_called("ok");
    assert_eq!(reader.called_until(20), to(20));
    push_each(&writer, 21, 21);
    assert_eq!(reader.called_until(21), to(21));
}

fn i7_a_subscriber_far_behind_gets_everything_later(clients: &Clients) {
    let store = new_store("behind");
    let (reader, writer) = pair(clients, &store);
    reader.subscribe(None).ok();
    reader.when_called("hang");
    let title = "x".repeat(300_000);
    for seq_num in 1..=20 {
        writer.push_ok(&[event_with(seq_num, json!({"title": title}))]);
    }
    reader.called_times(1);
    reader.when_called("ok");
    assert_eq!(reader.called_until(20), to(20));
    push_each(&writer, 21, 21);
    assert_eq!(reader.called_until(21), to(21));
}

fn i3_a_live_pull_begins_anew_though_a_call_hangs(clients: &Clients) {
    let store = new_store("anew");
    let (reader, writer) = pair(clients, &store);
    let pulled = reader.subscribe(None).ok();
    reader.when_called("hang");
    push_each(&writer, 1, 2);
    reader.called_until(1);
    // The call of 1 is never answered.
    let again = reader.subscribe(Some(cursor(&pulled.backend_id, 0))).ok();
    assert_eq!(again.numbers(), [1, 2]);
    push_each(&writer, 3, 3);
    assert_eq!(reader.called_until(3), [1, 3]);
    assert_eq!(reader.updates()[1]["requestId"], again.id);
}
