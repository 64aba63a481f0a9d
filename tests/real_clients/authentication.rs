//! Clients on a production server: admission by token.

use serde_json::{Value, json};
use syncline_tests::cell::Cell::{self, CloudflareSqlite, WasmtimeMemory};
use syncline_tests::profile::{JWT_SECRET, Profile};
use syncline_tests::server::Syncline;

use crate::fleet::{self, Fleet};
use crate::store::Store;
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![&[(WasmtimeMemory, fleet::UNMIXED), (CloudflareSqlite, fleet::UNMIXED)] =>
        clients_with_a_token_sync,
        a_refused_client_keeps_its_commits_until_it_is_admitted,
    ]
}

fn production_store(cell: Cell, fleet: Fleet) -> Store {
    let server = cell.server(Profile::Auth).expect("the server starts");
    let mut store = Store::new(&server, fleet);
    store.payload = Some(payload(&store.id, JWT_SECRET));
    store
}

/// What an app sends: a token for this store, minted by `syncline token`.
fn payload(store: &str, secret: &str) -> Value {
    let mut syncline = Syncline::new("memory", Profile::Auth);
    syncline.variables = vec![("JWT_SECRET", secret.to_owned())];
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = syncline.command(dir.path()).expect("the binary");
    command.args(["token", "--user", "user-1", "--workspace", store]);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).expect("a token");
    json!({"authToken": token.trim(), "instanceId": store})
}

fn clients_with_a_token_sync(cell: Cell, fleet: Fleet) {
    let store = production_store(cell, fleet);
    let (mut a, mut b) = (store.open("client-a"), store.open("client-b"));
    a.commit("from-a");
    b.commit("from-b");
    store.converge(&mut [&mut a, &mut b]);
}

fn a_refused_client_keeps_its_commits_until_it_is_admitted(cell: Cell, fleet: Fleet) {
    let mut store = production_store(cell, fleet);
    let admitted = store.payload.clone();
    let mut a = store.open("client-a");
    a.commit("from-a");
    store.converge(&mut [&mut a]);

    store.payload = Some(payload(
        &store.id,
        "a-secret-of-32-bytes-that-is-not-the-server's",
    ));
    let mut refused = store.open_stored("refused");
    refused.commit("refused-1");
    refused.commit("refused-2");
    // Long enough for a client that is admitted to have pushed and pulled.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let state = refused.state();
    assert_eq!((state.pending, state.head), (2, 0));
    assert_eq!(a.state().head, 1);
    refused.stop();

    store.payload = admitted;
    refused.settings.payload = store.payload.clone();
    refused.start_again();
    store.converge(&mut [&mut a, &mut refused]);
}
