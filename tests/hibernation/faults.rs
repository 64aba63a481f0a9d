//! What fails below a room: the guest traps, storage refuses, D1's answer is
//! lost. `tests/node/probe/faults.ts` makes it happen, once.

use serde_json::{Value, json};
use syncline_tests::http::Response;
use syncline_tests::rpc::{events, failure, failure_code, new_store, request};
use syncline_tests::workerd::Storage;

use crate::Scenario;
use crate::peer::Peer;
use crate::rooms::Rooms;

pub fn scenarios() -> Vec<Scenario> {
    crate::scenarios![
        i9_i1_a_trap_in_the_append_closes_its_store_alone_and_shows_nothing,
        i9_i1_a_trap_after_the_append_closes_its_store_alone_and_shows_nothing,
        i9_what_waits_behind_a_trap_is_passed_over,
        i9_a_trap_at_a_push_over_http_is_503_in_the_form_of_the_client,
        i9_a_trap_of_a_0_3_push_is_no_answer_and_can_be_tried_again,
        i2_a_refused_insert_stores_nothing_and_the_retry_lands,
        i2_a_refused_second_statement_undoes_the_first,
        i2_a_full_disk_is_storage_full,
        i2_a_refused_insert_over_http_is_an_error_of_the_schema,
        i2_a_refused_insert_of_a_0_3_push_is_an_error,
        i9_a_log_that_cannot_be_opened_refuses_a_push_and_opens_later,
        i9_a_live_pull_that_cannot_be_read_is_closed_alone,
        i9_a_pull_that_cannot_be_read_fails_alone,
    ]
}

pub fn d1_scenarios() -> Vec<Scenario> {
    crate::scenarios![
        i1_a_push_whose_answer_d1_loses_is_acknowledged_once_and_stored_once,
        i9_a_push_of_which_nothing_is_known_is_not_acknowledged,
    ]
}

/// A store with three events, a live 0.4 and a 0.3 subscriber.
struct Store<'a> {
    rooms: &'a Rooms,
    name: String,
    pusher: Peer,
    v4: Peer,
    v3: Peer,
}

impl<'a> Store<'a> {
    fn new(rooms: &'a Rooms, name: &str) -> Self {
        let name = new_store(name);
        let mut pusher = Peer::live_v4(rooms, &name, 0);
        pusher.push_ok(1, 3);
        pusher.has_all_to(3);
        Self {
            rooms,
            v4: Peer::live_v4(rooms, &name, 3),
            v3: Peer::live_v3(rooms, &name, 3),
            name,
            pusher,
        }
    }

    fn arm(&self, kind: &str) {
        self.rooms.arm_kind(&self.name, kind);
    }

    /// The room's fault: every socket is closed, and was shown nothing else.
    fn is_closed(&mut self) {
        for peer in [&mut self.pusher, &mut self.v4, &mut self.v3] {
            peer.is_closed_with(1011, "INTERNAL");
        }
    }

    /// Everybody was shown the log once, to `last`, and is live: the next
    /// push lands.
    fn goes_on(&mut self, last: u64) {
        self.pusher.push_ok(last + 1, last + 1);
        for peer in [&mut self.pusher, &mut self.v4, &mut self.v3] {
            peer.has_all_to(last + 1);
        }
    }

    /// After a fault of the room: clients that come again go on from where
    /// they were, and the log ends at `last`, in the same incarnation.
    fn is_rebuilt(&mut self, last: u64) {
        let mut v4 = Peer::v4(self.rooms, &self.name);
        v4.pull_from(&self.v4.backend_id, 3);
        self.v4.seen.truncate(3);
        v4.seen.clone_from(&self.v4.seen);
        let backend_id = std::mem::replace(&mut self.v4, v4).backend_id;
        self.pusher = Peer::live_v4(self.rooms, &self.name, last);
        assert_eq!(self.pusher.backend_id, backend_id, "I8");
        self.v3 = Peer::live_v3(self.rooms, &self.name, last);
        for peer in [&mut self.pusher, &mut self.v4, &mut self.v3] {
            peer.has_all_to(last);
        }
        // I4: the head is where the log ends.
        let behind = failure(&self.pusher.push(last, last));
        let ahead = json!({"minimumExpectedNum": last, "providedNum": last - 1, "_tag": "ServerAheadError"});
        assert_eq!(behind, ahead);
        self.goes_on(last);
    }

    fn post_push(&self, first: u64, last: u64) -> Response {
        let batch = json!(events(first, last));
        let payload = json!({"storeId": self.name, "batch": batch, "backendId": {"_tag": "None"}});
        self.rooms
            .post(&self.name, &request("7", "SyncHttpRpc.Push", payload))
    }
}

/// Where the log ends after a turn that appended 4 and 5 has trapped. D1 has
/// stored them, what the object itself stored is undone.
fn head_after_a_trap(rooms: &Rooms) -> u64 {
    match rooms.storage {
        Storage::ObjectSqlite => 3,
        Storage::D1 => 5,
    }
}

fn trap_closes_its_store_alone(rooms: &Rooms, kind: &str) {
    let mut store = Store::new(rooms, kind);
    let mut other = Store::new(rooms, "bystander");
    store.arm(kind);
    store.pusher.send_push(4, 5);
    store.is_closed();
    other.goes_on(3);
    store.is_rebuilt(head_after_a_trap(rooms));
    other.goes_on(4);
}

fn i9_i1_a_trap_in_the_append_closes_its_store_alone_and_shows_nothing(rooms: &Rooms) {
    trap_closes_its_store_alone(rooms, "trap-in-append");
}

fn i9_i1_a_trap_after_the_append_closes_its_store_alone_and_shows_nothing(rooms: &Rooms) {
    trap_closes_its_store_alone(rooms, "trap-after-append");
}

fn i9_what_waits_behind_a_trap_is_passed_over(rooms: &Rooms) {
    let mut store = Store::new(rooms, "trap-queue");
    store.arm("trap-after-append");
    store.pusher.send_push(4, 5);
    // These arrive on a socket that the fault closes: their room is another.
    store.pusher.send_push(6, 6);
    store.pusher.send_push(4, 4);
    store.is_closed();
    store.is_rebuilt(head_after_a_trap(rooms));
}

fn i9_a_trap_at_a_push_over_http_is_503_in_the_form_of_the_client(rooms: &Rooms) {
    for kind in ["trap-in-append", "trap-after-append"] {
        let mut store = Store::new(rooms, "trap-http");
        store.arm(kind);
        let answer = store.post_push(4, 5);
        assert_eq!(answer.status, 503, "{answer:?}");
        let payload = http_error(&answer);
        assert_eq!(payload["code"], "UNAVAILABLE");
        assert_eq!(payload["retryAfterMs"], 1_000);
        store.is_closed();
        let head = head_after_a_trap(rooms);
        let retry = store.post_push(4, 5).json()[0]["exit"].clone();
        if head == 3 {
            assert_eq!(retry, json!({"_tag": "Success", "value": {}}));
        } else {
            assert_eq!(failure(&retry)["_tag"], "ServerAheadError");
        }
        store.is_rebuilt(5);
    }
}

/// The payload of the `UnknownError` that answers request 7.
fn http_error(answer: &Response) -> Value {
    let messages = answer.json();
    let messages = messages.as_array().expect("the RPC array");
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["_tag"], "Exit");
    assert_eq!(messages[0]["requestId"], "7");
    let error = failure(&messages[0]["exit"]);
    assert_eq!(error["_tag"], "UnknownError");
    error["payload"].clone()
}

fn i9_a_trap_of_a_0_3_push_is_no_answer_and_can_be_tried_again(rooms: &Rooms) {
    let mut store = Store::new(rooms, "trap-v3");
    store.arm("trap-after-append");
    store.v3.send_push(4, 5);
    store.is_closed();
    // A client that was never answered pushes again: what is stored already
    // is acknowledged again.
    let mut v3 = Peer::v3(rooms, &store.name);
    v3.push_ok(4, 5);
    store.is_rebuilt(5);
}

/// The Exit of a push that storage refused.
fn is_refused(exit: &Value, code: &str) {
    assert_eq!(failure_code(exit), code);
    assert_eq!(failure(exit)["payload"]["retryAfterMs"], 1_000);
}

fn i2_a_refused_insert_stores_nothing_and_the_retry_lands(rooms: &Rooms) {
    let mut store = Store::new(rooms, "refused");
    store.arm("refuse-insert");
    is_refused(&store.pusher.push(4, 5), "STORAGE_UNAVAILABLE");
    Peer::live_v4(rooms, &store.name, 3).has_all_to(3);
    for peer in [&mut store.pusher, &mut store.v4, &mut store.v3] {
        peer.has_all_to(3);
    }
    store.pusher.push_ok(4, 5);
    store.goes_on(5);
}

fn i2_a_refused_second_statement_undoes_the_first(rooms: &Rooms) {
    let mut store = Store::new(rooms, "refused-second");
    // A statement takes 14 events. D1's are one batch: it fails as a whole.
    let passes = u64::from(rooms.storage == Storage::ObjectSqlite);
    rooms.arm(
        &store.name,
        &json!({"kind": "refuse-insert", "passes": passes}),
    );
    is_refused(&store.pusher.push(4, 33), "STORAGE_UNAVAILABLE");
    Peer::live_v4(rooms, &store.name, 3).has_all_to(3);
    store.pusher.push_ok(4, 33);
    store.goes_on(33);
}

fn i2_a_full_disk_is_storage_full(rooms: &Rooms) {
    let mut store = Store::new(rooms, "full");
    let words = "database or disk is full: SQLITE_FULL";
    rooms.arm(
        &store.name,
        &json!({"kind": "refuse-insert", "words": words}),
    );
    is_refused(&store.pusher.push(4, 5), "STORAGE_FULL");
    store.pusher.push_ok(4, 5);
    store.goes_on(5);
}

fn i2_a_refused_insert_over_http_is_an_error_of_the_schema(rooms: &Rooms) {
    let mut store = Store::new(rooms, "refused-http");
    store.arm("refuse-insert");
    let answer = store.post_push(4, 5);
    assert_eq!(answer.status, 200, "{answer:?}");
    let payload = http_error(&answer);
    assert_eq!(payload["code"], "STORAGE_UNAVAILABLE");
    assert_eq!(payload["retryAfterMs"], 1_000);
    let retry = store.post_push(4, 5).json()[0]["exit"].clone();
    assert_eq!(retry, json!({"_tag": "Success", "value": {}}));
    store.goes_on(5);
}

fn i2_a_refused_insert_of_a_0_3_push_is_an_error(rooms: &Rooms) {
    let mut store = Store::new(rooms, "refused-v3");
    store.arm("refuse-insert");
    let id = store.v3.send_push(4, 5);
    let answer = store.v3.take();
    assert_eq!(answer["_tag"], "WSMessage.Error", "{answer}");
    assert_eq!(answer["requestId"], id.as_str());
    store.v3.push_ok(4, 5);
    store.goes_on(5);
}

fn i9_a_log_that_cannot_be_opened_refuses_a_push_and_opens_later(rooms: &Rooms) {
    let store = new_store("unopened");
    rooms.arm_kind(&store, "refuse-open");
    let mut pusher = Peer::v4(rooms, &store);
    is_refused(&pusher.push(1, 2), "STORAGE_UNAVAILABLE");
    pusher.push_ok(1, 2);
    Peer::live_v4(rooms, &store, 2).has_all_to(2);
}

/// The head of a log whose beginning a room has to read: it is more than a
/// room keeps of what it has appended (`RECENT_BYTES_MAX`).
const LONG: u64 = 1_500;

fn long_store<'a>(rooms: &'a Rooms, name: &str) -> Store<'a> {
    let mut store = Store::new(rooms, name);
    store.pusher.push_ok(4, LONG);
    for peer in [&mut store.pusher, &mut store.v4, &mut store.v3] {
        peer.has_all_to(LONG);
    }
    store
}

fn i9_a_live_pull_that_cannot_be_read_is_closed_alone(rooms: &Rooms) {
    let mut store = long_store(rooms, "unread-live");
    store.arm("refuse-read");
    let mut peer = Peer::v4(rooms, &store.name);
    peer.pull();
    peer.is_closed_with(1011, "STORAGE_UNAVAILABLE");
    Peer::live_v4(rooms, &store.name, LONG).has_all_to(LONG);
    store.goes_on(LONG);
}

fn i9_a_pull_that_cannot_be_read_fails_alone(rooms: &Rooms) {
    let mut store = long_store(rooms, "unread");
    store.arm("refuse-read");
    let pull = syncline_tests::rpc::pull("50", &store.name, false, None);
    store.pusher.socket.send(pull);
    let answer = store.pusher.take();
    assert_eq!(answer["requestId"], "50");
    is_refused(&answer["exit"], "STORAGE_UNAVAILABLE");
    store.goes_on(LONG);
}

fn i1_a_push_whose_answer_d1_loses_is_acknowledged_once_and_stored_once(rooms: &Rooms) {
    let mut store = Store::new(rooms, "lost");
    store.arm("lose-insert");
    store.pusher.push_ok(4, 33);
    Peer::live_v4(rooms, &store.name, 33).has_all_to(33);
    // Nor does a second Exit come.
    let settled = json!({"_tag": "Pong"});
    store.pusher.socket.send(json!({"_tag": "Ping", "x": 1}));
    assert_eq!(store.pusher.take(), settled);
    store.goes_on(33);
}

fn i9_a_push_of_which_nothing_is_known_is_not_acknowledged(rooms: &Rooms) {
    let mut store = Store::new(rooms, "blind");
    store.arm("lose-insert-and-head");
    store.pusher.send_push(4, 5);
    store.is_closed();
    store.is_rebuilt(5);
}
