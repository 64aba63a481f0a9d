//! Clients of LiveStore's main branch, at the commit that
//! `tests/node/next/prepare.mjs` names. npm does not have them, so they take
//! part where `LIVESTORE_GIT` names a git directory of livestorejs/livestore:
//! `LIVESTORE_GIT=DIR cargo test -p syncline-tests --test real_clients -- next`.
//! What every run holds them to are their transcripts, in `conformance`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use syncline_tests::cell::Cell::{
    self, CloudflareD1, CloudflareSqlite, Url, WasmtimeDrowsy, WasmtimeMemory,
};

use crate::client::todo;
use crate::fleet::{self, Fleet};
use crate::live::{
    a_client_that_was_away_goes_on_from_its_cursor, a_commit_of_250_events_arrives_whole,
    a_late_joiner_sees_no_gap, concurrent_commits_rebase_and_converge, large_events_reach_everyone,
    open_store, two_clients_see_each_others_commits,
};
use crate::{Matrix, Scenario, scenarios};

/// Where LiveStore's history is.
const GIT: &str = "LIVESTORE_GIT";

const SERVERS: Matrix = &[
    (
        WasmtimeMemory,
        &[fleet::WS_NEXT, fleet::HTTP_NEXT, fleet::WITH_NEXT],
    ),
    (WasmtimeDrowsy, &[fleet::WITH_NEXT]),
    (CloudflareSqlite, &[fleet::WS_NEXT, fleet::WITH_NEXT]),
    (CloudflareD1, &[fleet::WITH_NEXT]),
    (Url, &[fleet::WS_NEXT, fleet::WITH_NEXT]),
];

/// For scenarios that tell their clients apart: 0.4.0, next, 0.3.1, next over
/// HTTP, 0.4.0 over HTTP.
const MIXED: Matrix = &[
    (WasmtimeMemory, &[fleet::WITH_NEXT]),
    (WasmtimeDrowsy, &[fleet::WITH_NEXT]),
    (CloudflareSqlite, &[fleet::WITH_NEXT]),
    (CloudflareD1, &[fleet::WITH_NEXT]),
    (Url, &[fleet::WITH_NEXT]),
];

pub fn scenarios() -> Vec<Scenario> {
    if std::env::var_os(GIT).is_none() {
        return Vec::new();
    }
    scenarios![
        SERVERS =>
            two_clients_see_each_others_commits,
            concurrent_commits_rebase_and_converge,
            a_commit_of_250_events_arrives_whole,
            a_late_joiner_sees_no_gap,
            large_events_reach_everyone;
        MIXED =>
            a_client_that_was_away_goes_on_from_its_cursor,
            five_clients_of_four_kinds_are_one_store,
            an_event_without_args_of_0_4_does_not_end_nexts_pull
    ]
}

/// The package with its program, built if need be.
///
/// # Errors
/// When it cannot be.
pub fn package() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/next");
    let status = Command::new("node")
        .current_dir(&dir)
        .arg("prepare.mjs")
        .stdin(Stdio::null())
        .status()
        .context("Node is not installed")?;
    ensure!(
        status.success(),
        "prepare.mjs fails: does {GIT} name a git directory with its commit?"
    );
    Ok(dir.join("build"))
}

fn five_clients_of_four_kinds_are_one_store(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let ids = ["0-4", "next", "0-3", "next-http", "0-4-http"];
    let mut clients = ids.map(|id| store.open(id));
    store.converge(&mut clients.each_mut());
    // Each pushes while the others are there, in turn and at once.
    for (number, id) in ids.iter().enumerate() {
        clients[number].commit(&format!("from-{id}"));
        store.converge(&mut clients.each_mut());
    }
    for round in 0..3 {
        for (client, id) in clients.iter_mut().zip(ids) {
            client.commit(&format!("{round}-{id}"));
        }
        store.converge(&mut clients.each_mut());
    }
}

fn an_event_without_args_of_0_4_does_not_end_nexts_pull(cell: Cell, fleet: Fleet) {
    let store = open_store(cell, fleet);
    let (mut older, mut next) = (store.open("0-4"), store.open("next"));
    next.ready();
    older.commit_all(vec![todo("x"), json!({"name": "Pinged"})]);
    store.rest(&mut [&mut older, &mut next]);
    next.commit("y");
    older.commit("z");
    store.rest(&mut [&mut older, &mut next]);
}
