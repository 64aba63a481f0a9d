//! D1 beside another writer: another server on the same log, or somebody with
//! an SQL console. And what such a writer, or an older Syncline, has left.

use serde_json::{Value, json};
use syncline_tests::rpc::{batch, failure, failure_code, new_store};

use crate::Scenario;
use crate::peer::Peer;
use crate::rooms::Rooms;

pub fn scenarios() -> Vec<Scenario> {
    crate::scenarios![
        i2_i3_a_push_that_another_writer_overtakes_by_14_leaves_nothing,
        i2_i3_a_push_that_another_writer_overtakes_by_28_leaves_nothing,
        i2_i3_a_push_that_another_writer_overtakes_by_5_leaves_nothing,
        i2_a_first_push_that_another_writer_overtakes_leaves_nothing,
        i2_a_push_that_another_writer_overtakes_with_a_hole_leaves_nothing,
        i2_a_push_onto_a_log_that_another_writer_emptied_leaves_nothing,
        i1_a_push_that_others_follow_is_acknowledged_though_d1_loses_its_answer,
        i1_another_writers_events_in_the_place_of_a_push_are_not_taken_for_it,
        i1_a_first_push_whose_answer_d1_loses_is_acknowledged_once_and_stored_once,
        i2_a_first_push_that_is_refused_leaves_nothing_and_the_retry_lands,
        i5_a_first_push_whose_table_name_is_taken_gets_another,
        i6_i8_a_store_that_nobody_pushed_to_is_nowhere_in_d1_and_keeps_its_id,
        every_text_of_an_event_may_be_as_large_as_a_row,
        a_page_of_control_characters_is_read,
        an_event_that_vanishes_while_it_is_read_is_an_error,
        an_event_that_gets_shorter_while_it_is_read_is_an_error,
    ]
}

/// Upstream's name for a store's table.
fn table(store: &str) -> String {
    let name = store.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("eventlog_7_{name}")
}

/// What another writer does to append the events from `first` to `last`.
fn appends(store: &str, first: u64, last: u64) -> String {
    format!(
        "INSERT INTO {} WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
         SELECT i, i - 1, 'v1.TodoCreated', '{{}}', '2026-11-22T22:40:50.996Z', 'another', 'writer' FROM n",
        table(store)
    )
}

fn overtakes(rooms: &Rooms, store: &str, kind: &str, sql: &[String]) {
    rooms.arm(store, &json!({"kind": kind, "sql": sql}));
}

/// How many events of a log are the tests' clients'.
fn of_clients(rooms: &Rooms, store: &str) -> Value {
    let count = format!(
        "SELECT count(*) AS n FROM {} WHERE clientId = 'client-a'",
        table(store)
    );
    rooms.sql(&[count])[0]["n"].clone()
}

fn ahead(head: u64, provided: u64) -> Value {
    json!({"minimumExpectedNum": head, "providedNum": provided, "_tag": "ServerAheadError"})
}

/// Another writer appends so many events between the room's look at the head
/// and its batch, of three statements.
fn is_overtaken_by(rooms: &Rooms, others: u64) {
    let store = new_store("overtaken");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    pusher.push_ok(1, 3);
    let mut v4 = Peer::live_v4(rooms, &store, 3);
    let mut v3 = Peer::live_v3(rooms, &store, 3);
    let head = 3 + others;
    overtakes(
        rooms,
        &store,
        "write-before-insert",
        &[appends(&store, 4, head)],
    );
    assert_eq!(failure(&pusher.push(4, 33)), ahead(head, 3));
    assert_eq!(of_clients(rooms, &store), 3, "I2");
    for peer in [&mut pusher, &mut v4] {
        peer.has_all_to(head);
    }
    Peer::live_v4(rooms, &store, head).has_all_to(head);
    // And the log goes on from there.
    pusher.push_ok(head + 1, head + 30);
    for peer in [&mut pusher, &mut v4] {
        peer.has_all_to(head + 30);
    }
    v3.settle();
    let expected: Vec<_> = (1..=v3.seen.len() as u64).collect();
    assert_eq!(v3.seen, expected, "I3");
}

fn i2_i3_a_push_that_another_writer_overtakes_by_14_leaves_nothing(rooms: &Rooms) {
    is_overtaken_by(rooms, 14);
}

fn i2_i3_a_push_that_another_writer_overtakes_by_28_leaves_nothing(rooms: &Rooms) {
    is_overtaken_by(rooms, 28);
}

fn i2_i3_a_push_that_another_writer_overtakes_by_5_leaves_nothing(rooms: &Rooms) {
    is_overtaken_by(rooms, 5);
}

fn i2_a_first_push_that_another_writer_overtakes_leaves_nothing(rooms: &Rooms) {
    let store = new_store("overtaken-first");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    pusher.push_ok(1, 1);
    let empty = format!("DELETE FROM {}", table(&store));
    rooms.sql(std::slice::from_ref(&empty));
    // What is appended is where the second statement's parent is.
    let other = appends(&store, 15, 15);
    overtakes(rooms, &store, "write-before-insert", &[other]);
    assert_eq!(failure(&pusher.push(2, 30)), ahead(15, 1));
    assert_eq!(of_clients(rooms, &store), 0, "I2");
}

fn i2_a_push_that_another_writer_overtakes_with_a_hole_leaves_nothing(rooms: &Rooms) {
    let store = new_store("overtaken-hole");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    pusher.push_ok(1, 3);
    let other = appends(&store, 17, 17);
    overtakes(rooms, &store, "write-before-insert", &[other]);
    assert_eq!(failure(&pusher.push(4, 33)), ahead(17, 3));
    assert_eq!(of_clients(rooms, &store), 3, "I2");
    // Who was refused is told when the others pause.
    pusher.until(17);
    pusher.settle();
    assert_eq!(pusher.seen, [1, 2, 3, 17], "I3");
}

fn i2_a_push_onto_a_log_that_another_writer_emptied_leaves_nothing(rooms: &Rooms) {
    let store = new_store("emptied");
    let mut pusher = Peer::v4(rooms, &store);
    pusher.push_ok(1, 3);
    let empty = format!("DELETE FROM {}", table(&store));
    overtakes(rooms, &store, "write-before-insert", &[empty]);
    assert_eq!(failure(&pusher.push(4, 33)), ahead(0, 3));
    assert_eq!(of_clients(rooms, &store), 0, "I2");
}

fn i1_a_push_that_others_follow_is_acknowledged_though_d1_loses_its_answer(rooms: &Rooms) {
    let store = new_store("followed");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    pusher.push_ok(1, 3);
    overtakes(rooms, &store, "lose-insert", &[appends(&store, 34, 40)]);
    pusher.push_ok(4, 33);
    assert_eq!(failure(&pusher.push(34, 34)), ahead(40, 33));
    pusher.has_all_to(40);
    Peer::live_v4(rooms, &store, 40).has_all_to(40);
    assert_eq!(of_clients(rooms, &store), 33);
}

fn i1_another_writers_events_in_the_place_of_a_push_are_not_taken_for_it(rooms: &Rooms) {
    let store = new_store("replaced");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    pusher.push_ok(1, 3);
    // Its last event is there, and the one in the middle is another's.
    let other = format!(
        "UPDATE {} SET clientId = 'another' WHERE seqNum = 18",
        table(&store)
    );
    overtakes(rooms, &store, "lose-insert", &[other]);
    assert_eq!(failure(&pusher.push(4, 33)), ahead(33, 3));
    pusher.has_all_to(33);
}

fn i1_a_first_push_whose_answer_d1_loses_is_acknowledged_once_and_stored_once(rooms: &Rooms) {
    let store = new_store("lost-first");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    rooms.arm_kind(&store, "lose-insert");
    pusher.push_ok(1, 33);
    pusher.push_ok(34, 34);
    pusher.has_all_to(34);
    Peer::live_v4(rooms, &store, 34).has_all_to(34);
}

fn i2_a_first_push_that_is_refused_leaves_nothing_and_the_retry_lands(rooms: &Rooms) {
    let store = new_store("refused-first");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    rooms.arm_kind(&store, "refuse-insert");
    assert_eq!(failure_code(&pusher.push(1, 33)), "STORAGE_UNAVAILABLE");
    assert_eq!(in_d1(rooms, &store), [] as [Value; 0]);
    pusher.push_ok(1, 33);
    pusher.push_ok(34, 34);
    pusher.has_all_to(34);
}

/// Whatever the database has of a store.
fn in_d1(rooms: &Rooms, store: &str) -> Vec<Value> {
    let plain = table(store);
    rooms.sql(&[format!(
        "SELECT name FROM sqlite_schema WHERE name LIKE '{plain}%'
         UNION ALL SELECT tableName FROM syncline_stores WHERE storeId = '{store}'"
    )])
}

fn i5_a_first_push_whose_table_name_is_taken_gets_another(rooms: &Rooms) {
    let store = new_store("taken");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    // Taken when it was looked for, and taken after.
    let make = |name: &str| format!("CREATE TABLE {name} (\"seqNum\" integer primary key)");
    let plain = table(&store);
    overtakes(rooms, &store, "write-before-insert", &[make(&plain)]);
    pusher.push_ok(1, 33);
    pusher.push_ok(34, 34);
    pusher.has_all_to(34);
    let count = format!("SELECT count(*) AS n FROM {plain}");
    assert_eq!(rooms.sql(&[count])[0]["n"], 0, "another's table was used");

    let store = new_store("taken-before");
    let mut pusher = Peer::live_v4(rooms, &store, 0);
    rooms.sql(&[make(&table(&store))]);
    pusher.push_ok(1, 2);
    let mut peer = Peer::live_v4(rooms, &store, 2);
    peer.has_all_to(2);
    pusher.push_ok(3, 3);
    peer.has_all_to(3);
}

fn i6_i8_a_store_that_nobody_pushed_to_is_nowhere_in_d1_and_keeps_its_id(rooms: &Rooms) {
    rooms.through_eviction("unpushed", "SyncWsRpc.Push", |nap| {
        let mut peer = Peer::live_v4(rooms, &nap.store, 0);
        peer.settle();
        let backend_id = peer.backend_id.clone();
        assert_eq!(backend_id.len(), 21, "an empty pull tells the id");
        assert_eq!(in_d1(rooms, &nap.store), [] as [Value; 0]);
        // Another store's, whose name is alike, and which is empty too.
        let store = format!(
            "CREATE TABLE {} (seqNum integer primary key)",
            table(&nap.store)
        );
        rooms.sql(&[store]);
        nap.sleep();
        peer.push_ok(1, 20);
        peer.has_all_to(20);
        assert_eq!(peer.backend_id, backend_id, "I8");
        assert_eq!(in_d1(rooms, &nap.store).len(), 3, "two tables, one row");
        let mut other = Peer::live_v4(rooms, &nap.store, 20);
        other.has_all_to(20);
        assert_eq!(other.backend_id, backend_id, "I8");
    });
}

/// How many times a large text repeats itself.
const REPEATS: usize = 155_000;

/// A large text, which is another everywhere: SQL, and what it is.
fn large(separator: &str) -> (String, String) {
    let text: Vec<String> = (1..=REPEATS).map(|n| format!("{n}\u{e9}")).collect();
    let sql = format!(
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {REPEATS})
          SELECT group_concat(i || '\u{e9}', {separator}) FROM n)"
    );
    let separator = if separator.starts_with("char(0)") {
        "\0"
    } else {
        "\u{1f600}"
    };
    (sql, text.join(separator))
}

/// A store with events 1 and 3, and between them one with these columns.
fn with_event_2(rooms: &Rooms, name: &str, columns: [&str; 4]) -> String {
    let store = new_store(name);
    let mut pusher = Peer::v4(rooms, &store);
    pusher.push_ok(1, 1);
    let [name, args, client, session] = columns;
    rooms.sql(&[format!(
        "INSERT INTO {} VALUES (2, 1, {name}, {args}, '2026-11-22T22:40:50.996Z', {client}, {session})",
        table(&store)
    )]);
    pusher.push_ok(3, 3);
    store
}

/// The events that a pull gives.
fn pulled(rooms: &Rooms, store: &str) -> Vec<Value> {
    let mut peer = Peer::v4(rooms, store);
    peer.pull();
    let mut events = Vec::new();
    while peer.last() < 3 {
        let frame = peer.take();
        events.extend(
            batch(&frame)
                .iter()
                .map(|item| item["eventEncoded"].clone()),
        );
    }
    events
}

fn every_text_of_an_event_may_be_as_large_as_a_row(rooms: &Rooms) {
    let (sql, text) = large("'\u{1f600}'");
    assert!(
        (1_700_000..2_000_000).contains(&text.len()),
        "{}",
        text.len()
    );
    let json = format!("'\"' || {sql} || '\"'");
    let shapes = [
        ("name", [&*sql, "'1'", "'c'", "'s'"]),
        ("args", ["'n'", &*json, "'c'", "'s'"]),
        ("clientId", ["'n'", "NULL", &*sql, "'s'"]),
        ("sessionId", ["'n'", "'1'", "'c'", &*sql]),
    ];
    for (column, columns) in shapes {
        let store = with_event_2(rooms, "large", columns);
        let events = pulled(rooms, &store);
        assert_eq!(events.len(), 3);
        assert!(
            events[1][column] == json!(text),
            "{column} came back changed"
        );
    }
    // Functions of characters end at the first NUL.
    let (sql, text) = large("char(0)");
    let store = with_event_2(rooms, "large", [&*sql, "'1'", "'c'", "'s'"]);
    assert!(pulled(rooms, &store)[1]["name"] == json!(text), "NUL");
}

fn a_page_of_control_characters_is_read(rooms: &Rooms) {
    let store = new_store("control");
    let mut pusher = Peer::v4(rooms, &store);
    pusher.push_ok(1, 1);
    let control = "replace(hex(zeroblob(2000)), '0', char(1))";
    let last = 101;
    rooms.sql(&[
        appends(&store, 2, last),
        format!(
            "UPDATE {} SET name = {control} WHERE seqNum > 1",
            table(&store)
        ),
    ]);
    pusher.push_ok(last + 1, last + 1);
    Peer::live_v4(rooms, &store, last + 1).has_all_to(last + 1);
}

/// Another writer does this to a large event while it is read.
fn is_an_error(rooms: &Rooms, change: &str) {
    let (sql, _) = large("''");
    let json = format!("'\"' || {sql} || '\"'");
    let store = with_event_2(rooms, "changing", ["'n'", &json, "'c'", "'s'"]);
    let changes = [format!("{change} WHERE seqNum = 2").replace("{}", &table(&store))];
    let fault = json!({"kind": "write-before-piece", "sql": changes, "passes": 2});
    rooms.arm(&store, &fault);
    let mut peer = Peer::v4(rooms, &store);
    peer.pull();
    while peer.last() < 1 {
        peer.take();
    }
    peer.is_closed_with(1011, "STORAGE_UNAVAILABLE");
}

fn an_event_that_vanishes_while_it_is_read_is_an_error(rooms: &Rooms) {
    is_an_error(rooms, "DELETE FROM {}");
}

fn an_event_that_gets_shorter_while_it_is_read_is_an_error(rooms: &Rooms) {
    is_an_error(rooms, "UPDATE {} SET args = '1'");
}
