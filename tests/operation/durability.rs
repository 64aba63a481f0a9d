//! A server's end in good order, and two servers on one directory.

use std::path::Path;
use std::time::Duration;

use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, events, numbers, v3_url};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::{Received, Socket};

fn start(dir: &Path) -> Server {
    let syncline = Syncline::new("sqlite:data", Profile::Open);
    syncline.start_in(dir).unwrap()
}

#[test]
fn sigterm_finishes_turns_and_closes_sockets_with_1012() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path());
    let mut client = Client::open(&server, "s");
    let live = client.pull(true, None);
    client.chunk(&live);
    client.push_ok(&events(1, 5));
    assert_eq!(client.numbers_until(&live, 5), [1, 2, 3, 4, 5]);
    let mut old = Socket::open(&server, &v3_url("s"));
    old.send(r#"{"requestId":"ping","_tag":"WSMessage.Ping"}"#);
    old.receive_json();
    let mut process = server.process.take().unwrap();
    process.signal("TERM");
    for socket in [&mut client.socket, &mut old] {
        assert_eq!(
            socket.receive(),
            Received::Closed(1012, "RESTART".to_owned())
        );
    }
    let status = process.wait(Duration::from_secs(20)).unwrap();
    assert!(status.success(), "{status}");
    let server = start(dir.path());
    let (chunks, _) = Client::open(&server, "s").pull_all(None);
    assert_eq!(numbers(&chunks[0]), [1, 2, 3, 4, 5]);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = start(dir.path());
    let second = Syncline::new("sqlite:data", Profile::Open);
    let output = second
        .command(dir.path())
        .unwrap()
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--storage",
            "sqlite:data",
        ])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("another syncline is running"), "{words}");
}
