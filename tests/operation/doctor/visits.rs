//! Servers that run: Syncline's own, on both hosts.

use std::net::TcpListener;

use serde_json::json;
use syncline_tests::profile::{JWT_SECRET, Profile};
use syncline_tests::rpc::{Client, events};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::token::{now, sign};
use syncline_tests::workerd::{Storage, Worker};

use super::{Outcome, doctor};

/// Visits a server.
fn visit(url: &str, more: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let arguments = [&["--url", url, "--idle-for", "300ms"][..], more].concat();
    doctor(&Syncline::with_variables(&[]), dir.path(), &arguments)
}

fn token(store: &str, expires: u64) -> String {
    let claims = json!({
        "userId": "ada", "iat": now(), "exp": expires, "workspaceClaimsVersion": 1,
        "workspaces": [{"id": store, "role": "owner"}],
    });
    sign(&claims, JWT_SECRET)
}

/// What holds of a server with tokens, whatever it runs on.
fn asks_for_tokens(server: &Server) {
    let url = &server.url;
    let found = visit(url, &[]);
    for check in [
        "reachable",
        "healthz",
        "readyz",
        "page",
        "clock",
        "admission",
        "http",
    ] {
        found.well(check);
    }
    found.expect("ok", "admission", &["refuses, with 4401 TOKEN_MISSING"]);
    found.expect("ok", "http", &["refuses over HTTP, with 401 TOKEN_MISSING"]);

    let good = token("doctors-own", now() + 900);
    for events in ["0 events", "2 events"] {
        let found = visit(url, &["--token", &good, "--store", "doctors-own"]);
        assert_eq!(found.code, 0, "{found:#?}");
        for check in ["token", "admission", "round-trip", "sync", "http", "idle"] {
            found.well(check);
        }
        found.expect("ok", "sync", &["a pull", events]);
        found.expect("ok", "sync", &["a push", "was written", "doctors-own"]);
        found.expect("ok", "sync", &["another client pulls it"]);
        found.expect("ok", "http", &["a push over HTTP", "was written"]);
    }
    let found = visit(url, &["--token", &good]);
    found.expect("warn", "sync", &["nothing was pushed", "--store"]);

    let wrong =
        token("doctors-own", now() + 900).replace("eyJ1c2VySWQiOiJhZGEi", "eyJ1c2VySWQiOiJldmUi");
    let found = visit(url, &["--token", &wrong, "--store", "doctors-own"]);
    found.expect(
        "fail",
        "admission",
        &["4401 TOKEN_INVALID", "Compare the secret"],
    );
    let expired = token("doctors-own", now() - 86_400);
    let found = visit(url, &["--token", &expired, "--store", "doctors-own"]);
    found.expect("warn", "token", &["expired"]);
    found.expect(
        "fail",
        "admission",
        &["4401 GRACE_PERIOD_EXPIRED", "Sign in again"],
    );
    let found = visit(url, &["--token", &good, "--store", "anothers"]);
    found.expect("fail", "admission", &["4403 FORBIDDEN", "--store"]);
}

#[test]
fn a_server_on_this_machine_is_visited() {
    let server = Syncline::new("memory", Profile::Auth).start().unwrap();
    asks_for_tokens(&server);
}

#[test]
fn a_worker_is_visited() {
    let worker = Worker::syncline(Storage::ObjectSqlite, Profile::Auth).unwrap();
    asks_for_tokens(&worker.start().unwrap());
}

#[test]
fn nothing_is_pushed_where_an_apps_events_are() {
    let server = Syncline::new("memory", Profile::Open).start().unwrap();
    let found = visit(&server.url, &[]);
    found.expect("ok", "admission", &["lets everybody in"]);
    found.expect("ok", "sync", &["not tried"]);
    Client::open(&server, "shop").push_ok(&events(1, 250));
    let found = visit(&server.url, &["--store", "shop"]);
    assert_eq!(found.code, 0);
    found.expect(
        "warn",
        "sync",
        &["has an app's events", "nothing was pushed"],
    );
    let (chunks, _) = Client::open(&server, "shop").pull_all(None);
    assert!(
        !format!("{chunks:?}").contains("Doctor"),
        "it was written to"
    );
    // As clients are given it.
    let url = server.url.replace("http://", "ws://") + "/api?payload=hidden-word";
    let found = visit(&url, &["--store", "fresh"]);
    found.well("sync");
    assert!(!format!("{found:?}").contains("hidden-word"), "{found:?}");
}

#[test]
fn a_server_that_is_down_is_said_to_be() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let found = visit(&url, &[]);
    assert_eq!(found.code, 1);
    found.expect(
        "fail",
        "reachable",
        &["refused", "see that the server runs"],
    );
    let found = visit("http://no-such-host.invalid", &[]);
    found.expect("fail", "reachable", &["no-such-host.invalid"]);
}
