//! Configurations that cannot be worked with: a Worker starts all the same,
//! refuses everybody, touches no object (I6), and says in its log why.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use syncline_tests::http::{self, get};
use syncline_tests::process::Process;
use syncline_tests::profile::JWT_SECRET;
use syncline_tests::rpc::{events, failure, request};
use syncline_tests::server::Server;
use syncline_tests::socket::{Received, Socket};

use crate::rooms::{object_files, product_package};
use crate::token;

pub fn scenarios() -> Vec<(&'static str, fn())> {
    vec![
        (
            "i6_production_without_a_jwt_secret_refuses_everybody",
            || refuses_everybody(PRODUCTION, &[Binding::Kv], "JWT_SECRET"),
        ),
        (
            "i6_production_without_its_kv_binding_refuses_everybody",
            || refuses_everybody(WITH_SECRET, &[], "WORKSPACE_CLAIMS_VERSION"),
        ),
        ("i6_d1_without_its_binding_refuses_everybody", || {
            refuses_everybody(&[DEVELOPMENT, ("STORAGE", "d1")], &[Binding::Kv], "DB");
        }),
        ("i6_an_unknown_storage_refuses_everybody", || {
            let variables = [DEVELOPMENT, ("STORAGE", "floppy")];
            refuses_everybody(&variables, &[Binding::Kv], "STORAGE");
        }),
        ("a_public_secret_in_development_is_warned_of", || {
            let variables = [
                DEVELOPMENT,
                ("REQUIRE_AUTH", "true"),
                ("JWT_SECRET", "dev-jwt-secret-change-me-in-production"),
            ];
            let mut worker = Worker::start(&variables, &[Binding::Kv]);
            assert_eq!(get(&worker.server, "/readyz").status, 200);
            let warns = |line: &str| {
                assert!(!line.contains("change-me"), "{line}");
                (line.contains("JWT_SECRET is an example's")).then_some(())
            };
            let told = worker.process.wait_for(Duration::from_secs(30), warns);
            told.expect("the log names the secret, which anybody can read");
        }),
        ("a_configuration_that_can_be_worked_with_serves", || {
            let worker = Worker::start(&[DEVELOPMENT], &[]);
            let mut socket = Socket::open(&worker.server, &token::url(STORE, "ws", None));
            socket.send(syncline_tests::rpc::push("1", STORE, &events(1, 1)));
            assert_eq!(socket.receive_json()["exit"]["_tag"], "Success");
            // So the others would be seen to have made an object.
            assert!(!object_files(worker.state.path()).is_empty());
        }),
    ]
}

const STORE: &str = "somebodys";

const DEVELOPMENT: (&str, &str) = ("ENVIRONMENT", "development");

const PRODUCTION: &[(&str, &str)] = &[("ENVIRONMENT", "production")];

const WITH_SECRET: &[(&str, &str)] = &[("ENVIRONMENT", "production"), ("JWT_SECRET", JWT_SECRET)];

/// A binding that a configuration may have.
#[derive(PartialEq)]
pub enum Binding {
    /// The namespace of claims versions.
    Kv,
}

/// The product's Worker with a configuration of its own, and all its output.
pub struct Worker {
    /// Where it answers.
    pub server: Server,
    /// It prints its log, too.
    pub process: Process,
    state: tempfile::TempDir,
}

impl Worker {
    /// Starts one with these variables and bindings.
    pub fn start(variables: &[(&str, &str)], bindings: &[Binding]) -> Self {
        // One after another: each is a wrangler of its own.
        static STARTING: Mutex<()> = Mutex::new(());
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let package = product_package().unwrap();
        let state = tempfile::tempdir().unwrap();
        let config = state.path().join("wrangler.toml");
        fs::write(&config, configuration(&package, variables, bindings)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        // The log is on stderr.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 2>&1"])
            .arg(package.join("node_modules/.bin/wrangler"))
            .args(["dev", "--local", "--ip", "127.0.0.1"])
            .args(["--inspector-port", "0", "--port", &port.to_string()])
            .arg("--show-interactive-dev-session=false")
            .arg("--persist-to")
            .arg(state.path())
            .arg("--config")
            .arg(&config)
            .current_dir(state.path())
            .env("CI", "1")
            .env("WRANGLER_SEND_METRICS", "false")
            .env("WRANGLER_HIDE_BANNER", "true")
            .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
            .env("WRANGLER_LOG_PATH", state.path().join("logs"))
            .env("WRANGLER_REGISTRY_PATH", state.path().join("registry"))
            .stdin(Stdio::null());
        let mut process = Process::start(command).unwrap();
        let ready = |line: &str| line.contains("Ready on").then_some(());
        process.wait_for(Duration::from_secs(300), ready).unwrap();
        let server = Server {
            url: format!("http://127.0.0.1:{port}"),
            process: None,
            dir: None,
            is_original: false,
        };
        Self {
            server,
            process,
            state,
        }
    }
}

fn configuration(package: &Path, variables: &[(&str, &str)], bindings: &[Binding]) -> String {
    let main = fs::canonicalize(package.join("src/worker.ts")).unwrap();
    let mut text = format!(
        "name = \"configured\"\nmain = {main:?}\ncompatibility_date = \"2026-04-01\"\n\
         [[durable_objects.bindings]]\nname = \"WEBSOCKET_SERVER\"\nclass_name = \"WebSocketServer\"\n\
         [[migrations]]\ntag = \"v1\"\nnew_sqlite_classes = [\"WebSocketServer\"]\n"
    );
    if bindings.contains(&Binding::Kv) {
        text.push_str("[[kv_namespaces]]\nbinding = \"WORKSPACE_CLAIMS_VERSION\"\nid = \"0\"\n");
    }
    text.push_str("[vars]\n");
    for (name, value) in variables {
        text.push_str(&format!("{name} = {value:?}\n"));
    }
    text
}

/// Sees every kind of request refused as its client can read it, no object on
/// disk, and the variable or binding named in the log.
fn refuses_everybody(variables: &[(&str, &str)], bindings: &[Binding], named: &str) {
    // One after another: each is a wrangler of its own.
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut worker = Worker::start(variables, bindings);
    let server = &worker.server;
    let good = token::good(STORE);
    // No token is looked at: the configuration comes first.
    for token in [Some(good.as_str()), Some("no token"), None] {
        for transport in ["ws", "0.3"] {
            let mut socket = Socket::open(server, &token::url(STORE, transport, token));
            let refused = Received::Closed(1013, "AUTH_SERVICE_ERROR".to_owned());
            assert_eq!(socket.receive(), refused, "{transport} {token:?}");
        }
        let url = token::url(STORE, "http", token);
        let payload =
            json!({"storeId": STORE, "batch": events(1, 1), "backendId": {"_tag": "None"}});
        let push = request("7", "SyncHttpRpc.Push", payload).to_string();
        let answer = http::request(server, "POST", &url, &[], &push);
        assert_eq!(answer.status, 503, "{token:?} {answer:?}");
        let messages = answer.json();
        assert_eq!(messages[0]["requestId"], "7", "{messages}");
        let error = failure(&messages[0]["exit"]);
        assert_eq!(error["payload"]["code"], "AUTH_SERVICE_ERROR");
        // A body without an id to name.
        let answer = http::request(server, "POST", &url, &[], "{}");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.json()["code"], "AUTH_SERVICE_ERROR");
        assert!(!answer.body.contains(named), "clients are not told");
    }
    assert_eq!(get(server, "/healthz").status, 200);
    assert_eq!(get(server, "/readyz").status, 503);
    let files = object_files(worker.state.path());
    assert!(files.is_empty(), "an object was touched: {files:?}");
    let names = |line: &str| {
        (line.contains("is not configured correctly") && line.contains(named)).then_some(())
    };
    let told = worker.process.wait_for(Duration::from_secs(30), names);
    told.expect("the log names what is missing");
}
