//! Servers that stop, killed or asked to, and start again on their data.

use std::time::{Duration, Instant};

use serde_json::json;
use syncline_tests::cell::Cell::{
    self, CloudflareD1, CloudflareSqlite, WasmtimeDrowsy, WasmtimeSqlite,
};
use syncline_tests::profile::Profile;
use syncline_tests::rpc::ws_url;
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::Socket;
use syncline_tests::workerd::Worker;

use crate::client::{Client, todos};
use crate::fleet::{self, Fleet};
use crate::store::Store;
use crate::{Matrix, Scenario, scenarios};

/// The servers whose data outlives them.
const SERVERS: Matrix = &[
    (WasmtimeSqlite, fleet::UNMIXED),
    (WasmtimeDrowsy, &[fleet::MIXED]),
    (CloudflareSqlite, &[fleet::WS_040]),
    (CloudflareD1, &[fleet::WS_040]),
];

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        SERVERS => a_killed_server_loses_and_doubles_nothing;
        &[(WasmtimeSqlite, &[fleet::WS_040])] => a_restart_is_announced_and_clients_go_on
    ]
}

/// How often a server goes away under one client: 0.4.0 doubles its delay
/// before reconnecting with every lost connection of its life.
const OUTAGES: usize = 2;

/// A server of this scenario alone.
struct OwnServer {
    host: Host,
    server: Server,
}

/// What runs it.
enum Host {
    Wasmtime(Syncline),
    Workerd(Box<Worker>),
}

impl OwnServer {
    fn start(cell: Cell) -> Self {
        let worker = cell.worker(Profile::Open).expect("it builds");
        let (host, server) = match worker {
            Some(worker) => {
                let server = worker.start();
                (Host::Workerd(Box::new(worker)), server)
            }
            None => {
                let syncline = cell.syncline(Profile::Open).expect("a Syncline");
                let server = syncline.start();
                (Host::Wasmtime(syncline), server)
            }
        };
        let server = server.expect("the server starts");
        Self { host, server }
    }

    /// Kills it as a power cut would, with all that it has started.
    fn kill(&mut self) {
        let mut process = self.server.process.take().expect("it runs");
        process.kill_group().expect("it dies");
    }

    /// Asks it to stop, and waits until it has. This socket is closed first.
    fn stop(&mut self, witness: &mut Socket) {
        let mut process = self.server.process.take().expect("it runs");
        process.signal("TERM");
        assert_eq!(witness.receive_close().0, 1012);
        let status = process.wait(Duration::from_secs(20)).expect("it stops");
        assert!(status.success(), "{status}");
    }

    /// Starts it again on the same data and port.
    fn start_again(&mut self) {
        let dir = self.server.dir.as_ref().expect("its directory").path();
        let address = self.server.url.trim_start_matches("http://");
        let (process, url) = match &self.host {
            Host::Wasmtime(syncline) => syncline.serve(dir, address).expect("it starts again"),
            Host::Workerd(worker) => {
                let (_, port) = address.rsplit_once(':').expect("an address with a port");
                let server = worker.start_on(port.parse().expect("a port"), dir);
                let server = server.expect("it starts again");
                (server.process.expect("it runs"), server.url)
            }
        };
        assert_eq!(url, self.server.url);
        self.server.process = Some(process);
    }
}

fn a_killed_server_loses_and_doubles_nothing(cell: Cell, fleet: Fleet) {
    let mut server = OwnServer::start(cell);
    let store = Store::new(&server.server, fleet);
    let (mut a, mut b) = (store.open_stored("client-a"), store.open_stored("client-b"));
    store.converge(&mut [&mut a, &mut b]);
    for outage in 0..OUTAGES {
        // Several pushes each, all of which conflict.
        let before = a.state().head;
        a.commit_all(todos(&format!("a-{outage}"), 120));
        b.commit_all(todos(&format!("b-{outage}"), 120));
        wait_for_head_over(&mut [&mut a, &mut b], before);
        server.kill();
        let pending = a.state().pending + b.state().pending;
        assert_ne!(pending, 0, "the kill came too late: nothing was under way");
        let mut clients = [(&mut a, "a"), (&mut b, "b")];
        for (client, name) in &mut clients {
            if client.settings.kind.reconnects() {
                client.commit(&format!("{name}-{outage}-meanwhile"));
            }
        }
        server.start_again();
        for (client, name) in &mut clients {
            if !client.settings.kind.reconnects() {
                // Only then does it commit more: what a client is given whose
                // pull has died may never reach its own log on disk.
                client.stop();
                client.start_again();
                client.commit(&format!("{name}-{outage}-afterwards"));
            }
        }
        store.converge(&mut [&mut a, &mut b]);
    }
}

/// Waits until the server has acknowledged something.
fn wait_for_head_over(clients: &mut [&mut Client], head: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while clients.iter_mut().all(|it| it.state().head <= head) {
        assert!(Instant::now() < deadline, "no push is acknowledged");
    }
}

fn a_restart_is_announced_and_clients_go_on(cell: Cell, fleet: Fleet) {
    let mut server = OwnServer::start(cell);
    let store = Store::new(&server.server, fleet);
    let (mut a, mut b) = (store.open("client-a"), store.open("client-b"));
    store.converge(&mut [&mut a, &mut b]);
    for outage in 0..OUTAGES {
        // Sees what the clients see and do not tell.
        let mut witness = Socket::open(&server.server, &ws_url(&store.id));
        witness.send(json!({"_tag": "Ping"}));
        assert_eq!(witness.receive_json(), json!({"_tag": "Pong"}));
        a.commit_all(todos(&format!("a-{outage}"), 20));
        b.commit_all(todos(&format!("b-{outage}"), 20));
        server.stop(&mut witness);
        a.commit(&format!("a-{outage}-meanwhile"));
        b.commit(&format!("b-{outage}-meanwhile"));
        server.start_again();
        store.converge(&mut [&mut a, &mut b]);
    }
}
