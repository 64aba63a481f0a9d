//! 0.4.0 clients that edit at the same time. They lose events of their own
//! when they are told of others' at the wrong moment (livestore#1530); when
//! they are told is the server's to choose (`guest/src/room/editor.rs`).
//!
//! No server can see what an app is about to commit, so a client may die now
//! and then, and oftener where its processor is taken from it: what a rebase
//! takes, the app commits in. So these run alone, and of five stores two have
//! to converge. Told at once, hardly any did (PERFORMANCE.md, "Clients that
//! edit at once").

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use syncline_tests::cell::Cell::{self, CloudflareSqlite, Url, WasmtimeSqlite};
use syncline_tests::process::Process;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::new_store;
use syncline_tests::server::LiveStore;

use crate::fleet::{self, Fleet};
use crate::{Matrix, Scenario, scenarios};

/// Generous: it is there so that a missing answer is a failure and not a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// How many have to converge.
const CONVERGED: usize = 2;

/// Of how many at most.
const STORES: usize = 5;

const EVERYWHERE: Matrix = &[
    (WasmtimeSqlite, &[fleet::WS_040]),
    (CloudflareSqlite, &[fleet::WS_040]),
    (Url, &[fleet::WS_040]),
];

const LOCALLY: Matrix = &[(WasmtimeSqlite, &[fleet::WS_040]), (Url, &[fleet::WS_040])];

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        EVERYWHERE =>
            i3_two_that_commit_in_bursts_converge,
            i3_two_that_drag_converge,
            i3_two_that_type_converge;
        LOCALLY =>
            i3_five_that_commit_in_bursts_converge,
            i3_who_imports_and_who_types_converge
    ]
}

fn i3_two_that_commit_in_bursts_converge(cell: Cell, _: Fleet) {
    most_converge(cell, "burst");
}

fn i3_two_that_drag_converge(cell: Cell, _: Fleet) {
    most_converge(cell, "drag");
}

fn i3_two_that_type_converge(cell: Cell, _: Fleet) {
    most_converge(cell, "type");
}

fn i3_five_that_commit_in_bursts_converge(cell: Cell, _: Fleet) {
    most_converge(cell, "five");
}

fn i3_who_imports_and_who_types_converge(cell: Cell, _: Fleet) {
    most_converge(cell, "import");
}

fn most_converge(cell: Cell, scenario: &str) {
    let server = cell.server(Profile::Open).expect("the server starts");
    let mut results = Vec::new();
    for _ in 0..STORES {
        results.push(run(&server.url, scenario));
        let converged = results.iter().filter(|it| it["converged"] == true);
        if converged.count() == CONVERGED {
            return;
        }
    }
    panic!("{results:?}");
}

/// What the clients of a new store come to.
fn run(url: &str, scenario: &str) -> Value {
    let mut command = Command::new("node");
    command
        .current_dir(LiveStore::V040.package().expect("npm installs it"))
        .args(["together.mjs", "--url", url])
        .args(["--store", &new_store("together"), "--scenario", scenario]);
    if std::env::var_os("SYNCLINE_TEST_VERBOSE").is_none() {
        command.stderr(Stdio::null());
    }
    let mut process = Process::start(command).expect("node starts");
    process
        .wait_for(ANSWER_TIMEOUT, |line| serde_json::from_str(line).ok())
        .expect("it says what came of it")
}
