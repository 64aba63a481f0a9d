//! One valid client that means harm, many at once, slow, half-finished, in
//! pieces, never reading: it harms itself, and the server goes on (I7, I9).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, batch, event_with, events, numbers, option, request};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::{Received, Socket};

use super::wire::{close_frame, connect, frame, post, rest, upgrade};

const MIB: usize = 1024 * 1024;

fn start(arguments: &[&str]) -> Server {
    let mut syncline = Syncline::new("memory", Profile::Open);
    syncline.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
    syncline.start().unwrap()
}

fn megabytes(server: &Server) -> u64 {
    server.process.as_ref().unwrap().megabytes().unwrap()
}

/// The files that the server has open, connections among them.
fn open_files(server: &Server) -> usize {
    let id = server.process.as_ref().unwrap().id().to_string();
    let output = Command::new("ls").arg(format!("/proc/{id}/fd")).output();
    let output = output.unwrap();
    if output.status.success() {
        return output.stdout.split(|byte| *byte == b'\n').count();
    }
    // No Linux: `lsof` is where there is no /proc.
    let output = Command::new("lsof").args(["-p", &id]).output().unwrap();
    output.stdout.split(|byte| *byte == b'\n').count()
}

/// A pull over HTTP.
fn http_pull(store: &str) -> Value {
    let payload = json!({"storeId": store, "cursor": option(None)});
    request("7", "SyncHttpRpc.Pull", payload)
}

/// A store with so many events of 1.9 MB.
fn fill(server: &Server, store: &str, count: u64) {
    let mut client = Client::open(server, store);
    for n in 1..=count {
        client.push_ok(&[event_with(n, "x".repeat(1_900_000).into())]);
    }
}

#[test]
fn i7_large_messages_that_end_together_are_all_answered_and_others_meanwhile() {
    let server = start(&["--input-bytes-max", "16777216"]);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(12 * MIB));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut socket = Socket::open(&server, "/?storeId=a&transport=ws");
                socket.send(&large);
                assert_eq!(socket.receive_json()["_tag"], "Defect");
            });
        }
        let mut other = Client::open(&server, "b");
        for n in 1..=200 {
            other.push_ok(&events(n, n));
        }
    });
    Client::open(&server, "a").push_ok(&events(1, 1));
}

#[test]
fn i7_many_clients_that_push_much_at_once_are_all_served() {
    let server = start(&["--input-bytes-max", "16777216"]);
    thread::scope(|scope| {
        for client in 0..60 {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::open(server, &format!("store-{}", client % 4));
                let large = [event_with(1, "x".repeat(900_000).into())];
                let error = client.push(&large);
                let is_first = error == json!({"_tag": "Success", "value": {}});
                assert!(is_first || error["cause"]["error"]["_tag"] == "ServerAheadError");
            });
        }
    });
}

#[test]
fn i7_half_of_a_large_message_keeps_nobody_else_waiting() {
    let server = start(&["--input-bytes-max", "16777216"]);
    let mut half = Vec::new();
    for size in [2_000, 60_000, 900_000, 3_000_000, 12 * MIB] {
        for _ in 0..12 {
            let mut stream = upgrade(&server, "hog");
            let whole = frame(1, true, &vec![b'x'; size]);
            stream.set_nonblocking(true).unwrap();
            // As much as it takes.
            let _ = stream.write(whole.get(..size).unwrap()).unwrap();
            half.push(stream);
        }
    }
    let mut other = Client::open(&server, "b");
    other.push_ok(&[event_with(1, "x".repeat(900_000).into())]);
    assert_eq!(http::post_rpc(&server, "b", http_pull("b")).status, 200);
}

#[test]
fn i7_fragments_with_pings_between_them_are_one_message_that_takes_too_long() {
    let server = start(&["--message-timeout", "300ms"]);
    let mut stream = upgrade(&server, "s");
    stream.write_all(&frame(1, false, b"\"")).unwrap();
    let writer = {
        let mut stream = stream.try_clone().unwrap();
        thread::spawn(move || {
            let piece = [frame(0, false, b"x"), frame(9, true, b"")].concat();
            // Until the server has closed.
            while stream.write_all(&piece).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let said = rest(&mut stream);
    let close = close_frame(1008, "MESSAGE_TIMEOUT");
    assert!(said.windows(close.len()).any(|it| it == close));
    writer.join().unwrap();
}

#[test]
fn i7_a_body_in_tiny_chunks_costs_what_it_holds() {
    let server = start(&["--input-bytes-max", "16777216"]);
    let mut tiny = connect(&server);
    let head =
        "POST /?storeId=a&transport=http HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    tiny.write_all(head.as_bytes()).unwrap();
    tiny.write_all(&b"1\r\nx\r\n".repeat(60_000)).unwrap();
    // Of its own store too.
    for store in ["a", "b"] {
        let push = syncline_tests::rpc::event_with(1, "x".repeat(900_000).into());
        let payload = json!({"storeId": store, "batch": [push], "backendId": option(None)});
        let message = request("1", "SyncHttpRpc.Push", payload);
        assert_eq!(http::post_rpc(&server, store, message).status, 200);
    }
}

#[test]
fn i7_answers_that_nobody_takes_are_given_up_and_their_memory_is_bounded() {
    let server = start(&[
        "--message-timeout",
        "300ms",
        "--keep-alive-timeout",
        "300ms",
        "--output-bytes-max",
        "16777216",
    ]);
    fill(&server, "a", 20);
    let before = megabytes(&server);
    let files = open_files(&server);
    let mut streams: Vec<_> = (0..100)
        .map(|_| post(&server, "a", &http_pull("a")))
        .collect();
    // Small answers of the store are given all the same, and others'.
    let ping = request("1", "SyncHttpRpc.Ping", json!({"storeId": "a"}));
    for _ in 0..20 {
        assert_eq!(http::post_rpc(&server, "a", ping.clone()).status, 200);
    }
    fill(&server, "b", 1);
    let grown = megabytes(&server).saturating_sub(before);
    assert!(grown < 150, "{grown} MB");
    // Whoever did not take it has no whole answer, or was told to come back.
    let deadline = Instant::now() + Duration::from_secs(60);
    while open_files(&server) > files {
        assert!(Instant::now() < deadline, "they are not given up");
        thread::sleep(Duration::from_millis(20));
    }
    for stream in &mut streams {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let answer = rest(stream);
        let is_refused = answer.starts_with(b"HTTP/1.1 503");
        assert!(is_refused || !answer.ends_with(b"0\r\n\r\n"));
    }
    // And who takes it has it.
    let pulled = http::post_rpc(&server, "a", http_pull("a"));
    assert_eq!(pulled.status, 200);
    assert_eq!(pulled.json().as_array().unwrap().len(), 21);
}

#[test]
fn i7_a_server_whose_places_are_taken_still_says_how_it_is() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let server = start(&["--connections-max", "1", "--handshake-timeout", "60s"]);
    let taken: Vec<_> = (0..1_001).map(|_| connect(&server)).collect();
    // As long as it takes to accept them.
    loop {
        let answer = http::get(&server, "/");
        if answer.status == 503 {
            assert_eq!(answer.json()["code"], "OVERLOADED");
            assert_eq!(answer.header("retry-after"), Some("1"));
            break;
        }
        assert_eq!(answer.status, 200);
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http::get(&server, path).status, 200);
    }
    // A socket would keep such a place.
    let syncs = "/readyz?storeId=a&transport=ws";
    assert_eq!(Socket::try_open(&server, syncs, &[]).err(), Some(503));
    drop(taken);
    loop {
        if http::get(&server, "/").status == 200 {
            break;
        }
    }
}

/// Asks over a connection that is kept alive; `None` when it has ended.
fn ask(stream: &mut TcpStream) -> Option<String> {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"this URL.\n") {
        let mut bytes = [0; 1_024];
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return None,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
        }
    }
    String::from_utf8(answer).ok()
}

#[test]
fn i7_idle_connections_make_room_for_those_who_ask() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let server = start(&["--connections-max", "1", "--handshake-timeout", "1h"]);
    let mut idle: Vec<_> = (0..1_001)
        .map(|_| {
            let mut stream = connect(&server);
            assert!(ask(&mut stream).is_some());
            stream
        })
        .collect();
    // It is not the idlest any more.
    assert!(ask(&mut idle[0]).is_some());
    // Others than those that may ask how the server is.
    for _ in 0..20 {
        assert_eq!(http::get(&server, "/").status, 200);
    }
    let mut client = Client::open(&server, "a");
    client.push_ok(&events(1, 1));
    let mut sent_away = 0;
    for (number, stream) in idle.iter_mut().enumerate().rev() {
        let is_served = ask(stream).is_some();
        sent_away += usize::from(!is_served);
        // The idlest, as many as were needed, and nobody else.
        assert!(is_served || (1..=21).contains(&number), "{number}");
    }
    assert!(sent_away > 0, "nobody was short of a place");
}

#[test]
#[cfg(target_os = "linux")]
fn i7_idle_connections_leave_where_the_machine_has_no_more_files() {
    let server = start(&["--handshake-timeout", "1h", "--keep-alive-timeout", "1h"]);
    let id = i32::try_from(server.process.as_ref().unwrap().id()).unwrap();
    let files = u64::try_from(open_files(&server)).unwrap();
    let few = Rlimit {
        current: Some(files + 10),
        maximum: Some(files + 10),
    };
    rustix::process::prlimit(rustix::process::Pid::from_raw(id), Resource::Nofile, few).unwrap();
    let _idle: Vec<_> = (0..30)
        .map(|number| {
            let mut stream = connect(&server);
            assert!(ask(&mut stream).is_some(), "{number}");
            stream
        })
        .collect();
}

/// A client with eight live pulls, whose ids nobody else has.
fn with_ids_of_its_own(server: &Server, number: usize) -> Socket {
    let mut socket = Socket::open(server, "/?storeId=a&transport=ws");
    for id in own_ids(number) {
        let payload = json!({"storeId": "a", "live": true, "cursor": option(None)});
        socket.send(request(&id, "SyncWsRpc.Pull", payload));
        assert_eq!(socket.receive_json()["_tag"], "Chunk");
        socket.send(json!({"_tag": "Ack", "requestId": id}));
    }
    socket
}

fn own_ids(number: usize) -> impl Iterator<Item = String> {
    (0..8).map(move |pull| (1_000 + 8 * number + pull).to_string())
}

#[test]
fn d5_a_push_is_encoded_once_however_many_request_ids_it_is_shown_to() {
    let server = start(&[]);
    let mut sockets: Vec<_> = (0..60).map(|n| with_ids_of_its_own(&server, n)).collect();
    let before = megabytes(&server);
    fill(&server, "a", 1);
    let grown = megabytes(&server).saturating_sub(before);
    assert!(grown < 100, "{grown} MB for 960 MB of frames");
    for (number, socket) in sockets.iter_mut().enumerate() {
        let mut ids: Vec<String> = (0..8)
            .map(|_| {
                let chunk = socket.receive_json();
                assert_eq!(numbers(&chunk), [1]);
                let args = &batch(&chunk)[0]["eventEncoded"]["args"];
                assert_eq!(args.as_str().map(str::len), Some(1_900_000));
                chunk["requestId"].as_str().unwrap().to_owned()
            })
            .collect();
        ids.sort();
        assert_eq!(ids, own_ids(number).collect::<Vec<_>>());
    }
}

#[test]
fn i7_sockets_that_read_nothing_are_closed_when_they_hold_too_much() {
    let server = start(&["--output-bytes-max", "16777216"]);
    fill(&server, "a", 6);
    let before = megabytes(&server);
    // Each gets an event of 1.9 MB for each of its pulls, from storage.
    let mut sockets: Vec<Socket> = (0..40)
        .map(|_| {
            let mut socket = Socket::open(&server, "/?storeId=a&transport=ws");
            for id in 0..8 {
                let payload = json!({"storeId": "a", "live": true, "cursor": option(None)});
                socket.send(request(&id.to_string(), "SyncWsRpc.Pull", payload));
            }
            socket
        })
        .collect();
    // A client of another store is served meanwhile.
    let mut other = Client::open(&server, "b");
    let pull = other.pull(true, None);
    other.chunk(&pull);
    for n in 1..=20 {
        other.push_ok(&events(n, n));
        assert_eq!(numbers(&other.chunk(&pull)), [n]);
    }
    let grown = megabytes(&server).saturating_sub(before);
    assert!(grown < 250, "{grown} MB of 608");
    let too_slow = Received::Closed(1013, "TOO_SLOW".to_owned());
    let closed = sockets.iter_mut().map(|socket| {
        loop {
            match socket.receive_within(Duration::from_secs(2)) {
                Some(Received::Text(_)) => {}
                end => break end.is_some_and(|end| end == too_slow || end.is_gone()),
            }
        }
    });
    assert!(closed.filter(|&is_closed| is_closed).count() > 0);
}

#[test]
fn i7_rooms_that_are_awake_are_bounded_and_those_that_sleep_wake() {
    let server = start(&["--rooms-awake-max", "8"]);
    let before = megabytes(&server);
    for store in 0..2_000 {
        let store = format!("store-{store}");
        assert_eq!(
            http::post_rpc(&server, &store, http_pull(&store)).status,
            200
        );
    }
    let grown = megabytes(&server).saturating_sub(before);
    assert!(grown < 60, "{grown} MB, of 120 KB for each of 2,000");
    let mut clients: Vec<_> = (0..40)
        .map(|store| {
            let mut client = Client::open(&server, &format!("store-{store}"));
            let pull = client.pull(true, None);
            client.chunk(&pull);
            (client, pull)
        })
        .collect();
    for n in 1..=5 {
        for (client, pull) in &mut clients {
            client.push_ok(&events(n, n));
            assert_eq!(numbers(&client.chunk(pull)), [n]);
        }
    }
}

#[test]
fn i9_a_server_that_was_stopped_hears_its_clients_before_it_calls_them_silent_or_late() {
    let server = start(&["--idle-timeout", "4s", "--message-timeout", "4s"]);
    let process = server.process.as_ref().unwrap();
    let mut quiet = Socket::open(&server, "/?storeId=a&transport=ws");
    let mut late = upgrade(&server, "a");
    let message = frame(1, true, br#"{"_tag":"Request","id":"1","tag":"none"}"#);
    let (begin, end) = message.split_at(20);
    late.write_all(begin).unwrap();
    quiet.send(r#"{"_tag":"Ping"}"#);
    assert_eq!(quiet.receive_json()["_tag"], "Pong");
    process.signal("STOP");
    late.write_all(end).unwrap();
    thread::sleep(Duration::from_secs(10));
    process.signal("CONT");
    quiet.send(r#"{"_tag":"Ping"}"#);
    assert_eq!(quiet.receive_json()["_tag"], "Pong");
    late.set_read_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    let mut answer = [0; 2];
    std::io::Read::read_exact(&mut late, &mut answer).unwrap();
    assert_eq!(answer[0], 0x81, "an answer, and no close");
}
