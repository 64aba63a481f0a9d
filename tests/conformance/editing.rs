//! Clients that edit, and when they are told of others' events (I3); clients
//! that should have pulled.

use std::thread;
use std::time::Duration;

use syncline_tests::rpc::{Client, ack, events, failure, new_store, numbers, pull, push, ws_url};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::socket::Socket;
use syncline_tests::suite::Scenario;

/// Longer than a client may take to pull (`guest/src/room/stranded.rs`).
const PULL_WAIT: Duration = Duration::from_millis(1_500);

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        V4 Open:
        i3_who_is_refused_is_told_of_all_that_it_lacks,
        i3_two_that_edit_at_once_see_one_order,
        who_pushes_before_it_pulls_is_served,
        who_never_pulls_and_is_refused_has_to_come_again,
        who_acknowledges_a_pull_of_another_socket_has_to_come_again,
        who_acknowledges_before_it_pulls_is_served,
        who_only_pushes_and_is_up_to_date_is_served,
    ]
}

fn i3_who_is_refused_is_told_of_all_that_it_lacks(server: &Server) {
    let store = new_store("refused");
    let (mut a, mut b) = (Client::open(server, &store), Client::open(server, &store));
    let id = a.pull(true, None);
    a.chunk(&id);
    b.push_ok(&events(1, 1));
    a.push_refused(&events(1, 3));
    for n in 2..=30 {
        b.push_ok(&events(n, n));
    }
    assert_eq!(a.numbers_until(&id, 30), (1..=30).collect::<Vec<_>>());
    a.push_ok(&events(31, 33));
    assert_eq!(a.numbers_until(&id, 33), [31, 32, 33]);
}

fn i3_two_that_edit_at_once_see_one_order(server: &Server) {
    let store = new_store("both-edit");
    let mut both = [Client::open(server, &store), Client::open(server, &store)];
    let ids = both.each_mut().map(|client| client.pull(true, None));
    for (client, id) in both.iter_mut().zip(&ids) {
        client.chunk(id);
    }
    // Each pushes in bursts as soon as it knows the head.
    let mut head = 0;
    for round in 0..3 {
        let (author, other) = (round % 2, 1 - round % 2);
        for _ in 0..5 {
            both[author].push_ok(&events(head + 1, head + 2));
            head += 2;
        }
        both[other].push_refused(&events(head - 9, head - 9));
        let seen = both[other].numbers_until(&ids[other], head);
        assert_eq!(seen, (head - 9..=head).collect::<Vec<_>>());
        let own = both[author].numbers_until(&ids[author], head);
        assert_eq!(own, (head - 9..=head).collect::<Vec<_>>());
    }
}

fn who_pushes_before_it_pulls_is_served(server: &Server) {
    let store = new_store("push-first");
    Client::open(server, &store).push_ok(&events(1, 1));
    let mut client = Client::open(server, &store);
    client.push_refused(&events(1, 1));
    let id = client.pull(true, None);
    assert_eq!(numbers(&client.chunk(&id)), [1]);
    thread::sleep(PULL_WAIT);
    client.push_ok(&events(2, 2));
}

fn who_never_pulls_and_is_refused_has_to_come_again(server: &Server) {
    let store = new_store("never-pulls");
    Client::open(server, &store).push_ok(&events(1, 1));
    let mut socket = Socket::open(server, &ws_url(&store));
    socket.send(push("7", &store, &events(1, 1)));
    // It has its answer first.
    assert_eq!(
        failure(&socket.receive_json()["exit"])["_tag"],
        "ServerAheadError"
    );
    assert_eq!(socket.receive_close(), (4409, "NEVER_PULLED".to_owned()));
}

fn who_acknowledges_a_pull_of_another_socket_has_to_come_again(server: &Server) {
    let store = new_store("strays");
    let mut socket = Socket::open(server, &ws_url(&store));
    socket.send(ack("3"));
    socket.send(push("7", &store, &events(1, 1)));
    assert_eq!(socket.receive_json()["exit"]["_tag"], "Success");
    assert_eq!(socket.receive_close(), (4409, "NEVER_PULLED".to_owned()));
}

fn who_acknowledges_before_it_pulls_is_served(server: &Server) {
    let store = new_store("ack-first");
    let mut socket = Socket::open(server, &ws_url(&store));
    socket.send(ack("3"));
    socket.send(pull("4", &store, true, None));
    assert_eq!(socket.receive_json()["_tag"], "Chunk");
    socket.send(ack("4"));
    thread::sleep(PULL_WAIT);
    socket.send(push("7", &store, &events(1, 1)));
    assert_eq!(numbers(&socket.receive_json()), [1]);
    assert_eq!(socket.receive_json()["exit"]["_tag"], "Success");
}

fn who_only_pushes_and_is_up_to_date_is_served(server: &Server) {
    let store = new_store("only-pushes");
    let mut client = Client::open(server, &store);
    client.push_ok(&events(1, 2));
    thread::sleep(PULL_WAIT);
    client.push_ok(&events(3, 4));
}
