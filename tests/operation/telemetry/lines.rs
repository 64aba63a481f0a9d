//! The log, as programs read it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, event_with, events, pull, ws_url};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::{Received, Socket};

/// Pulls of all events that are more than the kernel holds for a socket.
const PULLS: u32 = 8;

/// Of a large event's text, in bytes.
const EVENT_BYTES: usize = 1_900_000;

/// A server that writes a log for programs, with all that it says.
fn logging(dir: &Path, profile: Profile, arguments: &[&str]) -> Server {
    let mut syncline = Syncline::new("memory", profile);
    syncline.arguments = ["--log-format", "json"].map(str::to_owned).into();
    let more = arguments.iter().map(|it| (*it).to_owned());
    syncline.arguments.extend(more);
    syncline.variables.push(("RUST_LOG", "debug".to_owned()));
    syncline.log = Some(dir.join("log"));
    syncline.start_in(dir).unwrap()
}

/// Its lines by now that are whole.
fn lines(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("log")).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

/// The first line of this event, when it is there.
fn line(dir: &Path, event: &str) -> Value {
    loop {
        let found = lines(dir).into_iter().find(|line| line["event"] == event);
        if let Some(found) = found {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_program_reads_the_log_line_by_line_and_each_has_its_event() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = logging(dir, Profile::Open, &[]);
    let refused = http::request(&server, "GET", "/made-up", &[], "");
    assert_eq!(refused.status, 404);
    let id = refused.header("x-request-id").unwrap().to_owned();
    let mut client = Client::open(&server, "one-store");
    client.push_ok(&events(1, 1));
    client.socket.close(1000);
    let ended = line(dir, "ended");
    server.stop();
    for line in lines(dir) {
        assert!(line["event"].is_string(), "{line}");
        assert!(line["timestamp"].is_string() && line["level"].is_string());
    }
    let refused = line(dir, "refused");
    assert_eq!(refused["request_id"], json!(id), "a client can quote it");
    assert_eq!(ended["store"], "one-store");
    assert_eq!(
        (&ended["code"], &ended["by"]),
        (&json!(1000), &json!("client"))
    );
    for (field, value) in [
        ("frames_in", 1),
        ("frames_out", 1),
        ("unsent_frames", 0),
        ("unsent_bytes", 0),
    ] {
        assert_eq!(ended[field], value, "{field}: {ended}");
    }
    assert!(ended["bytes_in"].as_u64() > Some(100) && ended["bytes_out"].as_u64() > Some(10));
    line(dir, "opened");
    line(dir, "stopping");
}

/// Three large events.
fn fill(server: &Server) {
    let mut client = Client::open(server, "s");
    for number in 1..=3 {
        let args = json!({"id": number.to_string(), "title": "x".repeat(EVENT_BYTES)});
        client.push_ok(&[event_with(number, args)]);
    }
    client.socket.close(1000);
}

/// What a line says was not taken: some frames of an event each, more or less.
fn assert_unsent(line: &Value) {
    let field = |name: &str| line[name].as_u64().unwrap_or_default();
    let (frames, bytes) = (field("unsent_frames"), field("unsent_bytes"));
    assert!(frames > 0, "{line}");
    let event_bytes = EVENT_BYTES as u64;
    assert!(bytes > frames * event_bytes / 2, "{line}");
    assert!(bytes < frames * event_bytes * 2, "{line}");
}

#[test]
fn the_line_of_a_client_that_reads_nothing_has_what_it_had_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = logging(dir, Profile::Open, &["--idle-timeout", "1s"]);
    fill(&server);
    let mut socket = Socket::open(&server, &ws_url("s"));
    for id in 0..PULLS {
        socket.send(pull(&id.to_string(), "s", true, None));
    }
    let closed = line(dir, "closed");
    assert_eq!(
        (&closed["code"], &closed["why"]),
        (&json!(1001), &json!("SILENT"))
    );
    assert_unsent(&closed);
}

#[test]
fn the_line_of_a_client_that_vanishes_has_what_it_had_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = logging(dir, Profile::Open, &[]);
    fill(&server);
    let mut socket = Socket::open(&server, &ws_url("s"));
    for id in 0..PULLS {
        socket.send(pull(&id.to_string(), "s", true, None));
    }
    let Received::Text(_) = socket.receive() else {
        panic!("it is served");
    };
    // Its room does one thing after another: when others are answered, what
    // this one asked for waits for it.
    for _ in 0..3 {
        Client::open(&server, "s").pull_all(None);
    }
    let request_id = json!(socket.request_id.clone().expect("its upgrade has an id"));
    drop(socket);
    let ended = loop {
        let mut ended = lines(dir).into_iter().filter(|it| it["event"] == "ended");
        if let Some(its) = ended.find(|it| it["request_id"] == request_id) {
            break its;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(ended["by"], "network");
    assert_unsent(&ended);
}

#[test]
fn a_socket_can_be_named_by_its_upgrades_request_id() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = logging(dir, Profile::Auth, &[]);
    // It is refused in its close, whose reason is the code alone.
    let url = ws_url("s");
    let mut refused = Socket::open(&server, &url);
    let (code, reason) = refused.receive_close();
    assert_eq!((code, reason.as_str()), (4401, "TOKEN_MISSING"));
    let told = refused.request_id.expect("its upgrade has an id");
    let said = line(dir, "refused");
    assert_eq!(said["request_id"], json!(told), "{said}");
    assert_eq!(
        (&said["code"], &said["answer"]),
        (&json!("TOKEN_MISSING"), &json!(4401))
    );
    // It is refused by its answer.
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    let answer = http::request(&server, "GET", "/elsewhere", &upgrade, "");
    assert!(answer.status >= 400, "{answer:?}");
    let told = answer.header("x-request-id").expect("the answer has an id");
    let has_it = |line: &Value| line["event"] == "refused" && line["request_id"] == json!(told);
    assert!(lines(dir).iter().any(has_it), "{told}: {:?}", lines(dir));
}

#[test]
fn an_opened_sockets_lines_have_its_upgrades_request_id() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = logging(dir, Profile::Open, &[]);
    let mut socket = Socket::open(&server, &ws_url("s"));
    socket.close(1000);
    let told = json!(socket.request_id.expect("its upgrade has an id"));
    assert_eq!(line(dir, "ended")["request_id"], told);
    assert_eq!(line(dir, "opened")["request_id"], told);
    let mut stays = Socket::open(&server, &ws_url("s"));
    let told = json!(stays.request_id.take().expect("its upgrade has an id"));
    server.stop();
    // The one line for all that a stopping server closes names the last.
    assert_eq!(line(dir, "closed")["request_id"], told);
}
