//! An older state of the data directory is put back, as README.md says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use syncline_tests::cell::Cell::{self, WasmtimeDrowsy, WasmtimeSqlite};
use syncline_tests::profile::Profile;
use syncline_tests::server::{Server, Syncline};

use crate::client::todos;
use crate::fleet::{self, Fleet};
use crate::store::Store;
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        &[(WasmtimeSqlite, &[fleet::WS_040]), (WasmtimeDrowsy, &[fleet::WS_040])] =>
            i8_after_a_restored_backup_all_clients_have_one_log
    ]
}

fn stop(server: &mut Server) {
    let mut process = server.process.take().expect("it runs");
    process.signal("TERM");
    let status = process.wait(Duration::from_secs(60)).expect("it stops");
    assert!(status.success(), "{status}");
}

fn start_again(syncline: &Syncline, server: &mut Server) {
    let dir = server.dir.as_ref().expect("its directory").path();
    let address = server.url.trim_start_matches("http://");
    let (process, _) = syncline.serve(dir, address).expect("it starts again");
    server.process = Some(process);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Clients that know events which the log no longer has must neither keep them
/// nor hide others' behind them: with another backend id they start anew. What
/// they had not pushed is gone, and the app has to open its store again.
fn i8_after_a_restored_backup_all_clients_have_one_log(cell: Cell, fleet: Fleet) {
    let syncline = cell.syncline(Profile::Open).expect("a Syncline");
    let mut server = syncline.start().expect("it starts");
    let dir = server
        .dir
        .as_ref()
        .expect("its directory")
        .path()
        .to_owned();
    let (data, backup) = (dir.join("data"), dir.join("backup"));
    let store = Store::new(&server, fleet);
    let (mut a, mut b) = (store.open_stored("client-a"), store.open_stored("client-b"));
    a.commit_all(todos("before", 5));
    store.converge(&mut [&mut a, &mut b]);
    stop(&mut server);
    copy(&data, &backup);
    start_again(&syncline, &mut server);
    a.commit_all(todos("lost", 5));
    store.converge(&mut [&mut a, &mut b]);

    stop(&mut server);
    // While the server is away: it is among what the client loses.
    b.commit("pending");
    fs::remove_dir_all(&data).expect("it is deleted");
    copy(&backup, &data);
    let mut restored = syncline.command(&dir).expect("a command");
    let status = restored.args(["restored", "data"]).status();
    assert!(status.expect("it runs").success());
    store.forget_from(5);
    start_again(&syncline, &mut server);

    for client in [&mut a, &mut b] {
        client.shuts_down();
        client.start_again();
    }
    store.converge(&mut [&mut a, &mut b]);
    // Another device comes, and all of them commit.
    let mut c = store.open("client-c");
    c.commit_all(todos("c", 7));
    store.converge(&mut [&mut a, &mut b, &mut c]);
    a.commit("from-a");
    store.converge(&mut [&mut a, &mut b, &mut c]);
    b.commit("from-b");
    let log = store.converge(&mut [&mut a, &mut b, &mut c]);
    assert_eq!(log.len(), 14);
}
