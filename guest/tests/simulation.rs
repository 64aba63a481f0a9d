//! A deterministic simulation of a room: the guest's own code, natively, with
//! a simulated host and clients that behave like the real ones. Everything
//! follows from one seed.
//!
//! `SYNCLINE_SIM_SEED=<seed>` replays one run; `SYNCLINE_SIM_RUNS=<n>` plays
//! more of them.
//!
//! # The fault model
//!
//! - Clients: several 0.4 clients over WebSocket (Acks at once, late, or
//!   withheld until the end), 0.3 clients, 0.4 clients over HTTP whose pulls
//!   are paged with other turns in between, 0.4 clients in Durable Objects that
//!   are called with what is pushed. They commit batches of 1 to 150
//!   events, now and then up to 950,000 bytes each, with absent, null and
//!   oddly spaced arguments; they push from where they believe the head is,
//!   sometimes from behind it; they rebase on what they pull and push again.
//! - A 0.4 client that reconnects may push before it pulls, or acknowledge
//!   first what it was sent before; one that slept never pulls at all. One that
//!   was refused pushes now and then where it was told that the head is. Pulls
//!   are started again with the same id.
//! - Time: up to 500, 60 or 6 ms from turn to turn, so that some runs have
//!   bursts of pushes. The timer's turn comes when its time is over, or late,
//!   also to a room that slept; a sleep or a crash may lose it. The machine's
//!   clock is set forward and back.
//! - Some ask from beyond the head, and push from there: they were at another
//!   server. An empty log may be begun with any number.
//! - A call to an object fails, some times until it is let go; an object that
//!   was evicted takes nothing until it pulls again. One for which something is
//!   on its way when the room fails is let go.
//! - A socket dies: what was under way to the client is lost, of what was
//!   under way to the room a random beginning arrives, and the room learns
//!   of it later. The client reconnects with the cursor it has.
//! - The room sleeps after any committed turn, and a new instance goes on
//!   from the attachments.
//! - A turn traps: what it stored and sent is undone, the room is dropped,
//!   all sockets are closed and all HTTP answers broken off.
//! - Several turns share a commit. When it fails, none of them happened.
//! - A storage call fails (`full`, `unavailable`) and stores nothing.
//! - Another writer appends to the log. The room learns of it with its next
//!   push (`conflict`), and is held to what it can know until then.
//! - An administrator empties the store. 0.4 clients wipe themselves when
//!   they are told; 0.3 clients, which cannot be told, are wiped by hand.
//!
//! What is left out: a writer that comes while the room sleeps, or before a
//! room sleeps that has not noticed (it keeps no head in its attachments, and
//! shows the next push with a gap); another writer that empties the log;
//! outboxes that overflow (the host's business), malformed frames (unit
//! tests).
//!
//! # The oracle
//!
//! Replays what was committed, in order (`oracle.rs`), and holds it to:
//!
//! - I1: an accepted push is in the durable log; every event anyone is sent
//!   is the durable log's, to the byte; every push is answered once.
//! - I2: what one append stores is what one push held, as a whole.
//! - I3: each 0.4 pull, each 0.3 client and each HTTP answer sees a run of
//!   the log without gap or duplicate; who is live is at the head when a turn
//!   ends, or its window is full, or it is a 0.4 socket that edits
//!   (`conduct.rs`): then it is told within 5 s of the first event that it was
//!   not told of, or of its last push. No client's event is in the log twice.
//! - A timer is set if somebody waits for it, and only then: a room with one
//!   cannot hibernate.
//! - I4: the log is one chain; a refusal names the true head and is never
//!   given to a parent that is the head; a refused 0.3 client whose place was
//!   unknown gets what it lacks, or its socket is closed.
//! - I7: the Chunks that a room instance has sent to a pull and that were not
//!   acknowledged to it stay within the window, to the byte; a pull that has
//!   acknowledged nothing to the instance before gets nothing until it does;
//!   Chunks and HTTP pages stay within their limits, and pulls in number.
//! - I8: the backend id changes by a reset only.
//! - I9: a socket is closed by the room only for a storage fault, for a live
//!   pull too many, or if it should have pulled and never did: not within the
//!   first second, and not later than the next turn.
//! - D4: `remaining` and `NoMore`; a pull that has more to send always waits
//!   for an Ack that is still to come.
//! - D10: a live pull ends with a BackendIdMismatchError or not at all;
//!   UnknownError only for a storage fault; every frame can be read.
//! - Liveness: once nothing fails any more and all acknowledge, all clients
//!   have the whole log and all their events are in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "simulation/client_http.rs"]
mod client_http;
#[path = "simulation/client_object.rs"]
mod client_object;
#[path = "simulation/client_v3.rs"]
mod client_v3;
#[path = "simulation/client_v4.rs"]
mod client_v4;
#[path = "simulation/conduct.rs"]
mod conduct;
#[path = "simulation/coverage.rs"]
mod coverage;
#[path = "simulation/feed.rs"]
mod feed;
#[path = "simulation/history.rs"]
mod history;
#[path = "simulation/http_answer.rs"]
mod http_answer;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/replica.rs"]
mod replica;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/storage.rs"]
mod storage;
#[path = "simulation/subscription.rs"]
mod subscription;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use run::Run;

/// Runs in a normal `cargo test`.
const RUNS: u64 = 800;

/// Runs at a time; each keeps to one thread.
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Plays one run; says which, if it fails. Returns its number of turns.
fn play(seed: u64) -> u64 {
    let mut run = Run::new(seed);
    catch_unwind(AssertUnwindSafe(|| run.play())).unwrap_or_else(|reason| {
        eprintln!(
            "replay with SYNCLINE_SIM_SEED={seed} cargo test -p syncline-guest --test simulation"
        );
        resume_unwind(reason)
    });
    run.turns
}

/// Plays the run that the environment names, or many.
fn play_all() {
    if let Some(seed) = number("SYNCLINE_SIM_SEED") {
        play(seed);
        return;
    }
    let runs = number("SYNCLINE_SIM_RUNS").unwrap_or(RUNS);
    let play_some = |first: u64| {
        let seeds = (first..runs).step_by(THREADS);
        let turns: u64 = seeds.map(play).sum();
        (turns, coverage::counts())
    };
    let played: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|first| scope.spawn(move || play_some(first)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|reason| resume_unwind(reason)))
            .collect()
    });
    let turns: u64 = played.iter().map(|(turns, _)| turns).sum();
    println!("{runs} runs, {turns} turns");
    for what in coverage::WANTED {
        let counts = played.iter().flat_map(|(_, counts)| counts);
        let count: u64 = counts
            .filter(|(seen, _)| *seen == what)
            .map(|(_, n)| n)
            .sum();
        println!("{count:>8}  {what}");
        assert!(count > 0 || runs < RUNS, "the simulation never saw: {what}");
    }
}

/// I1 to I4, I7 to I9, D4, D10.
#[test]
fn a_room_keeps_its_promises_whatever_happens() {
    play_all();
}

/// A run is a function of its seed: what failed once can be replayed.
#[test]
fn a_seed_is_replayed_as_it_was() {
    assert_eq!(play(7), play(7));
}
