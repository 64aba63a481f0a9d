//! Rooms that workerd evicts while their sockets stay open: the object's
//! constructor has run again, and all that the room kept in memory is lost.
//! An attempt counts when it went through an eviction: see
//! `Rooms::through_eviction`.

use std::time::{Duration, Instant};

use serde_json::json;
use syncline_tests::rpc::{events, new_store, push, request};
use syncline_tests::socket::{Received, Socket};
use syncline_tests::workerd::Storage;

use crate::Scenario;
use crate::peer::Peer;
use crate::rooms::Rooms;
use crate::token;

/// Chunks that may be unacknowledged while catching up.
const WINDOW_CHUNKS: usize = 8;

/// Events of a Chunk at the most.
const CHUNK_EVENTS: u64 = 100;

pub fn scenarios() -> Vec<Scenario> {
    crate::scenarios![
        i3_a_push_reaches_every_subscriber_of_an_evicted_room_once_and_in_order,
        i3_a_push_over_http_wakes_an_evicted_room_for_its_subscribers,
        i3_a_0_3_push_wakes_an_evicted_room_for_its_subscribers,
        i3_a_pull_that_never_acknowledged_goes_on_after_an_eviction,
        i3_a_pull_in_the_middle_of_the_log_goes_on_after_an_eviction,
        i3_an_acknowledged_live_pull_survives_two_evictions,
        i3_a_room_whose_clients_had_to_wait_is_evicted_all_the_same,
        i9_sockets_that_a_fault_closed_do_not_come_back_with_an_eviction,
        i6_a_principal_outlives_its_room_and_its_token,
        keep_alives_are_answered_while_the_room_sleeps_and_do_not_wake_it,
        a_room_that_hears_something_is_not_evicted,
        a_socket_that_closes_while_the_room_sleeps_is_answered,
    ]
}

/// Subscribers of an empty log and of one with events, live, of all kinds.
fn subscribers(rooms: &Rooms, store: &str) -> (Peer, Vec<Peer>) {
    // On an empty log a 0.3 socket is fed without asking.
    let unasked = Peer::v3(rooms, store);
    let mut pusher = Peer::live_v4(rooms, store, 0);
    pusher.push_ok(1, 3);
    let peers = vec![
        unasked,
        Peer::live_v4(rooms, store, 3),
        Peer::live_v4(rooms, store, 3),
        Peer::live_v4(rooms, store, 3),
        Peer::live_v3(rooms, store, 3),
    ];
    pusher.push_ok(4, 5);
    (pusher, peers)
}

fn i3_a_push_reaches_every_subscriber_of_an_evicted_room_once_and_in_order(rooms: &Rooms) {
    rooms.through_eviction("evicted", "SyncWsRpc.Push", |nap| {
        let (mut pusher, mut peers) = subscribers(rooms, &nap.store);
        peers.iter_mut().for_each(|peer| peer.has_all_to(5));
        nap.sleep();
        pusher.push_ok(6, 8);
        pusher.push_ok(9, 9);
        // One that comes now does not confuse those that were there.
        peers.push(Peer::live_v4(rooms, &nap.store, 9));
        pusher.push_ok(10, 10);
        peers.iter_mut().for_each(|peer| peer.has_all_to(10));
        pusher.has_all_to(10);
    });
}

fn i3_a_push_over_http_wakes_an_evicted_room_for_its_subscribers(rooms: &Rooms) {
    rooms.through_eviction("evicted-http", "fetch", |nap| {
        let (mut pusher, mut peers) = subscribers(rooms, &nap.store);
        peers.iter_mut().for_each(|peer| peer.has_all_to(5));
        nap.sleep();
        let batch = json!(events(6, 7));
        let payload = json!({"storeId": nap.store, "batch": batch, "backendId": {"_tag": "None"}});
        let answer = rooms.post(&nap.store, &request("1", "SyncHttpRpc.Push", payload));
        assert_eq!(answer.json()[0]["exit"]["_tag"], "Success", "{answer:?}");
        peers.iter_mut().for_each(|peer| peer.has_all_to(7));
        pusher.has_all_to(7);
    });
}

fn i3_a_0_3_push_wakes_an_evicted_room_for_its_subscribers(rooms: &Rooms) {
    rooms.through_eviction("evicted-v3", "WSMessage.PushReq", |nap| {
        let (mut pusher, mut peers) = subscribers(rooms, &nap.store);
        peers.iter_mut().for_each(|peer| peer.has_all_to(5));
        nap.sleep();
        peers[0].push_ok(6, 7);
        peers[4].push_ok(8, 8);
        peers.iter_mut().for_each(|peer| peer.has_all_to(8));
        pusher.has_all_to(8);
    });
}

fn i3_a_room_whose_clients_had_to_wait_is_evicted_all_the_same(rooms: &Rooms) {
    rooms.through_eviction("waited", "SyncWsRpc.Push", |nap| {
        let mut first = Peer::live_v4(rooms, &nap.store, 0);
        let mut second = Peer::live_v4(rooms, &nap.store, 0);
        first.push_ok(1, 1);
        // The timer that tells it when the other pauses keeps the room awake,
        // and ends.
        let exit = second.push(1, 1);
        assert!(exit.to_string().contains("ServerAheadError"), "{exit}");
        first.push_ok(2, 5);
        second.until(5);
        nap.sleep();
        first.push_ok(6, 6);
        second.has_all_to(6);
        first.has_all_to(6);
    });
}

/// A store with a log of so many events.
fn filled(rooms: &Rooms, store: &str, last: u64) -> Peer {
    let mut pusher = Peer::v4(rooms, store);
    pusher.push_ok(1, last);
    pusher
}

fn i3_a_pull_that_never_acknowledged_goes_on_after_an_eviction(rooms: &Rooms) {
    rooms.through_eviction("deaf", r#""Ack""#, |nap| {
        let mut pusher = filled(rooms, &nap.store, 2_000);
        let mut peer = Peer::v4(rooms, &nap.store);
        peer.acknowledges = false;
        peer.pull();
        while peer.chunks < WINDOW_CHUNKS {
            peer.take();
        }
        peer.settle();
        assert_eq!(peer.last(), CHUNK_EVENTS * WINDOW_CHUNKS as u64);
        nap.sleep();
        go_on(&mut peer, &mut pusher, WINDOW_CHUNKS);
    });
}

fn i3_a_pull_in_the_middle_of_the_log_goes_on_after_an_eviction(rooms: &Rooms) {
    rooms.through_eviction("paused", r#""Ack""#, |nap| {
        let mut pusher = filled(rooms, &nap.store, 2_000);
        let mut peer = Peer::v4(rooms, &nap.store);
        peer.acknowledges = false;
        peer.pull();
        let acknowledged = 3;
        (0..acknowledged).for_each(|_| {
            peer.take();
            peer.ack();
        });
        while peer.chunks < WINDOW_CHUNKS + acknowledged {
            peer.take();
        }
        peer.settle();
        assert!(peer.last() < 2_000, "its window is full in the middle");
        nap.sleep();
        go_on(&mut peer, &mut pusher, WINDOW_CHUNKS);
    });
}

/// A pull with unacknowledged Chunks acknowledges them after its room was
/// evicted, goes on to the end, and turns live.
fn go_on(peer: &mut Peer, pusher: &mut Peer, unacknowledged: usize) {
    for _ in 0..unacknowledged {
        peer.ack();
    }
    peer.acknowledges = true;
    peer.until(2_000);
    pusher.push_ok(2_001, 2_003);
    peer.has_all_to(2_003);
}

fn i3_an_acknowledged_live_pull_survives_two_evictions(rooms: &Rooms) {
    rooms.through_eviction("twice", "SyncWsRpc.Push", |nap| {
        let (mut pusher, mut peers) = subscribers(rooms, &nap.store);
        for seq_num in [6, 7] {
            nap.sleep();
            pusher.push_ok(seq_num, seq_num);
            // Nobody says anything in between but to acknowledge.
            peers.iter_mut().for_each(|peer| peer.until(seq_num));
        }
        let backend_id = pusher.backend_id.clone();
        peers.iter_mut().for_each(|peer| peer.has_all_to(7));
        pusher.has_all_to(7);
        assert_eq!(pusher.backend_id, backend_id, "I8");
    });
}

fn i9_sockets_that_a_fault_closed_do_not_come_back_with_an_eviction(rooms: &Rooms) {
    rooms.through_eviction("rebuilt", "SyncWsRpc.Push", |nap| {
        let (mut before, mut unread) = subscribers(rooms, &nap.store);
        // Who has just pulled is told a little later (`room/editor.rs`).
        unread.iter_mut().for_each(|peer| peer.until(5));
        rooms.arm_kind(&nap.store, "trap-after-append");
        before.send_push(6, 6);
        // The others do not read their close, so that it stays unanswered.
        while let Received::Text(_) = before.socket.receive() {}
        let head = match rooms.storage {
            Storage::ObjectSqlite => 5,
            Storage::D1 => 6,
        };
        let mut pusher = Peer::live_v4(rooms, &nap.store, head);
        let mut peer = Peer::live_v4(rooms, &nap.store, head);
        nap.sleep();
        pusher.push_ok(head + 1, head + 1);
        pusher.has_all_to(head + 1);
        peer.has_all_to(head + 1);
        for peer in &mut unread {
            peer.is_closed_with(1011, "INTERNAL");
        }
    });
}

fn i6_a_principal_outlives_its_room_and_its_token(rooms: &Rooms) {
    rooms.through_eviction("principal", "SyncWsRpc.Push", |nap| {
        let store = &nap.store;
        let expires = token::now() + 4;
        let token = token::until(store, expires);
        let mut pusher = Peer::with_token(rooms, store, "ws", &token);
        let mut peer = Peer::with_token(rooms, store, "ws", &token);
        let mut v3 = Peer::with_token(rooms, store, "0.3", &token);
        peer.pull();
        peer.settle();
        nap.sleep();
        assert!(token::now() > expires);
        // Admission is checked when a connection begins, not again.
        pusher.push_ok(1, 2);
        v3.push_ok(3, 3);
        peer.has_all_to(3);
        v3.has_all_to(3);
        let mut late = Socket::open(&rooms.server, &token::url(store, "ws", Some(&token)));
        let refused = Received::Closed(4401, "GRACE_PERIOD_EXPIRED".to_owned());
        assert_eq!(late.receive(), refused);
        // Nor does the connection reach beyond the store it was admitted to.
        pusher.socket.send(push("90", "another", &events(1, 1)));
        let answer = pusher.socket.receive_json();
        let error = &answer["exit"]["cause"]["error"];
        assert_eq!(error["payload"]["code"], "STORE_MISMATCH", "I5: {answer}");
    });
}

fn keep_alives_are_answered_while_the_room_sleeps_and_do_not_wake_it(rooms: &Rooms) {
    const PING: &str = r#"{"_tag":"Ping"}"#;
    let pong = json!({"_tag": "Pong"});
    // Woken by a 0.3 client that comes.
    rooms.through_eviction("pings", "fetch", |nap| {
        let mut peer = Peer::live_v4(rooms, &nap.store, 0);
        peer.settle();
        nap.begin();
        let end = Instant::now() + Duration::from_secs(nap.seconds);
        while Instant::now() < end {
            peer.socket.send(PING);
            assert_eq!(peer.socket.receive_json(), pong);
            std::thread::sleep(Duration::from_secs(1));
        }
        let mut v3 = Peer::live_v3(rooms, &nap.store, 0);
        // The keep-alive that is answered is 0.4's, whoever woke the room.
        for _ in 0..3 {
            peer.socket.send(PING);
            assert_eq!(peer.socket.receive_json(), pong);
        }
        v3.push_ok(1, 1);
        peer.has_all_to(1);
        v3.has_all_to(1);
        let heard = rooms.probe(&nap.store).heard;
        assert!(
            !heard.iter().any(|it| it == PING),
            "a ping woke it: {heard:?}"
        );
    });
}

fn a_room_that_hears_something_is_not_evicted(rooms: &Rooms) {
    for seconds in [16, 20, 30] {
        let store = new_store("warm");
        let mut peer = Peer::live_v4(rooms, &store, 0);
        let before = rooms.probe(&store).instance;
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut last = Instant::now();
        let mut longest = Duration::ZERO;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs(2));
            peer.settle();
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        let after = rooms.probe(&store).instance;
        // On a machine that stood still for so long it may be evicted.
        if longest < Duration::from_secs(8) {
            assert_eq!(after, before);
            return;
        }
    }
    panic!("the machine is too slow to keep a room warm");
}

fn a_socket_that_closes_while_the_room_sleeps_is_answered(rooms: &Rooms) {
    rooms.through_eviction("closes", "close 1000", |nap| {
        let (mut pusher, mut peers) = subscribers(rooms, &nap.store);
        nap.sleep();
        let mut gone = peers.remove(1);
        gone.socket.close(1000);
        while let Received::Text(_) = gone.socket.receive() {}
        pusher.push_ok(6, 6);
        peers.iter_mut().for_each(|peer| peer.has_all_to(6));
    });
}
