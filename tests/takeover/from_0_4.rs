//! From the original server, 0.4.0, to Syncline and back, on both storages.

use serde_json::{Value, json};
use syncline_tests::rpc::{event, events};
use syncline_tests::server::Server;
use syncline_tests::workerd::Storage;

use crate::app::App;
use crate::deployment::{Deployment, Program};
use crate::log::{Log, assert_head, many_shapes, push};

/// The app's store, and one that raw clients fill with what apps could.
const APP: &str = "an-app";
const RAW: &str = "raw_Store";

#[test]
fn i8_a_0_4_deployment_on_object_sqlite_becomes_synclines_and_goes_back() {
    there_and_back(Storage::ObjectSqlite);
}

#[test]
fn i8_a_0_4_deployment_on_d1_becomes_synclines_and_goes_back() {
    there_and_back(Storage::D1);
}

fn there_and_back(storage: Storage) {
    let deployment = Deployment::new();
    let original = Program::Original040(storage);
    let syncline = Program::Syncline(storage);
    let app = App::of(APP);

    let (of_app, raw) = deployment.run(original, |server| {
        push(server, APP, &events(1, 30));
        let mut running = app.start(server);
        running.wait_until_at(30);
        running.commit("first");
        running.wait_until_at(31);
        assert!(running.tap.has_heard("\"todo 1\""));
        running.stop();
        let batch = many_shapes(1);
        let raw = push(server, RAW, &batch);
        assert_eq!(raw.events(), batch);
        (Log::pull(server, APP), raw)
    });
    let (of_app, raw) = deployment.run(syncline, |server| {
        takes_over(server, &app, "second", &of_app, &raw)
    });
    let (of_app, raw) = deployment.run(original, |server| {
        takes_over(server, &app, "third", &of_app, &raw)
    });
    deployment.run(syncline, |server| {
        takes_over(server, &app, "fourth", &of_app, &raw)
    });
    assert_eq!(deployment.context(APP), (34, of_app.backend_id));
}

#[test]
fn i8_a_store_that_was_only_pulled_from_d1_goes_back_and_comes_again() {
    let deployment = Deployment::new();
    let original = Program::Original040(Storage::D1);
    let syncline = Program::Syncline(Storage::D1);
    let stores = ["pulled-only", "never-pushed"];
    let empty = deployment.run(syncline, |server| {
        stores.map(|store| Log::pull(server, store))
    });
    let of_original = deployment.run(original, |server| {
        let [pulled, never] = stores.map(|store| Log::pull(server, store));
        pulled.assert_continues(&empty[0], &[]);
        never.assert_continues(&empty[1], &[]);
        push(server, stores[0], &events(1, 3))
    });
    of_original.assert_continues(&empty[0], &events(1, 3));
    let now = deployment.run(syncline, |server| {
        Log::pull(server, stores[0]).assert_continues(&of_original, &[]);
        // Whose that empty table is, nobody knows: there is another then.
        let never = push(server, stores[1], &events(1, 2));
        never.assert_continues(&empty[1], &events(1, 2));
        push(server, stores[0], &events(4, 5))
    });
    let now = deployment.run(original, |server| {
        Log::pull(server, stores[0]).assert_continues(&now, &[]);
        push(server, stores[0], &events(6, 6))
    });
    deployment.run(syncline, |server| {
        Log::pull(server, stores[0]).assert_continues(&now, &[]);
        assert_head(server, stores[1], 2);
    });
}

/// Sees a server take over: nothing has changed, and what comes next lands.
fn takes_over(server: &Server, app: &App, todo: &str, of_app: &Log, raw: &Log) -> (Log, Log) {
    // The app goes on from its cursor.
    let mut running = app.start(server);
    assert_eq!(running.head(), of_app.head());
    running.commit(todo);
    running.wait_until_at(of_app.head() + 1);
    assert!(running.tap.has_heard(&format!("todo {todo}")));
    for item in &of_app.items {
        let title = item["eventEncoded"]["args"]["title"].as_str().unwrap();
        let pulled_twice = running.tap.has_heard(&format!("\"{title}\""));
        assert!(!pulled_twice, "the app had {title}");
    }
    let of_client = running.log();
    running.stop();
    let now = Log::pull(server, APP);
    let session = now.events().last().unwrap()["sessionId"].clone();
    let mut committed = event(of_app.head() + 1);
    committed["args"] = json!({"id": todo, "title": format!("todo {todo}")});
    committed["clientId"] = json!("app");
    committed["sessionId"] = session;
    now.assert_continues(of_app, &[committed]);
    let without_session = |mut event: Value| {
        event.as_object_mut().unwrap().shift_remove("sessionId");
        event
    };
    let on_server: Vec<_> = now.events().into_iter().map(without_session).collect();
    assert_eq!(of_client, on_server);

    // So do clients of every store.
    Log::pull(server, RAW).assert_continues(raw, &[]);
    assert_head(server, RAW, raw.head());
    let batch = many_shapes(raw.head() + 1);
    let longer = push(server, RAW, &batch);
    longer.assert_continues(raw, &batch);
    (now, longer)
}
