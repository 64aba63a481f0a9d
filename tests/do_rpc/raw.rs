//! Requests and answers, one call at a time.

use serde_json::{Value, json};
use syncline_tests::rpc::{
    cursor, event, event_with, events, failure, failure_code, new_store, option, request,
};

use crate::objects::{Clients, new_id};
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        a_ping_is_answered,
        a_pull_of_an_empty_log_is_an_empty_chunk_and_an_exit,
        a_pull_goes_on_from_its_cursor,
        a_pull_at_or_past_the_head_is_an_empty_chunk,
        a_cold_pull_of_250_events_has_each_once,
        a_cold_pull_of_2000_events_comes_in_pieces,
        a_pull_of_large_events_has_each_once,
        i8_a_pull_of_another_backend_id_is_a_mismatch,
        a_push_appends_one_event_or_a_batch,
        i2_a_push_that_is_no_chain_stores_nothing,
        an_empty_push_succeeds,
        i4_a_push_from_a_stale_parent_is_told_the_head,
        i4_of_two_pushes_at_once_one_lands,
        i8_a_push_to_another_backend_id_is_a_mismatch,
        absent_args_stay_absent,
        the_payload_of_a_request_is_not_looked_at,
        i5_a_pull_of_another_store_is_refused,
        i5_a_push_to_another_store_is_refused,
        i6_a_refused_call_stores_nothing,
        an_unknown_procedure_is_refused,
        a_procedure_of_another_transport_is_refused,
        several_requests_in_a_call_are_answered_in_order,
        a_pull_beside_other_requests_is_refused,
        i7_a_call_of_too_many_requests_is_refused,
        requests_in_lists_of_any_depth_that_clients_send_are_taken,
        i9_what_cannot_be_read_harms_only_its_call,
        i9_a_request_that_does_not_fit_its_schema_is_an_exit,
        i2_a_push_that_does_not_fit_its_schema_stores_nothing,
    ]
}

fn a_ping_is_answered(clients: &Clients) {
    let store = new_store("ping");
    let object = clients.object("r", &store);
    let (answer, id) = object.ask("SyncDoRpc.Ping", json!({ "storeId": store }));
    assert_eq!(answer.exit(&id)["_tag"], "Success");
}

fn a_pull_of_an_empty_log_is_an_empty_chunk_and_an_exit(clients: &Clients) {
    let store = new_store("empty");
    let pulled = clients.object("r", &store).pull(None).ok();
    let [chunk] = pulled.chunks.as_slice() else {
        panic!("one Chunk was due: {:?}", pulled.chunks);
    };
    assert_eq!(pulled.backend_id.len(), 21, "a backend id: {chunk}");
    let values = json!([{
        "rpcRequestId": pulled.id,
        "batch": [],
        "pageInfo": {"_tag": "NoMore"},
        "backendId": pulled.backend_id,
    }]);
    assert_eq!(chunk["values"], values);
}

fn a_pull_goes_on_from_its_cursor(clients: &Clients) {
    let store = new_store("cursor");
    let object = clients.object("r", &store);
    object.push_ok(&events(1, 5));
    let all = object.pull(None).ok();
    assert_eq!(all.events(), events(1, 5));
    for after in [0, 2, 4] {
        let pulled = object.pull(Some(cursor(&all.backend_id, after))).ok();
        let first = u64::try_from(after).unwrap() + 1;
        assert_eq!(pulled.events(), events(first, 5));
    }
}

fn a_pull_at_or_past_the_head_is_an_empty_chunk(clients: &Clients) {
    let store = new_store("head");
    let object = clients.object("r", &store);
    object.push_ok(&events(1, 3));
    let backend_id = object.backend_id();
    for after in [3, 9] {
        let pulled = object.pull(Some(cursor(&backend_id, after))).ok();
        assert_eq!(pulled.chunks.len(), 1, "a first Chunk always comes");
        assert_eq!(pulled.numbers(), [0; 0]);
    }
}

fn a_cold_pull_of_250_events_has_each_once(clients: &Clients) {
    let store = new_store("cold");
    let object = clients.object("r", &store);
    for first in (1..250).step_by(50) {
        object.push_ok(&events(first, first + 49));
    }
    let pulled = clients.object("s", &store).pull(None).ok();
    assert_eq!(pulled.events(), events(1, 250));
    let chunks = pulled.chunks.iter();
    let ids: Vec<_> = chunks.map(|it| &it["values"][0]["rpcRequestId"]).collect();
    assert!(ids.iter().all(|id| **id == pulled.id), "{ids:?}");
    let last = pulled.chunks.last().expect("a Chunk");
    assert_eq!(last["values"][0]["pageInfo"], json!({"_tag": "NoMore"}));
}

fn a_cold_pull_of_2000_events_comes_in_pieces(clients: &Clients) {
    let store = new_store("cold");
    let object = clients.object("r", &store);
    for first in (1..2000).step_by(100) {
        object.push_ok(&events(first, first + 99));
    }
    let pulled = clients.object("s", &store).pull(None).ok();
    assert_eq!(pulled.numbers(), (1..=2000).collect::<Vec<_>>());
    assert!(pulled.pieces > 1, "{} pieces", pulled.pieces);
    let remaining = |chunk: &Value| chunk["values"][0]["pageInfo"]["remaining"].as_u64();
    let told: Vec<u64> = pulled.chunks.iter().filter_map(remaining).collect();
    assert!(told.windows(2).all(|pair| pair[0] > pair[1]), "{told:?}");
}

fn a_pull_of_large_events_has_each_once(clients: &Clients) {
    let store = new_store("large");
    let object = clients.object("r", &store);
    let large = |seq_num: u64| {
        let title = "x".repeat(880_000);
        event_with(
            seq_num,
            json!({"id": format!("t{seq_num}"), "title": title}),
        )
    };
    for seq_num in 1..=4 {
        object.push_ok(&[large(seq_num)]);
    }
    let pulled = object.pull(None).ok();
    assert_eq!(pulled.numbers(), [1, 2, 3, 4]);
    assert!(pulled.events() == [large(1), large(2), large(3), large(4)]);
}

fn i8_a_pull_of_another_backend_id_is_a_mismatch(clients: &Clients) {
    let store = new_store("backend");
    let object = clients.object("r", &store);
    let backend_id = object.backend_id();
    let pulled = object.pull(Some(cursor("wrong", 0)));
    assert_eq!(pulled.chunks, [json!(null); 0]);
    assert_eq!(failure(&pulled.exit), mismatch(&backend_id));
    assert_eq!(object.backend_id(), backend_id);
}

fn mismatch(backend_id: &str) -> Value {
    json!({"expected": backend_id, "received": "wrong", "_tag": "BackendIdMismatchError"})
}

fn a_push_appends_one_event_or_a_batch(clients: &Clients) {
    let store = new_store("push");
    let object = clients.object("r", &store);
    let backend_id = object.backend_id();
    object.push_ok(&[event(1)]);
    let exit = object.push_to(&store, &events(2, 120), Some(&backend_id));
    assert_eq!(exit, json!({"_tag": "Success", "value": {}}));
    assert_eq!(object.pull(None).ok().events(), events(1, 120));
}

fn i2_a_push_that_is_no_chain_stores_nothing(clients: &Clients) {
    let store = new_store("chain");
    let object = clients.object("r", &store);
    let exit = object.push(&[event(1), event(3)]);
    assert_eq!(failure_code(&exit), "INVALID_EVENTS");
    assert_eq!(object.pull(None).ok().numbers(), [0; 0]);
}

fn an_empty_push_succeeds(clients: &Clients) {
    let store = new_store("nothing");
    let object = clients.object("r", &store);
    object.push_ok(&[]);
    let exit = object.push_to(&store, &[], Some("wrong"));
    assert_eq!(exit["_tag"], "Success");
    assert_eq!(object.pull(None).ok().numbers(), [0; 0]);
}

fn i4_a_push_from_a_stale_parent_is_told_the_head(clients: &Clients) {
    let store = new_store("stale");
    let object = clients.object("r", &store);
    object.push_ok(&events(1, 4));
    for (seq_num, parent) in [(4, 3), (1, 0), (9, 8)] {
        let ahead =
            json!({"minimumExpectedNum": 4, "providedNum": parent, "_tag": "ServerAheadError"});
        assert_eq!(failure(&object.push(&[event(seq_num)])), ahead);
    }
    assert_eq!(object.pull(None).ok().events(), events(1, 4));
}

fn i4_of_two_pushes_at_once_one_lands(clients: &Clients) {
    let store = new_store("once");
    let object = clients.object("r", &store);
    object.push_ok(&[event(1)]);
    let exits: Vec<Value> = std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| object.push(&[event(2)])))
            .collect();
        pushes.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let landed = exits.iter().filter(|exit| exit["_tag"] == "Success");
    assert_eq!(landed.count(), 1, "{exits:?}");
    assert_eq!(object.pull(None).ok().events(), events(1, 2));
}

fn i8_a_push_to_another_backend_id_is_a_mismatch(clients: &Clients) {
    let store = new_store("backend");
    let object = clients.object("r", &store);
    let backend_id = object.backend_id();
    let exit = object.push_to(&store, &[event(1)], Some("wrong"));
    assert_eq!(failure(&exit), mismatch(&backend_id));
    assert_eq!(object.pull(None).ok().numbers(), [0; 0]);
}

fn absent_args_stay_absent(clients: &Clients) {
    let store = new_store("args");
    let object = clients.object("r", &store);
    let mut bare = event(1);
    bare.as_object_mut().unwrap().shift_remove("args");
    let null = event_with(2, Value::Null);
    object.push_ok(&[bare.clone(), null.clone()]);
    assert_eq!(object.pull(None).ok().events(), [bare, null]);
}

fn the_payload_of_a_request_is_not_looked_at(clients: &Clients) {
    let store = new_store("payload");
    let object = clients.object("r", &store);
    object.push_ok(&[event(1)]);
    let payload = json!({"storeId": store, "cursor": option(None), "payload": {"authToken": "x"}});
    let (answer, _) = object.ask("SyncDoRpc.Pull", payload);
    assert_eq!(answer.messages.len(), 2, "{answer:?}");
}

fn i5_a_pull_of_another_store_is_refused(clients: &Clients) {
    let (own, other) = (new_store("own"), new_store("other"));
    clients.object("o", &other).push_ok(&events(1, 3));
    let object = clients.object("r", &own);
    for _ in 0..2 {
        let payload = json!({"storeId": other, "cursor": option(None)});
        let (answer, id) = object.ask("SyncDoRpc.Pull", payload);
        assert_eq!(failure_code(&answer.exit(&id)), "STORE_MISMATCH");
        // And again, when the object knows which store it is.
        object.push(&[event(1)]);
    }
    assert_eq!(object.pull(None).ok().events(), events(1, 1));
}

fn i5_a_push_to_another_store_is_refused(clients: &Clients) {
    let (own, other) = (new_store("own"), new_store("other"));
    let object = clients.object("r", &own);
    let exit = object.push_to(&other, &[event(1)], None);
    assert_eq!(failure_code(&exit), "STORE_MISMATCH");
    assert_eq!(object.pull(None).ok().numbers(), [0; 0]);
    let exit = object.push_to(&other, &[event(1)], None);
    assert_eq!(failure_code(&exit), "STORE_MISMATCH");
    let theirs = clients.object("o", &other);
    assert_eq!(theirs.pull(None).ok().numbers(), [0; 0]);
    assert_eq!(object.pull(None).ok().numbers(), [0; 0]);
}

fn i6_a_refused_call_stores_nothing(clients: &Clients) {
    let (own, other) = (new_store("own"), new_store("other"));
    let object = clients.object("r", &own);
    let exit = object.push_to(&other, &[event(1)], None);
    assert_eq!(failure_code(&exit), "STORE_MISMATCH");
    object.send(&[]);
    let state = clients.server.dir.as_ref().expect("a state").path();
    let tables = crate::survival::tables(state, &object.sync_id());
    assert_eq!(tables, [""; 0], "what the object's database holds");
}

fn an_unknown_procedure_is_refused(clients: &Clients) {
    let store = new_store("unknown");
    let object = clients.object("r", &store);
    let (answer, id) = object.ask("SyncDoRpc.Nope", json!({ "storeId": store }));
    assert_eq!(failure_code(&answer.exit(&id)), "UNKNOWN_RPC");
}

fn a_procedure_of_another_transport_is_refused(clients: &Clients) {
    let store = new_store("other");
    let object = clients.object("r", &store);
    for tag in ["SyncWsRpc.Pull", "SyncHttpRpc.Pull"] {
        let payload = json!({"storeId": store, "live": false, "cursor": option(None)});
        let (answer, id) = object.ask(tag, payload);
        assert_eq!(failure_code(&answer.exit(&id)), "UNKNOWN_RPC");
    }
}

fn ping(store: &str) -> Value {
    request(&new_id(), "SyncDoRpc.Ping", json!({ "storeId": store }))
}

fn push(store: &str, batch: &[Value]) -> Value {
    let payload = json!({"storeId": store, "batch": batch, "backendId": option(None)});
    request(&new_id(), "SyncDoRpc.Push", payload)
}

fn pull(store: &str) -> Value {
    let payload = json!({"storeId": store, "cursor": option(None)});
    request(&new_id(), "SyncDoRpc.Pull", payload)
}

fn several_requests_in_a_call_are_answered_in_order(clients: &Clients) {
    let store = new_store("several");
    let object = clients.object("r", &store);
    let requests = [
        push(&store, &[event(1)]),
        ping(&store),
        push(&store, &events(2, 3)),
        push(&store, &[event(9)]),
    ];
    let answer = object.send(&requests);
    let ids: Vec<_> = answer.messages.iter().map(|it| &it["requestId"]).collect();
    let asked: Vec<_> = requests.iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, asked, "{answer:?}");
    let outcomes: Vec<_> = answer
        .messages
        .iter()
        .map(|it| &it["exit"]["_tag"])
        .collect();
    assert_eq!(outcomes, ["Success", "Success", "Success", "Failure"]);
    assert_eq!(object.pull(None).ok().events(), events(1, 3));
}

fn a_pull_beside_other_requests_is_refused(clients: &Clients) {
    let store = new_store("beside");
    let object = clients.object("r", &store);
    let answer = object.send(&[push(&store, &[event(1)]), pull(&store)]);
    let [pushed, refused] = answer.messages.as_slice() else {
        panic!("two Exits were due: {answer:?}");
    };
    assert_eq!(pushed["exit"]["_tag"], "Success");
    assert_eq!(failure_code(&refused["exit"]), "INVALID_REQUEST");
}

fn i7_a_call_of_too_many_requests_is_refused(clients: &Clients) {
    let store = new_store("many");
    let object = clients.object("r", &store);
    let pings: Vec<_> = (0..100).map(|_| ping(&store)).collect();
    assert_eq!(object.send(&pings).messages.len(), 100);
    let pings: Vec<_> = (0..101).map(|_| ping(&store)).collect();
    let answer = object.send(&pings);
    assert!(
        answer
            .messages
            .iter()
            .all(|it| it["exit"]["_tag"] != "Success"),
        "{answer:?}"
    );
    object.push_ok(&[event(1)]);
}

fn requests_in_lists_of_any_depth_that_clients_send_are_taken(clients: &Clients) {
    let store = new_store("lists");
    let object = clients.object("r", &store);
    for send in [pull(&store), json!([pull(&store)]), json!([[pull(&store)]])] {
        let answer = object.raw(&json!({ "send": send }));
        let tags: Vec<_> = answer.messages.iter().map(|it| &it["_tag"]).collect();
        assert_eq!(tags, ["Chunk", "Exit"], "{answer:?}");
    }
}

fn i9_what_cannot_be_read_harms_only_its_call(clients: &Clients) {
    let store = new_store("junk");
    let object = clients.object("r", &store);
    object.push_ok(&[event(1)]);
    let text: String = pull(&store).to_string();
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    for body in [
        json!({"send": null}),
        json!({"send": "x"}),
        json!({"send": 7}),
        json!({"send": []}),
        json!({"send": [null]}),
        json!({"send": [[[pull(&store)]]]}),
        json!({"send": [pull(&store)], "records": false}),
        json!({"send": [{"_tag": "Interrupt", "requestId": "1"}]}),
        json!({"send": [{"_tag": "Ack", "requestId": "1"}]}),
        json!({"hex": ""}),
        json!({"hex": "91d47240"}),
        json!({"hex": "c1"}),
        // A number beyond JavaScript's, an ever deeper list, JSON.
        json!({"hex": "91cfffffffffffffffff"}),
        json!({"hex": "91".repeat(100_000)}),
        json!({ "hex": hex }),
    ] {
        // An answer or an error, but no Exit that somebody waits for.
        let answer = object.raw(&body);
        let exits = answer.messages.iter().filter(|it| it["_tag"] == "Exit");
        assert_eq!(exits.count(), 0, "{body:.100}: {answer:?}");
        object.push_ok(&[]);
    }
    assert_eq!(object.pull(None).ok().events(), events(1, 1));
}

fn i9_a_request_that_does_not_fit_its_schema_is_an_exit(clients: &Clients) {
    let store = new_store("schema");
    let object = clients.object("r", &store);
    for (tag, payload) in [
        ("SyncDoRpc.Pull", json!({ "storeId": store })),
        ("SyncDoRpc.Pull", json!({"storeId": store, "cursor": "5"})),
        ("SyncDoRpc.Pull", json!({"cursor": option(None)})),
        ("SyncDoRpc.Pull", json!(null)),
        (
            "SyncDoRpc.Push",
            json!({"storeId": store, "backendId": option(None)}),
        ),
        ("SyncDoRpc.Ping", json!({ "storeId": 7 })),
    ] {
        let (answer, id) = object.ask(tag, payload.clone());
        let code = failure_code(&answer.exit(&id));
        assert_eq!(code, "INVALID_REQUEST", "{tag} {payload}");
    }
    object.push_ok(&[event(1)]);
}

fn i2_a_push_that_does_not_fit_its_schema_stores_nothing(clients: &Clients) {
    let store = new_store("schema");
    let object = clients.object("r", &store);
    for (key, value) in [
        ("name", json!(null)),
        ("seqNum", json!("2")),
        ("seqNum", json!(2.5)),
        ("parentSeqNum", json!(-1)),
        ("clientId", json!(7)),
    ] {
        let mut odd = event(2);
        odd[key] = value;
        let exit = object.push(&[event(1), odd.clone()]);
        assert_eq!(failure_code(&exit), "INVALID_REQUEST", "{odd}");
    }
    assert_eq!(object.pull(None).ok().numbers(), [0; 0]);
}
