//! Clients on a server that stays up.

use std::time::Duration;

use serde_json::json;
use syncline_tests::cell::Cell::{
    self, CloudflareD1, CloudflareSqlite, Original031, Original040, Url, WasmtimeDrowsy,
    WasmtimeMemory,
};
use syncline_tests::profile::Profile;

use crate::client::{todo, todos};
use crate::fleet::{self, Fleet};
use crate::store::Store;
use crate::{Matrix, Scenario, scenarios};

/// What storage does is the conformance suite's; here one is enough.
const SERVERS: Matrix = &[
    (WasmtimeMemory, fleet::UNMIXED),
    // Rooms that fall asleep after every turn.
    (WasmtimeDrowsy, &[fleet::MIXED]),
    (CloudflareSqlite, &[fleet::WS_040, fleet::HTTP_040]),
    (CloudflareD1, &[fleet::MIXED]),
    (Url, fleet::ALL),
];

/// The originals, too: a check of these tests themselves.
const WITH_ORIGINALS: Matrix = &[
    (WasmtimeMemory, fleet::UNMIXED),
    (WasmtimeDrowsy, &[fleet::MIXED]),
    (CloudflareSqlite, fleet::UNMIXED),
    (CloudflareD1, &[fleet::WS_040]),
    (Url, fleet::ALL),
    (Original040, &[fleet::WS_040, fleet::HTTP_040]),
    (Original031, &[fleet::WS_031]),
];

/// For scenarios that tell their clients apart.
const ONE_OF_EACH: Matrix = &[
    (WasmtimeDrowsy, &[fleet::MIXED]),
    (CloudflareSqlite, &[fleet::MIXED]),
    (CloudflareD1, &[fleet::MIXED]),
    (Url, &[fleet::MIXED]),
];

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        WITH_ORIGINALS => two_clients_see_each_others_commits;
        SERVERS =>
            concurrent_commits_rebase_and_converge,
            a_commit_of_250_events_arrives_whole,
            an_event_without_args_arrives_once,
            a_late_joiner_sees_no_gap,
            a_client_that_was_away_goes_on_from_its_cursor,
            large_events_reach_everyone;
        ONE_OF_EACH => what_one_client_can_push_every_other_can_pull
    ]
}

pub fn open_store(cell: Cell, fleet: Fleet) -> Store {
    let server = cell.server(Profile::Open);
    Store::new(&server.expect("the server starts"), fleet)
}

pub fn two_clients_see_each_others_commits(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let (mut a, mut b) = (store.open("client-a"), store.open("client-b"));
    a.commit("from-a");
    store.converge(&mut [&mut a, &mut b]);
    b.commit("from-b");
    store.converge(&mut [&mut a, &mut b]);
    b.commit_all(vec![json!({"name": "TodoCompleted", "id": "from-a"})]);
    a.commit("again-from-a");
    let log = store.converge(&mut [&mut a, &mut b]);
    assert_eq!(log[0]["clientId"], "client-a");
    assert_eq!(log[1]["clientId"], "client-b");
}

pub fn concurrent_commits_rebase_and_converge(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let ids = ["client-a", "client-b", "client-c"];
    let [mut a, mut b, mut c] = ids.map(|id| store.open(id));
    // All three are up before the first commit.
    store.converge(&mut [&mut a, &mut b, &mut c]);
    // One commit a client and round: see `Client::commit_all`.
    for round in 0..5 {
        a.commit(&format!("a-{round}"));
        b.commit_all(todos(&format!("b-{round}"), 3));
        c.commit(&format!("c-{round}"));
        store.converge(&mut [&mut a, &mut b, &mut c]);
    }
}

pub fn a_late_joiner_sees_no_gap(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let mut early = store.open("early");
    early.commit_all(todos("before", 120));
    store.converge(&mut [&mut early]);
    let mut late = store.open("late");
    // While it starts, connects and pulls.
    for n in 0..40 {
        early.commit(&format!("meanwhile-{n}"));
        std::thread::sleep(Duration::from_millis(50));
    }
    store.converge(&mut [&mut early, &mut late]);
    late.commit("from-late");
    store.converge(&mut [&mut early, &mut late]);
}

pub fn a_commit_of_250_events_arrives_whole(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let (mut a, mut b) = (store.open("client-a"), store.open("client-b"));
    b.ready();
    a.commit_all(todos("many", 250));
    let log = store.converge(&mut [&mut a, &mut b]);
    for (event, n) in log.iter().zip(0..) {
        assert_eq!(event["args"]["id"], format!("many-{n}"));
    }
}

fn an_event_without_args_arrives_once(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let (mut a, mut b) = (store.open("client-a"), store.open("client-b"));
    let pinged = || json!({"name": "Pinged"});
    a.commit_all(vec![pinged()]);
    b.commit_all(vec![todo("x"), pinged()]);
    store.converge(&mut [&mut a, &mut b]);
    // A client that took its own event for somebody else's would rebase it
    // and push it again, and so on.
    a.commit("y");
    store.converge(&mut [&mut a, &mut b]);
}

pub fn a_client_that_was_away_goes_on_from_its_cursor(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let (mut a, mut b) = (store.open_stored("client-a"), store.open("client-b"));
    a.commit("before");
    store.converge(&mut [&mut a, &mut b]);
    a.stop();
    b.commit_all(todos("away", 120));
    store.converge(&mut [&mut b]);
    a.start_again();
    a.commit("back");
    store.converge(&mut [&mut a, &mut b]);
}

pub fn large_events_reach_everyone(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let (mut a, mut b) = (store.open("client-a"), store.open("client-b"));
    for n in 0..5 {
        a.commit_large(&format!("large-{n}"), 100_000);
    }
    store.converge(&mut [&mut a, &mut b]);
    store.push_large("larger", 1_500_000);
    store.converge(&mut [&mut a, &mut b]);
    a.commit("after");
    let mut late = store.open("late");
    store.converge(&mut [&mut a, &mut b, &mut late]);
}

/// 0.4.0 pushes at most 900,000 bytes at once, and an event over that never;
/// 0.3.1 pushes whatever it has, but its SQLite has 16 MB for all it does.
fn what_one_client_can_push_every_other_can_pull(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let ids = ["0-3-1", "http", "ws"];
    let [mut v3, mut http, mut ws] = ids.map(|id| store.open(id));
    v3.commit_large("large", 950_000);
    store.converge(&mut [&mut v3, &mut http, &mut ws]);
    v3.commit_all(vec![json!({"name": "Pinged"}), todo("from-0-3-1")]);
    store.converge(&mut [&mut v3, &mut http, &mut ws]);
    http.commit_all(todos("from-http", 250));
    store.converge(&mut [&mut v3, &mut http, &mut ws]);
    ws.commit_large("from-ws", 400_000);
    store.converge(&mut [&mut v3, &mut http, &mut ws]);
}
