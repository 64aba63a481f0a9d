//! Subscriptions: no gap, no duplicate, whatever happens (I3), in bounded
//! memory (I7).

use std::thread;

use serde_json::{Value, json};
use syncline_tests::rpc::{Client, cursor, event_with, events, new_store, numbers, pull};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        Both Open:
            i3_late_subscribers_race_a_pusher_without_a_gap,
            i7_a_connection_has_few_pulls,
            i7_a_large_push_reaches_subscribers_of_many_ids,
            i7_a_deaf_subscriber_is_not_sent_ever_more;
        V4 Open:
        a_cold_pull_says_what_remains,
        a_push_is_shown_before_its_own_exit,
        i3_a_finished_pull_gets_nothing_more,
        i3_an_interrupted_pull_gets_nothing_more,
        i3_two_pulls_of_one_socket_both_see_everything,
        i3_a_late_subscriber_turns_live_without_a_gap,
        i3_all_subscribers_see_one_order,
        i3_a_subscriber_that_stops_acknowledging_goes_on_where_it_was,
        i7_without_acks_a_pull_stops,
        a_pull_ends_with_its_last_ack,
        a_cursor_past_the_head_gets_what_comes,
        a_pull_with_an_id_in_use_starts_it_again,
        acks_and_interrupts_of_nothing_do_nothing,
        a_socket_that_dies_harms_nobody,
    ]
}

fn seed(server: &Server, store: &str, count: u64) -> Client {
    let mut client = Client::open(server, store);
    for first in (1..=count).step_by(100) {
        client.push_ok(&events(first, (first + 99).min(count)));
    }
    client
}

fn remaining(chunk: &Value) -> u64 {
    let page_info = &chunk["values"][0]["pageInfo"];
    match page_info["_tag"].as_str() {
        Some("NoMore") => 0,
        Some("MoreKnown") => page_info["remaining"].as_u64().expect("a number"),
        _ => panic!("no page info of ours: {page_info}"),
    }
}

fn a_cold_pull_says_what_remains(server: &Server) {
    let store = new_store("cold");
    let mut client = seed(server, &store, 730);
    let (chunks, exit) = client.pull_all(None);
    assert_eq!(exit, json!({"_tag": "Success"}));
    let mut seen = 0;
    for chunk in &chunks {
        let expected: Vec<u64> = (seen + 1..).take(numbers(chunk).len()).collect();
        assert_eq!(numbers(chunk), expected);
        assert!(expected.len() <= 100);
        seen += expected.len() as u64;
        assert_eq!(remaining(chunk), 730 - seen);
    }
    assert_eq!(seen, 730);
    let backend_id = client.backend_id();
    let (chunks, _) = client.pull_all(Some(cursor(&backend_id, 728)));
    assert_eq!(chunks.iter().map(numbers).collect::<Vec<_>>(), [[729, 730]]);
}

fn a_push_is_shown_before_its_own_exit(server: &Server) {
    let store = new_store("before");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    client
        .socket
        .send(syncline_tests::rpc::push("50", &store, &events(1, 1)));
    assert_eq!(numbers(&client.socket.receive_json()), [1]);
    let exit = client.socket.receive_json();
    assert_eq!(
        (&exit["_tag"], &exit["requestId"]),
        (&json!("Exit"), &json!("50"))
    );
}

fn i3_a_finished_pull_gets_nothing_more(server: &Server) {
    let store = new_store("finished");
    let mut client = Client::open(server, &store);
    client.pull_all(None);
    let failed = client.pull(false, Some(cursor("another", 0)));
    client.exit(&failed);
    let failed = client.pull(true, Some(cursor("another", 0)));
    client.exit(&failed);
    Client::open(server, &store).push_ok(&events(1, 3));
    client.assert_silent();
}

fn i3_an_interrupted_pull_gets_nothing_more(server: &Server) {
    let store = new_store("interrupted");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    client
        .socket
        .send(json!({"_tag": "Interrupt", "requestId": live}));
    assert_eq!(client.exit(&live)["_tag"], "Failure");
    client.push_ok(&events(1, 3));
    client.assert_silent();
}

fn i3_two_pulls_of_one_socket_both_see_everything(server: &Server) {
    let store = new_store("two");
    let mut client = seed(server, &store, 3);
    let all = client.pull(true, None);
    let backend_id = client.chunk(&all)["values"][0]["backendId"].clone();
    let rest = client.pull(true, Some(cursor(backend_id.as_str().unwrap(), 2)));
    assert_eq!(client.numbers_until(&rest, 3), [3]);
    client.push_ok(&events(4, 5));
    assert_eq!(client.numbers_until(&all, 5), [4, 5]);
    assert_eq!(client.numbers_until(&rest, 5), [4, 5]);
}

fn i3_a_late_subscriber_turns_live_without_a_gap(server: &Server) {
    const COLD: u64 = 2_000;
    let store = new_store("late");
    let mut pusher = seed(server, &store, COLD);
    let mut late = Client::open(server, &store);
    late.acknowledges = false;
    let live = late.pull(true, None);
    let mut seen = numbers(&late.chunk(&live));
    // It is in the middle of catching up when more is pushed.
    pusher.push_ok(&events(COLD + 1, COLD + 3));
    late.ack(&live);
    while seen.last().is_some_and(|&last| last < COLD + 3) {
        seen.extend(numbers(&late.chunk(&live)));
        late.ack(&live);
    }
    assert_eq!(seen, (1..=COLD + 3).collect::<Vec<_>>());
    pusher.push_ok(&events(COLD + 4, COLD + 4));
    assert_eq!(numbers(&late.chunk(&live)), [COLD + 4]);
}

fn i3_late_subscribers_race_a_pusher_without_a_gap(server: &Server) {
    const COLD: u64 = 500;
    const ALL: u64 = 700;
    let store = new_store("late-race");
    let mut pusher = seed(server, &store, COLD);
    thread::scope(|scope| {
        scope.spawn(move || {
            for n in COLD + 1..=ALL {
                pusher.push_ok(&events(n, n));
            }
        });
        for _ in 0..3 {
            scope.spawn(|| {
                let mut late = Client::open(server, &store);
                let live = late.pull(true, None);
                assert_eq!(
                    late.numbers_until(&live, ALL),
                    (1..=ALL).collect::<Vec<_>>()
                );
            });
        }
    });
}

fn i3_all_subscribers_see_one_order(server: &Server) {
    const PUSHERS: u64 = 3;
    const EACH: usize = 15;
    let store = new_store("order");
    let mut subscribers: Vec<_> = (0..5)
        .map(|_| {
            let mut client = Client::open(server, &store);
            let live = client.pull(true, None);
            client.chunk(&live);
            (client, live)
        })
        .collect();
    thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let store = &store;
            scope.spawn(move || {
                let mut client = Client::open(server, store);
                let (mut head, mut landed) = (0, 0);
                while landed < EACH {
                    let exit = client.push(&[event_with(head + 1, json!([pusher, landed]))]);
                    if exit["_tag"] == "Success" {
                        landed += 1;
                        head += 1;
                    } else {
                        let error = syncline_tests::rpc::failure(&exit);
                        head = error["minimumExpectedNum"].as_u64().unwrap();
                    }
                }
            });
        }
    });
    let all = PUSHERS * EACH as u64;
    let mut logs = subscribers.iter_mut().map(|(client, live)| {
        let mut log = Vec::new();
        while log.len() < usize::try_from(all).unwrap() {
            let chunk = client.chunk(live);
            log.extend(syncline_tests::rpc::batch(&chunk).clone());
        }
        log
    });
    let first = logs.next().unwrap();
    for log in logs {
        assert_eq!(log, first);
    }
}

fn i3_a_subscriber_that_stops_acknowledging_goes_on_where_it_was(server: &Server) {
    const BATCHES: u64 = 60;
    let store = new_store("stalled");
    let mut stalled = Client::open(server, &store);
    stalled.acknowledges = false;
    let live = stalled.pull(true, None);
    stalled.chunk(&live);
    let mut pusher = Client::open(server, &store);
    let text = "x".repeat(10_000);
    for n in 0..BATCHES {
        let batch: Vec<_> = (n * 10 + 1..=n * 10 + 10)
            .map(|n| event_with(n, json!(text)))
            .collect();
        pusher.push_ok(&batch);
    }
    // The first Chunk was never acknowledged; now it takes what there is.
    stalled.ack(&live);
    stalled.acknowledges = true;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|&last| last < BATCHES * 10) {
        let frame = stalled.chunk(&live);
        // What came before the Acks began is acknowledged here.
        seen.extend(numbers(&frame));
    }
    assert_eq!(seen, (1..=BATCHES * 10).collect::<Vec<_>>());
    pusher.push_ok(&events(BATCHES * 10 + 1, BATCHES * 10 + 1));
    assert_eq!(numbers(&stalled.chunk(&live)), [BATCHES * 10 + 1]);
}

fn i7_without_acks_a_pull_stops(server: &Server) {
    let store = new_store("window");
    let mut client = seed(server, &store, 3_000);
    client.acknowledges = false;
    let id = client.pull(false, None);
    let mut first = vec![client.chunk(&id)];
    first.extend(client.arrived(&id));
    assert!(first.len() <= 16, "{} Chunks unacknowledged", first.len());
    // Each Ack lets at most one window follow; in the end all has come once.
    client.acknowledges = true;
    let mut seen: Vec<u64> = first.iter().flat_map(numbers).collect();
    for _ in &first {
        client.ack(&id);
    }
    loop {
        let frame = client.next(&id);
        if frame["_tag"] == "Exit" {
            break;
        }
        seen.extend(numbers(&frame));
    }
    assert_eq!(seen, (1..=3_000).collect::<Vec<_>>());
}

fn a_pull_ends_with_its_last_ack(server: &Server) {
    let store = new_store("last-ack");
    let mut client = Client::open(server, &store);
    client.acknowledges = false;
    let id = client.pull(false, None);
    client.chunk(&id);
    client.assert_silent();
    client.ack(&id);
    assert_eq!(client.exit(&id), json!({"_tag": "Success"}));
}

fn a_cursor_past_the_head_gets_what_comes(server: &Server) {
    let store = new_store("past");
    let mut client = seed(server, &store, 3);
    let backend_id = client.backend_id();
    let (chunks, exit) = client.pull_all(Some(cursor(&backend_id, 9_999)));
    assert_eq!(exit["_tag"], "Success");
    assert_eq!(chunks.len(), 1);
    assert_eq!((numbers(&chunks[0]).len(), remaining(&chunks[0])), (0, 0));
    // Below zero is the beginning.
    let (chunks, _) = client.pull_all(Some(cursor(&backend_id, -1)));
    assert_eq!(numbers(&chunks[0]), [1, 2, 3]);
}

fn a_pull_with_an_id_in_use_starts_it_again(server: &Server) {
    let store = new_store("same-id");
    let mut client = seed(server, &store, 2);
    client.socket.send(pull("77", &store, true, None));
    assert_eq!(numbers(&client.chunk("77")), [1, 2]);
    client.socket.send(pull("77", &store, true, None));
    assert_eq!(numbers(&client.chunk("77")), [1, 2]);
    client.push_ok(&events(3, 3));
    assert_eq!(numbers(&client.chunk("77")), [3]);
    // An Exit is the end of whatever had its id.
    client.socket.send(pull("77", "another-store", false, None));
    client.exit("77");
    client.push_ok(&events(4, 4));
    client.assert_silent();
}

fn acks_and_interrupts_of_nothing_do_nothing(server: &Server) {
    let store = new_store("nothing");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    for _ in 0..20 {
        client.ack(&live);
        client.ack("424242");
    }
    client
        .socket
        .send(json!({"_tag": "Interrupt", "requestId": "424242"}));
    client.assert_silent();
    client.push_ok(&events(1, 1));
    assert_eq!(numbers(&client.chunk(&live)), [1]);
}

fn a_socket_that_dies_harms_nobody(server: &Server) {
    let store = new_store("dead");
    let mut client = Client::open(server, &store);
    let live = client.pull(true, None);
    client.chunk(&live);
    for n in 1..=20 {
        let mut dead = Client::open(server, &store);
        dead.pull(true, None);
        if n % 2 == 0 {
            dead.push_ok(&[]);
        }
        // Dropped without a close.
        drop(dead);
        client.push_ok(&events(n, n));
        assert_eq!(client.numbers_until(&live, n), [n]);
    }
}

fn i7_a_connection_has_few_pulls(server: &Server) {
    let store = new_store("many-pulls");
    let mut client = Client::open(server, &store);
    for _ in 0..8 {
        let live = client.pull(true, None);
        client.chunk(&live);
    }
    let (chunks, exit) = client.pull_all(None);
    assert!(chunks.is_empty());
    assert_eq!(syncline_tests::rpc::failure_code(&exit), "TOO_MANY_PULLS");
    client.pull(true, None);
    assert_eq!(
        client.socket.receive_close(),
        (1013, "TOO_MANY_PULLS".to_owned())
    );
}

fn i7_a_large_push_reaches_subscribers_of_many_ids(server: &Server) {
    let store = new_store("many-ids");
    let mut subscribers: Vec<_> = (0..100)
        .map(|n| {
            let mut client = Client::open(server, &store);
            let id = (1_000 + n).to_string();
            client.socket.send(pull(&id, &store, true, None));
            client.chunk(&id);
            (client, id)
        })
        .collect();
    let mut pusher = Client::open(server, &store);
    pusher.push_ok(&[event_with(1, json!("x".repeat(1_900_000)))]);
    for (client, id) in &mut subscribers {
        assert_eq!(numbers(&client.chunk(id)), [1]);
    }
}

fn i7_a_deaf_subscriber_is_not_sent_ever_more(server: &Server) {
    const PUSHES: u64 = 40;
    let store = new_store("deaf");
    let mut deaf = Client::open(server, &store);
    deaf.acknowledges = false;
    let live = deaf.pull(true, None);
    deaf.chunk(&live);
    let mut pusher = Client::open(server, &store);
    let text = "x".repeat(200_000);
    for n in 1..=PUSHES {
        pusher.push_ok(&[event_with(n, json!(text))]);
    }
    let sent = deaf.arrived(&live);
    let bytes: usize = sent.iter().map(|chunk| chunk.to_string().len()).sum();
    assert!(bytes <= 1_100_000, "{bytes} bytes unacknowledged");
    // It is still there, and goes on where it was once it is heard of.
    for _ in 0..=sent.len() {
        deaf.ack(&live);
    }
    deaf.acknowledges = true;
    let mut seen: Vec<u64> = sent.iter().flat_map(numbers).collect();
    while seen.last().is_none_or(|&last| last < PUSHES) {
        seen.extend(numbers(&deaf.chunk(&live)));
    }
    assert_eq!(seen, (1..=PUSHES).collect::<Vec<_>>());
}
