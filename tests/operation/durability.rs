//! Durability: SIGKILL at any moment, SIGTERM, and two servers on one
//! directory.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, batch, event_with, events, numbers, v3_url};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::{Received, Socket};

fn start(dir: &Path) -> Server {
    let syncline = Syncline::new("sqlite:data", Profile::Open);
    syncline.start_in(dir).unwrap()
}

/// Added to the count of acknowledged pushes when the server is killed.
const KILLED: usize = 1_000_000;

/// What one pusher knows of its store.
struct Pusher {
    store: String,
    /// The arguments of every acknowledged event, in order.
    acknowledged: Vec<Value>,
    backend_id: Option<String>,
}

impl Pusher {
    /// Pushes until the server is gone. What was pushed and never answered
    /// may have landed: the log has the last word.
    fn push_until_killed(&mut self, server: &Server, round: usize, count: &AtomicUsize) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut client = Client::open(server, &self.store);
            for n in 0.. {
                let size = 1 + (n * 7 + round) % 5;
                let head = self.acknowledged.len() as u64;
                let args: Vec<Value> = (0..size).map(|i| json!([round, n, i])).collect();
                let batch: Vec<Value> = args
                    .iter()
                    .zip(head + 1..)
                    .map(|(args, seq_num)| event_with(seq_num, args.clone()))
                    .collect();
                client.push_ok(&batch);
                self.acknowledged.extend(args);
                count.fetch_add(1, Ordering::SeqCst);
            }
        }));
        // `push_ok` panics when the server is gone; before that, it may not.
        let killed = count.load(Ordering::SeqCst) >= KILLED;
        assert!(result.is_err() && killed, "a push failed before the kill");
    }

    /// Compares the log with what was acknowledged.
    fn check(&mut self, server: &Server) {
        let mut client = Client::open(server, &self.store);
        let (chunks, exit) = client.pull_all(None);
        assert_eq!(exit["_tag"], "Success");
        let seen: Vec<u64> = chunks.iter().flat_map(numbers).collect();
        assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>(), "I3");
        let log: Vec<Value> = chunks
            .iter()
            .flat_map(|chunk| batch(chunk).clone())
            .map(|item| item["eventEncoded"]["args"].clone())
            .collect();
        let kept = log.get(..self.acknowledged.len());
        assert_eq!(kept, Some(&*self.acknowledged), "I1: {}", self.store);
        // At most the one push that was never answered came after, whole.
        let extra = &log[self.acknowledged.len()..];
        if let Some(first) = extra.first() {
            let n = first[1].as_u64().unwrap();
            let round = first[0].as_u64().unwrap();
            let size = 1 + (n * 7 + round) % 5;
            assert_eq!(extra.len() as u64, size, "I2: {extra:?}");
        }
        self.acknowledged = log;
        let backend_id = chunks
            .first()
            .map(|chunk| chunk["values"][0]["backendId"].as_str().unwrap().to_owned());
        if self.backend_id.is_some() {
            assert_eq!(self.backend_id, backend_id, "I8");
        }
        self.backend_id = backend_id;
    }
}

#[test]
fn i1_i2_i8_sigkill_loses_nothing_that_was_acknowledged() {
    const ROUNDS: usize = 8;
    const PUSHERS: usize = 6;
    // The pushers end by panicking when the server is gone.
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let dir = tempfile::tempdir().unwrap();
    let mut pushers: Vec<Pusher> = (0..PUSHERS)
        .map(|n| Pusher {
            store: format!("store-{n}"),
            acknowledged: Vec::new(),
            backend_id: None,
        })
        .collect();
    for round in 0..ROUNDS {
        let count = AtomicUsize::new(0);
        let mut server = start(dir.path());
        let mut process = server.process.take().unwrap();
        thread::scope(|scope| {
            for pusher in &mut pushers {
                let (server, count) = (&server, &count);
                scope.spawn(move || pusher.push_until_killed(server, round, count));
            }
            // Some rounds end in the first pushes, some in the middle.
            while count.load(Ordering::SeqCst) < 5 + 40 * round {
                thread::yield_now();
            }
            count.fetch_add(KILLED, Ordering::SeqCst);
            process.kill().unwrap();
        });
        let server = start(dir.path());
        for pusher in &mut pushers {
            pusher.check(&server);
        }
    }
    std::panic::set_hook(quiet);
    let all: usize = pushers.iter().map(|pusher| pusher.acknowledged.len()).sum();
    assert!(
        all > 100,
        "only {all} events were pushed: this tested nothing"
    );
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
