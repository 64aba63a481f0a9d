//! Unmodified LiveStore clients in Durable Objects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use syncline_tests::rpc::{Client, event, events, new_store};

use crate::objects::{Clients, Object, todo};
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        a_real_client_pushes_and_pulls,
        i3_two_real_clients_see_each_others_commits,
        i3_three_real_clients_see_each_others_commits,
        i3_a_real_client_and_a_socket_see_each_other,
        a_commit_of_250_events_reaches_the_others,
        i3_concurrent_commits_are_rebased,
        events_without_args_stay_their_clients_own,
        large_events_reach_the_others,
        i4_a_client_that_shut_down_goes_on_from_its_cursor,
        i4_a_client_that_was_evicted_goes_on_from_its_cursor,
    ]
}

/// Those that the original passes with luck: its calls may come before the
/// client, which has read the answer to its pull, can take them.
pub fn races() -> Vec<Scenario> {
    scenarios![
        a_long_log_is_pulled_by_a_new_client,
        i3_pushes_while_a_client_opens_leave_no_gap,
        i3_pushes_while_a_client_pulls_a_long_log_leave_no_gap,
    ]
}

/// Sees that all of them have the server's log, and show what is in it.
fn converged(clients: &[Object<'_>], head: u64) {
    for client in clients {
        client.settled(head);
    }
    let log = plain(&clients[0].beside("reader").pull(None).ok().events());
    let numbers: Vec<_> = log
        .iter()
        .map(|it| it["seqNum"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=head).collect::<Vec<_>>());
    let created = log.iter().filter(|it| it["name"] == "v1.TodoCreated");
    let mut todos: Vec<_> = created.map(|it| it["id"].as_str().unwrap()).collect();
    todos.sort_unstable();
    todos.dedup();
    for client in clients {
        assert_eq!(plain(&client.log()), log, "the log of {}", client.name);
        // What it shows follows its log.
        client.shows(&todos);
    }
}

/// What of an event both logs keep: a client has `{}` where there are no args.
/// Titles may be long: as much as tells them apart.
fn plain(log: &[Value]) -> Vec<Value> {
    let of = |event: &Value| {
        let args = &event["args"];
        json!({
            "seqNum": event["seqNum"],
            "parentSeqNum": event["parentSeqNum"],
            "name": event["name"],
            "clientId": event["clientId"],
            "id": args["id"],
            "title": args["title"].as_str().map(|it| (it.len(), it.chars().take(20).collect::<String>())),
        })
    };
    log.iter().map(of).collect()
}

fn a_real_client_pushes_and_pulls(clients: &Clients) {
    let store = new_store("one");
    let a = clients.object("a", &store);
    a.open();
    a.commit(&[todo("1")]);
    a.settled(1);
    a.beside("w").push_ok(&[event(2)]);
    a.settled(2);
    a.commit(&[todo("3")]);
    converged(&[a], 3);
}

fn i3_two_real_clients_see_each_others_commits(clients: &Clients) {
    let store = new_store("two");
    let (a, b) = (clients.object("a", &store), clients.object("b", &store));
    a.open();
    b.open();
    for round in 0..4 {
        a.commit(&[todo(&format!("a{round}"))]);
        b.settled(2 * round + 1);
        b.commit(&[todo(&format!("b{round}"))]);
        a.settled(2 * round + 2);
    }
    converged(&[a, b], 8);
}

fn i3_three_real_clients_see_each_others_commits(clients: &Clients) {
    let store = new_store("three");
    let all = ["a", "b", "c"].map(|name| clients.object(name, &store));
    for client in &all {
        client.open();
    }
    for (number, client) in (1..).zip(all.iter().chain(&all)) {
        client.commit(&[todo(&format!("{number}"))]);
        for other in &all {
            other.settled(number);
        }
    }
    converged(&all, 6);
}

fn i3_a_real_client_and_a_socket_see_each_other(clients: &Clients) {
    let store = new_store("socket");
    let a = clients.object("a", &store);
    a.open();
    let mut socket = Client::open(&clients.server, &store);
    let pull = socket.pull(true, None);
    socket.chunk(&pull);
    for round in 0..3 {
        socket.push_ok(&[event(2 * round + 1)]);
        a.settled(2 * round + 1);
        a.commit(&[todo(&format!("a{round}"))]);
        let seen = socket.numbers_until(&pull, 2 * round + 2);
        assert_eq!(seen, [2 * round + 1, 2 * round + 2]);
    }
    converged(&[a], 6);
}

fn a_commit_of_250_events_reaches_the_others(clients: &Clients) {
    let store = new_store("many");
    let (a, b) = (clients.object("a", &store), clients.object("b", &store));
    a.open();
    b.open();
    let todos: Vec<_> = (0..250).map(|number| todo(&format!("m{number}"))).collect();
    a.commit(&todos);
    b.settled(250);
    b.commit(&[todo("last")]);
    converged(&[a, b], 251);
}

/// One commit each at a time: with more, 0.4.0 may double or lose its own
/// (tests/real_clients/client.rs, `commit_all`).
fn i3_concurrent_commits_are_rebased(clients: &Clients) {
    let store = new_store("rebase");
    let all = ["a", "b"].map(|name| clients.object(name, &store));
    for client in &all {
        client.open();
    }
    for round in 1..=6 {
        std::thread::scope(|scope| {
            for client in &all {
                let todos = ["x", "y"].map(|it| todo(&format!("{}{round}{it}", client.name)));
                scope.spawn(move || client.commit(&todos));
            }
        });
        for client in &all {
            client.settled(round * 4);
        }
    }
    converged(&all, 24);
}

fn events_without_args_stay_their_clients_own(clients: &Clients) {
    let store = new_store("args");
    let (a, b) = (clients.object("a", &store), clients.object("b", &store));
    a.open();
    b.open();
    a.commit(&[json!({"name": "Pinged"}), todo("1")]);
    b.settled(2);
    b.commit(&[json!({"name": "Pinged"})]);
    a.settled(3);
    a.shut_down();
    a.commit(&[json!({"name": "Pinged"})]);
    converged(&[a, b], 4);
}

fn large_events_reach_the_others(clients: &Clients) {
    let store = new_store("large");
    let (a, b) = (clients.object("a", &store), clients.object("b", &store));
    a.open();
    b.open();
    a.commit_large("1", 880_000);
    b.settled(1);
    b.commit_large("2", 880_000);
    a.settled(2);
    let c = clients.object("c", &store);
    c.open();
    converged(&[a, b, c], 2);
}

fn a_long_log_is_pulled_by_a_new_client(clients: &Clients) {
    let store = new_store("long");
    let writer = clients.object("w", &store);
    for first in (1..1000).step_by(100) {
        writer.push_ok(&events(first, first + 99));
    }
    let a = clients.object("a", &store);
    a.open();
    a.settled(1000);
    a.commit(&[todo("last")]);
    converged(&[a], 1001);
}

fn i4_a_client_that_shut_down_goes_on_from_its_cursor(clients: &Clients) {
    let store = new_store("again");
    let (a, b) = (clients.object("a", &store), clients.object("b", &store));
    a.open();
    b.open();
    a.commit(&[todo("1")]);
    b.settled(1);
    a.shut_down();
    b.commit(&[todo("2"), todo("3")]);
    b.settled(3);
    a.open();
    a.settled(3);
    a.commit(&[todo("4")]);
    b.settled(4);
    b.commit(&[todo("5")]);
    converged(&[a, b], 5);
}

fn i4_a_client_that_was_evicted_goes_on_from_its_cursor(clients: &Clients) {
    let store = new_store("evicted");
    let (a, b) = (clients.object("a", &store), clients.object("b", &store));
    a.open();
    b.open();
    a.commit(&[todo("1")]);
    a.settled(1);
    b.settled(1);
    for round in 0..3 {
        a.evict();
        // Calls an instance without a store, which does not know what to do
        // with it.
        b.commit(&[todo(&format!("b{round}"))]);
        b.settled(2 * round + 2);
        a.open();
        a.settled(2 * round + 2);
        a.commit(&[todo(&format!("a{round}"))]);
        b.settled(2 * round + 3);
    }
    converged(&[a, b], 7);
}

/// Opens a client while another object pushes, and pushes a little longer,
/// since it is open before it has begun to pull: its head.
fn open_among_pushes(client: &Object<'_>, head: u64) -> u64 {
    let is_open = AtomicBool::new(false);
    let writer = client.beside("w");
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            client.open();
            is_open.store(true, Ordering::Relaxed);
        });
        let (mut head, mut after) = (head, 0);
        while after < 10 && (!opening.is_finished() || is_open.load(Ordering::Relaxed)) {
            after += u64::from(is_open.load(Ordering::Relaxed));
            writer.push_ok(&[event(head + 1)]);
            head += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        head
    })
}

fn i3_pushes_while_a_client_opens_leave_no_gap(clients: &Clients) {
    let stores: Vec<_> = (0..25).map(|_| new_store("race")).collect();
    std::thread::scope(|scope| {
        for five in stores.chunks(5) {
            scope.spawn(move || {
                for store in five {
                    let a = clients.object("a", store);
                    let head = open_among_pushes(&a, 0);
                    converged(&[a], head);
                }
            });
        }
    });
}

fn i3_pushes_while_a_client_pulls_a_long_log_leave_no_gap(clients: &Clients) {
    let store = new_store("race");
    let a = clients.object("a", &store);
    for first in (1..1500).step_by(100) {
        a.beside("w").push_ok(&events(first, first + 99));
    }
    let head = open_among_pushes(&a, 1500);
    converged(&[a], head);
}
