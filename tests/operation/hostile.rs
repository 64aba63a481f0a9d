//! `--component` with a component that means harm (`tests/hostile`): what it
//! does hits its own room, and no other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use syncline_tests::http;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, cursor, events, numbers, push, ws_url};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::{Received, Socket};
use tempfile::TempDir;

/// What a room's fault closes its sockets with.
fn fault() -> Received {
    Received::Closed(1011, "INTERNAL".to_owned())
}

/// Builds the component. Not where the build script builds the guest: this
/// one has it inside, built otherwise.
fn component() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        // target/PROFILE/deps/TEST is this.
        let target = test.ancestors().nth(3).unwrap().join("hostile");
        let status = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--package", "syncline-hostile", "--lib"])
            .args([
                "--target",
                "wasm32-wasip2",
                "--profile",
                "guest",
                "--locked",
            ])
            .arg("--target-dir")
            .arg(&target)
            .status()
            .unwrap();
        assert!(status.success(), "the hostile component does not build");
        target.join("wasm32-wasip2/guest/syncline_hostile.wasm")
    })
}

/// A server of the hostile component, with three stores of three events.
struct Scene {
    server: Server,
    dir: TempDir,
    /// The one that is harmed.
    victim: String,
    /// One in the victim's shard.
    neighbour: String,
    /// One in another shard.
    stranger: String,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    /// One whose server has more arguments.
    fn with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut syncline = Syncline::new("sqlite:data", Profile::Open);
        let component = component().to_str().unwrap();
        let arguments = ["--component", component]
            .into_iter()
            .chain(arguments.iter().copied());
        syncline.arguments = arguments.map(str::to_owned).collect();
        syncline.log = Some(dir.path().join("log"));
        let server = syncline.start_in(dir.path()).unwrap();
        let stores: Vec<String> = (0..12).map(|number| format!("store-{number}")).collect();
        for store in &stores {
            Client::open(&server, store).push_ok(&events(1, 3));
        }
        let shard = |store: &String| (0..4).find(|number| holds(dir.path(), *number, store));
        let victim = stores[0].clone();
        let here = shard(&victim);
        let mut others = stores[1..].iter();
        let neighbour = others.clone().find(|store| shard(store) == here).unwrap();
        let stranger = others.find(|store| shard(store) != here).unwrap();
        Self {
            victim,
            neighbour: neighbour.clone(),
            stranger: stranger.clone(),
            server,
            dir,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// What the server keeps in memory, in megabytes.
    fn megabytes(&self) -> u64 {
        self.server.process.as_ref().unwrap().megabytes().unwrap()
    }
}

/// Whether a shard's file holds a store.
fn holds(dir: &Path, shard: usize, store: &str) -> bool {
    rusqlite::Connection::open(dir.join(format!("data/shard-{shard}.db")))
        .unwrap()
        .query_row(
            r#"SELECT EXISTS (SELECT 1 FROM "syncline_logs" WHERE "storeId" = ?1)"#,
            [store],
            |row| row.get(0),
        )
        .unwrap()
}

/// A client that has the store's three events; its live pull.
fn live(server: &Server, store: &str) -> (Client, String) {
    let mut client = Client::open(server, store);
    let pull = client.pull(true, None);
    assert_eq!(numbers(&client.chunk(&pull)), [1, 2, 3]);
    (client, pull)
}

/// Commits a misdeed with two clients on the victim, and sees that they lose
/// their sockets and nothing else, and that others lose nothing.
fn is_contained(scene: &Scene, frame: &str) {
    let server = &scene.server;
    let backend_id = Client::open(server, &scene.victim).backend_id();
    let (mut attacker, _) = live(server, &scene.victim);
    let (mut reader, _) = live(server, &scene.victim);
    let mut others = [&scene.neighbour, &scene.stranger].map(|store| live(server, store));

    attacker.socket.send(frame);
    for (other, pull) in &mut others {
        other.push_ok(&events(4, 4));
        assert_eq!(numbers(&other.chunk(pull)), [4], "{frame}");
    }
    for client in [&mut attacker, &mut reader] {
        assert_eq!(client.socket.receive(), fault(), "{frame}");
    }

    let mut back = Client::open(server, &scene.victim);
    let pull = back.pull(true, Some(cursor(&backend_id, 3)));
    let nothing: [u64; 0] = [];
    assert_eq!(numbers(&back.chunk(&pull)), nothing, "{frame}");
    back.push_ok(&events(4, 6));
    assert_eq!(back.numbers_until(&pull, 6), [4, 5, 6], "{frame}");
    for (other, _) in &mut others {
        other.assert_silent();
    }
    assert_eq!(http::request(server, "GET", "/readyz", &[], "").status, 200);
}

/// The same while the server's memory is watched.
fn is_contained_within(scene: &Scene, frame: &str, megabytes_max: u64) {
    thread::scope(|scope| {
        let test = scope.spawn(|| is_contained(scene, frame));
        while !test.is_finished() {
            let megabytes = scene.megabytes();
            assert!(
                megabytes < megabytes_max,
                "{frame}: the server has {megabytes} MB"
            );
            thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn i9_a_turn_that_traps_harms_its_room_alone() {
    is_contained(&Scene::new(), "hostile:trap");
}

#[test]
fn i9_a_turn_that_panics_harms_its_room_alone_and_the_log_says_why() {
    let scene = Scene::new();
    is_contained(&scene, "hostile:panic");
    let log = scene.log();
    let room = format!("\"{}\"", scene.victim);
    for words in ["panicked at", "this is why", "a line  [31mof red "] {
        let said = |line: &str| ["ERROR", &room, words].iter().all(|it| line.contains(it));
        assert!(log.lines().any(said), "{words}: {log}");
    }
}

#[test]
fn a_component_sees_the_variables_that_it_asked_for_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut syncline = Syncline::with_variables(&[
        ("JWT_SECRET", "a-secret-of-syncline-s-own"),
        ("ALLOWED_ORIGINS", ""),
        ("RUST_LOG", "info"),
        ("CLOUD_SECRET_KEY", "somebody-else-s"),
    ]);
    let component = component().to_str().unwrap().to_owned();
    syncline.arguments = vec!["--component".to_owned(), component];
    syncline.log = Some(dir.path().join("log"));
    let dev_vars = "REQUIRE_AUTH=true\nANOTHER_SECRET=of-this-directory\n";
    std::fs::write(dir.path().join(".dev.vars"), dev_vars).unwrap();
    let _server = syncline.start_in(dir.path()).unwrap();
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    // An empty one counts as unset; the host says who can connect.
    let names = ["ENVIRONMENT", "HOST_REACH", "JWT_SECRET", "REQUIRE_AUTH"];
    assert!(log.contains(&format!("it sees {names:?}")), "{log}");
}

#[test]
fn a_gateway_that_panics_says_why_in_the_log() {
    let scene = Scene::new();
    let answer = http::request(&scene.server, "GET", "/hostile:panic", &[], "");
    assert_eq!(answer.status, 500);
    let log = scene.log();
    let said = |line: &str| line.contains("\"gateway\"") && line.contains("this is why");
    assert!(log.lines().any(said), "{log}");
}

#[test]
fn i9_a_turn_that_ends_the_program_harms_its_room_alone() {
    is_contained(&Scene::new(), "hostile:exit");
}

#[test]
fn i9_a_turn_that_overflows_its_stack_harms_its_room_alone() {
    is_contained(&Scene::new(), "hostile:recurse");
}

#[test]
fn i7_i9_a_turn_that_takes_all_memory_harms_its_room_alone() {
    is_contained_within(&Scene::new(), "hostile:grow", 1_000);
}

#[test]
fn i9_a_turn_that_loops_is_ended_and_harms_its_room_alone() {
    is_contained(&Scene::new(), "hostile:loop");
}

#[test]
fn i9_a_turn_that_waits_is_ended_and_harms_its_room_alone() {
    is_contained(&Scene::new(), "hostile:sleep");
}

#[test]
fn i2_i9_what_a_turn_stored_before_it_trapped_never_happened() {
    let scene = Scene::new();
    let push = push("1", &scene.victim, &events(4, 5));
    is_contained(&scene, &format!("hostile:trap {push}"));
}

#[test]
fn i7_i9_a_turn_that_sends_for_ever_is_bounded() {
    is_contained_within(&Scene::new(), "hostile:send", 1_000);
}

#[test]
fn i7_i9_a_turn_that_asks_too_much_of_the_host_never_happened() {
    let scene = Scene::new();
    for (misdeed, first) in [("send-much", 4), ("send-wide", 7), ("attach-often", 10)] {
        let mut socket = Socket::open(&scene.server, &ws_url(&scene.victim));
        let push = push("1", &scene.victim, &events(first, first));
        socket.send(format!("hostile:{misdeed} {push}"));
        assert_eq!(socket.receive(), fault(), "{misdeed}");
        let mut back = Client::open(&scene.server, &scene.victim);
        back.push_ok(&events(first, first + 2));
    }
}

#[test]
fn i9_a_turn_that_logs_for_ever_does_not_fill_the_disk() {
    for misdeed in ["hostile:log", "hostile:complain"] {
        let scene = Scene::new();
        is_contained_within(&scene, misdeed, 1_000);
        let log = scene.log();
        // 20 lines of 2,000 characters, and who knows what else was worth a line.
        assert!(log.contains("some are left out"), "{misdeed}: {log:.1000}");
        assert!(log.len() < 200_000, "{misdeed}: {} bytes", log.len());
        let forged = log.lines().filter(|line| *line == "a line").count();
        assert_eq!(forged, 0, "a guest's line is one line");
    }
}

#[test]
fn i9_a_room_that_cannot_start_harms_nobody() {
    let scene = Scene::new();
    let (mut other, pull) = live(&scene.server, &scene.neighbour);
    for misdeed in ["hostile:trap", "hostile:recurse", "hostile:trap"] {
        let mut socket = Socket::open(&scene.server, &ws_url(misdeed));
        assert_eq!(socket.receive(), fault());
    }
    other.push_ok(&events(4, 4));
    assert_eq!(numbers(&other.chunk(&pull)), [4]);
}

#[test]
fn i9_an_http_request_whose_turn_fails_is_answered_and_counts_as_what_it_did() {
    const KINDS: [&str; 4] = ["trap", "deadline", "memory", "host"];
    let scene = Scene::with(&["--metrics"]);
    let url = format!("/?storeId={}&transport=http", scene.victim);
    let count = |kind: &str| -> u64 {
        let metrics = http::get(&scene.server, "/metrics").body;
        let series = format!("syncline_guest_failures_total{{error_type=\"{kind}\"}} ");
        let mut lines = metrics.lines();
        let count = lines.find_map(|line| line.strip_prefix(&series)?.parse().ok());
        count.unwrap_or_else(|| panic!("{series} is not in:\n{metrics}"))
    };
    for (misdeed, kind) in [
        ("hostile:trap", "trap"),
        ("hostile:panic", "trap"),
        ("hostile:exit", "trap"),
        ("hostile:recurse", "trap"),
        ("hostile:send-much", "trap"),
        ("hostile:sleep", "trap"),
        ("hostile:grow", "memory"),
        ("hostile:loop", "deadline"),
    ] {
        let before = KINDS.map(count);
        let answer = http::request(&scene.server, "POST", &url, &[], misdeed);
        assert_eq!(answer.status, 503, "{misdeed}");
        assert_eq!(answer.json()["code"], "UNAVAILABLE", "{misdeed}");
        // It counts once the instance is thrown away: after the answer.
        let after = loop {
            let after = KINDS.map(count);
            if after != before {
                break after;
            }
        };
        let more = std::array::from_fn(|at| after[at] - before[at]);
        assert_eq!(more, KINDS.map(|it| u64::from(it == kind)), "{misdeed}");
    }
    live(&scene.server, &scene.victim);
}

#[test]
fn i9_a_gateway_that_fails_or_hangs_fails_its_request_alone() {
    let scene = Scene::new();
    let server = &scene.server;
    let (mut client, pull) = live(server, &scene.victim);
    let admit = |misdeed: &str| http::request(server, "GET", &format!("/{misdeed}"), &[], "");
    thread::scope(|scope| {
        // More than there are threads for requests on a small machine.
        let hanging: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| admit("hostile:loop")))
            .collect();
        for misdeed in [
            "hostile:trap",
            "hostile:exit",
            "hostile:recurse",
            "hostile:grow",
            "hostile:sleep",
        ] {
            assert_eq!(admit(misdeed).status, 500, "{misdeed}");
        }
        // The answer to a refusal is the gateway's too.
        let refused = http::request(server, "POST", "/?transport=http", &[], "hostile:trap");
        assert_eq!(refused.status, 500);
        client.push_ok(&events(4, 4));
        assert_eq!(numbers(&client.chunk(&pull)), [4]);
        live(server, &scene.stranger);
        for hanging in hanging {
            assert_eq!(hanging.join().unwrap().status, 500);
        }
    });
    client.push_ok(&events(5, 5));
    assert_eq!(numbers(&client.chunk(&pull)), [5]);
}
