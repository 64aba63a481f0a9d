//! The limits that are flags: whoever goes beyond one is told so, and nobody
//! else notices (I7).

use std::io::{Read, Write};
use std::net::TcpStream;

use syncline_tests::http;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, event_with, events, push, ws_url};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::{Received, Socket};

use super::wire::{close_frame, connect, rest, upgrade};

fn start(arguments: &[&str]) -> Server {
    let mut syncline = Syncline::new("memory", Profile::Open);
    syncline.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
    syncline.start().unwrap()
}

fn crowded() -> Received {
    Received::Closed(1013, "TOO_MANY_CONNECTIONS".to_owned())
}

#[test]
fn i7_one_socket_too_many_is_closed_and_the_next_is_not() {
    let server = start(&["--connections-max", "2"]);
    let first = Client::open(&server, "a");
    let mut second = Client::open(&server, "b");
    assert_eq!(Socket::open(&server, &ws_url("c")).receive(), crowded());
    second.push_ok(&events(1, 1));
    drop(first);
    // When the server has noticed, there is room again.
    loop {
        let mut third = Socket::open(&server, &ws_url("c"));
        third.send(r#"{"_tag":"Ping"}"#);
        match third.receive() {
            Received::Text(_) => break,
            end => assert_eq!(end, crowded()),
        }
    }
}

#[test]
fn i7_one_socket_too_many_of_a_store_is_closed_and_other_stores_go_on() {
    let server = start(&["--store-connections-max", "1"]);
    let mut first = Client::open(&server, "a");
    first.push_ok(&events(1, 1));
    assert_eq!(Socket::open(&server, &ws_url("a")).receive(), crowded());
    Client::open(&server, "b").push_ok(&events(1, 1));
    first.push_ok(&events(2, 2));
}

#[test]
fn i7_a_message_or_body_over_the_limit_is_refused() {
    let server = start(&["--frame-bytes-max", "10000"]);
    let large = [event_with(1, "x".repeat(10_000).into())];
    let mut client = Client::open(&server, "a");
    let push = push("1", "a", &large);
    client.socket.send(push.to_string());
    let closed = Received::Closed(1009, "MESSAGE_TOO_LARGE".to_owned());
    assert_eq!(client.socket.receive(), closed);
    assert_eq!(http::post_rpc(&server, "a", push).status, 413);
    Client::open(&server, "a").push_ok(&events(1, 1));
}

#[test]
fn i7_what_large_messages_took_is_not_kept_by_their_sockets() {
    const MEGABYTES: usize = 8;
    const SOCKETS: usize = 64;
    let server = start(&[]);
    let megabytes = || server.process.as_ref().unwrap().megabytes().unwrap();
    let before = megabytes();
    let message = format!(r#"{{"x":"{}"}}"#, "x".repeat(MEGABYTES << 20));
    let mut sockets: Vec<Socket> = (0..SOCKETS)
        .map(|_| {
            let mut socket = Socket::open(&server, &ws_url("a"));
            socket.send(&message);
            assert_eq!(socket.receive_json()["_tag"], "Defect");
            socket
        })
        .collect();
    // Each shard may have a few in its heap for a while.
    let grown = megabytes().saturating_sub(before);
    assert!(grown < 200, "{grown} MB of {}", MEGABYTES * SOCKETS);
    for socket in &mut sockets {
        socket.send(r#"{"_tag":"Ping"}"#);
        assert_eq!(socket.receive_json()["_tag"], "Pong");
    }
}

#[test]
fn i7_a_request_head_that_does_not_end_is_given_up() {
    let server = start(&["--handshake-timeout", "200ms"]);
    let mut silent = connect(&server);
    let mut slow = connect(&server);
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    for stream in [&mut silent, &mut slow] {
        let answer = String::from_utf8(rest(stream)).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }
    assert_eq!(http::get(&server, "/readyz").status, 200);
}

/// Asks, and reads the answer: the connection is kept alive.
fn ask(stream: &mut TcpStream) {
    try_ask(stream).unwrap();
}

fn try_ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    Ok(())
}

#[test]
fn a_connection_is_kept_alive_longer_than_a_head_may_take() {
    let server = start(&["--handshake-timeout", "200ms", "--keep-alive-timeout", "1h"]);
    let mut stream = connect(&server);
    for _ in 0..3 {
        ask(&mut stream);
        // As long as it takes until others are given up that began later.
        assert!(rest(&mut connect(&server)).is_empty());
        assert!(rest(&mut connect(&server)).is_empty());
    }
    ask(&mut stream);
}

#[test]
fn i7_a_connection_that_asks_nothing_more_is_given_up() {
    let server = start(&["--handshake-timeout", "1h", "--keep-alive-timeout", "200ms"]);
    let mut stream = connect(&server);
    ask(&mut stream);
    assert!(rest(&mut stream).is_empty());
}

#[test]
fn i7_a_later_head_that_does_not_end_is_given_up_too() {
    let server = start(&["--handshake-timeout", "200ms", "--keep-alive-timeout", "1h"]);
    let mut stream = connect(&server);
    ask(&mut stream);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    assert!(rest(&mut stream).is_empty());
}

#[test]
fn i7_a_socket_that_is_silent_is_pinged_and_then_closed() {
    let server = start(&["--idle-timeout", "400ms"]);
    let mut stream = upgrade(&server, "s");
    let ping = [0x89, 0];
    let expected = [&ping[..], &close_frame(1001, "SILENT")].concat();
    assert_eq!(rest(&mut stream), expected);
}

#[test]
fn i7_a_message_that_does_not_end_is_given_up() {
    let server = start(&["--message-timeout", "200ms"]);
    let mut stream = upgrade(&server, "s");
    // A masked text of 100 bytes, of which one comes.
    stream.write_all(&[0x81, 0xe4, 0, 0, 0, 0, b'{']).unwrap();
    assert_eq!(rest(&mut stream), close_frame(1008, "MESSAGE_TIMEOUT"));
    // One that is slow but comes in time is none of these.
    Client::open(&server, "s").push_ok(&events(1, 1));
}
