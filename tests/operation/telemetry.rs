//! What a server tells of itself: metrics for Prometheus and to a collector,
//! traces that its clients' go on in, a log for programs. And that none of it
//! harms anybody.

mod collectors;
mod lines;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_tests::collector::{Collector, Manner, attribute, hex};
use syncline_tests::http;
use syncline_tests::profile::Profile;
use syncline_tests::rpc::{Client, events, pull, push};
use syncline_tests::server::{Server, Syncline};

/// How long something may take that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What OpenTelemetry calls the kinds of a span.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const CONSUMER: i32 = 5;

/// The metrics that are there from the beginning, as Prometheus has them.
const NAMES: [&str; 23] = [
    "db_client_operation_duration_seconds",
    "process_cpu_time_seconds_total",
    "process_memory_usage_bytes",
    "process_open_file_descriptor_count",
    "process_uptime_seconds",
    "rpc_server_call_duration_seconds",
    "syncline_admissions_total",
    "syncline_append_size_bytes_total",
    "syncline_connections",
    "syncline_events_appended_total",
    "syncline_frames_delivered_total",
    "syncline_guest_failures_total",
    "syncline_guest_memory_bytes",
    "syncline_input_limit_bytes",
    "syncline_llm_tokens_total",
    "syncline_outbox_size_bytes",
    "syncline_ready",
    "syncline_room_wakes_total",
    "syncline_rooms",
    "syncline_shard_still_seconds",
    "syncline_storage_errors_total",
    "syncline_subscriptions",
    "syncline_telemetry_dropped_total",
];

/// A server with `--metrics`.
fn measured() -> Server {
    let mut syncline = Syncline::new("memory", Profile::Open);
    syncline.arguments.push("--metrics".to_owned());
    syncline.start().unwrap()
}

/// A server whose telemetry goes to this collector, at once.
fn traced(collector: &str, variables: &[(&'static str, &str)]) -> Server {
    let mut syncline = Syncline::new("memory", Profile::Open);
    syncline.arguments.push("--metrics".to_owned());
    let fixed = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ];
    for (name, value) in fixed.iter().chain(variables) {
        syncline.variables.push((*name, (*value).to_owned()));
    }
    syncline.start().unwrap()
}

/// The metrics of a server.
fn metrics(server: &Server) -> String {
    let response = http::request(server, "GET", "/metrics", &[], "");
    assert_eq!(response.status, 200);
    let kind = response.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    response.body
}

/// A sample's value.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Waits until a series is at least this.
fn wait_for(server: &Server, series: &str, least: f64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = metrics(server);
        if value(&metrics, series).is_some_and(|value| value >= least) {
            return;
        }
        assert!(Instant::now() < deadline, "{series}:\n{metrics}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A request in a client's span.
fn within(mut request: Value, trace_id: &str, span_id: &str, sampled: bool) -> Value {
    request["traceId"] = json!(trace_id);
    request["spanId"] = json!(span_id);
    request["sampled"] = json!(sampled);
    request
}

#[test]
fn the_metrics_have_the_names_of_the_vocabulary_and_count() {
    let server = measured();
    let mut client = Client::open(&server, "s");
    client.push_ok(&events(1, 3));
    let id = client.pull(true, None);
    client.next(&id);
    let metrics = metrics(&server);
    for name in NAMES {
        let kind = format!("# TYPE {name} ");
        assert!(metrics.contains(&kind), "{name} is not in:\n{metrics}");
    }
    for (series, count) in [
        (
            "syncline_connections{network_protocol_name=\"websocket\"}",
            1.0,
        ),
        ("syncline_events_appended_total", 3.0),
        ("syncline_admissions_total{syncline_code=\"OK\"}", 1.0),
        (
            "rpc_server_call_duration_seconds_count{rpc_method=\"push\"}",
            1.0,
        ),
        (
            "rpc_server_call_duration_seconds_count{rpc_method=\"pull\"}",
            1.0,
        ),
        (
            "db_client_operation_duration_seconds_count{db_operation_name=\"append\"}",
            1.0,
        ),
        ("syncline_room_wakes_total", 1.0),
        ("syncline_ready", 1.0),
    ] {
        assert_eq!(value(&metrics, series), Some(count), "{series}:\n{metrics}");
    }
    wait_for(&server, "syncline_frames_delivered_total", 2.0);
    wait_for(&server, "syncline_delivery_duration_seconds_count", 2.0);
    let live = "syncline_subscriptions{syncline_subscription_state=\"live\"}";
    wait_for(&server, live, 1.0);
    client.socket.close(1000);
    let closes =
        "syncline_closes_total{syncline_close_code=\"1000\",syncline_closed_by=\"client\"}";
    wait_for(&server, closes, 1.0);
}

#[test]
fn a_refused_push_counts_with_its_code_and_not_with_what_is_served() {
    let server = measured();
    let mut client = Client::open(&server, "s");
    client.push_ok(&events(1, 1));
    client.push_refused(&events(1, 1));
    let metrics = metrics(&server);
    let of = |attributes: &str| format!("rpc_server_call_duration_seconds_count{{{attributes}}}");
    let refused = of("error_type=\"SERVER_AHEAD\",rpc_method=\"push\"");
    assert_eq!(value(&metrics, &refused), Some(1.0), "{metrics}");
    let served = of("rpc_method=\"push\"");
    assert_eq!(value(&metrics, &served), Some(1.0), "{metrics}");
}

#[test]
fn i7_stores_users_and_paths_make_no_series() {
    let server = measured();
    let series = |server: &Server| -> BTreeSet<String> {
        let metrics = metrics(server);
        let samples = metrics.lines().filter(|line| !line.starts_with('#'));
        let names = samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
        names.collect()
    };
    let work = |number: u32| {
        let store = format!("store-{number}");
        Client::open(&server, &store).push_ok(&events(1, 1));
        let _ = http::request(&server, "GET", &format!("/made/up/{number}"), &[], "");
    };
    // All kinds that there will be; the client's end counts a little later.
    work(0);
    let closes =
        "syncline_closes_total{syncline_close_code=\"1006\",syncline_closed_by=\"network\"}";
    wait_for(&server, closes, 1.0);
    let few = series(&server);
    (1..=100).for_each(work);
    wait_for(&server, closes, 100.0);
    assert_eq!(series(&server), few);
}

#[test]
fn without_being_asked_for_there_are_no_metrics() {
    let server = Syncline::new("memory", Profile::Open).start().unwrap();
    let response = http::request(&server, "GET", "/metrics", &[], "");
    assert_eq!(response.status, 404);
}

#[test]
fn a_listener_of_their_own_serves_metrics_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut syncline = Syncline::new("memory", Profile::Open);
    syncline.arguments = ["--metrics-listen", "127.0.0.1:0"]
        .map(str::to_owned)
        .into();
    syncline.log = Some(log.clone());
    let server = syncline.start_in(dir.path()).unwrap();
    let on_main = http::request(&server, "GET", "/metrics", &[], "");
    assert_eq!(on_main.status, 404, "the server's own has none");
    let said = fs::read_to_string(log).unwrap();
    let (_, url) = said.split_once("metrics are served on ").unwrap();
    let (url, _) = url.split_once("/metrics").unwrap();
    let of_metrics = Server {
        url: url.to_owned(),
        process: None,
        dir: None,
        is_original: false,
    };
    assert!(metrics(&of_metrics).contains("syncline_ready 1"));
    let other = http::request(&of_metrics, "GET", "/healthz", &[], "");
    assert_eq!(other.status, 404);
    let posted = http::request(&of_metrics, "POST", "/metrics", &[], "");
    assert_eq!(posted.status, 405);
}

#[test]
fn a_push_and_its_append_are_a_part_of_its_clients_trace() {
    let collector = Collector::start(Manner::Takes);
    let server = traced(&collector.url, &[]);
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let mut client = Client::open(&server, "the-store");
    let request = push("7", "the-store", &events(1, 2));
    client.socket.send(within(request, trace, span, true));
    let pushed = collector.span(trace, "push");
    assert_eq!(hex(&pushed.parent_span_id), span);
    assert_eq!(pushed.kind, SERVER);
    for (key, value) in [
        ("rpc.system", "effect-rpc"),
        ("rpc.method", "push"),
        ("syncline.request.id", "7"),
        ("syncline.events", "2"),
    ] {
        assert_eq!(attribute(&pushed, key).as_deref(), Some(value), "{key}");
    }
    let turn = collector.span(trace, "turn");
    assert_eq!(turn.parent_span_id, pushed.span_id);
    let store = attribute(&turn, "syncline.store.id");
    assert_eq!(store.as_deref(), Some("the-store"));
    let append = collector.span(trace, "append");
    assert_eq!((append.parent_span_id, append.kind), (turn.span_id, CLIENT));
    let commit = collector.span(trace, "commit");
    assert!(pushed.start_time_unix_nano <= turn.start_time_unix_nano);
    assert!(turn.end_time_unix_nano <= pushed.end_time_unix_nano);
    assert!(turn.end_time_unix_nano <= commit.end_time_unix_nano);
    // What is measured comes, too.
    collector.wait_for("metrics", |it| {
        let names = it.metrics();
        let has = |name: &str| names.iter().any(|it| it == name);
        (has("syncline.events.appended") && has("rpc.server.call.duration")).then_some(())
    });
}

#[test]
fn a_subscribers_frame_is_a_part_of_its_trace_and_linked_to_the_append() {
    let collector = Collector::start(Manner::Takes);
    let server = traced(&collector.url, &[]);
    let (of_pull, of_push) = ("1".repeat(32), "2".repeat(32));
    let mut subscriber = Client::open(&server, "s");
    let request = pull("1", "s", true, None);
    let request = within(request, &of_pull, "aaaaaaaaaaaaaaaa", true);
    subscriber.socket.send(request);
    let pulled = collector.span(&of_pull, "pull");
    let mut client = Client::open(&server, "s");
    let request = push("1", "s", &events(1, 1));
    let request = within(request, &of_push, "bbbbbbbbbbbbbbbb", true);
    client.socket.send(request);
    let append = collector.span(&of_push, "append");
    let broadcast = collector.span(&of_push, "broadcast");
    assert_eq!(
        attribute(&broadcast, "syncline.sockets").as_deref(),
        Some("1")
    );
    let delivered = collector.span(&of_pull, "deliver");
    assert_eq!(delivered.kind, CONSUMER);
    assert_eq!(delivered.parent_span_id, pulled.span_id);
    let link = delivered.links.first().unwrap();
    assert_eq!(hex(&link.trace_id), of_push);
    assert_eq!(link.span_id, append.span_id);
}

#[test]
fn whether_a_trace_is_kept_its_client_says() {
    let collector = Collector::start(Manner::Takes);
    let server = traced(
        &collector.url,
        &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")],
    );
    let (kept, left) = ("3".repeat(32), "4".repeat(32));
    let span = "cccccccccccccccc";
    let mut client = Client::open(&server, "s");
    // One that is not to be kept, one of which nobody says, one that is.
    let first = push("1", "s", &events(1, 1));
    client.socket.send(within(first, &left, span, false));
    client.socket.send(push("2", "s", &events(2, 2)));
    let last = push("3", "s", &events(3, 3));
    client.socket.send(within(last, &kept, span, true));
    collector.span(&kept, "push");
    server.stop();
    let spans = collector.spans();
    let others: Vec<_> = spans
        .iter()
        .filter(|it| hex(&it.trace_id) != kept)
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn an_upgrades_span_is_the_parent_of_requests_that_name_none() {
    let collector = Collector::start(Manner::Takes);
    let server = traced(&collector.url, &[]);
    let (trace, span) = ("5".repeat(32), "dddddddddddddddd");
    let parent = format!("00-{trace}-{span}-01");
    let url = syncline_tests::rpc::ws_url("s");
    let headers = [("traceparent", parent.as_str())];
    let mut socket = syncline_tests::socket::Socket::try_open(&server, &url, &headers).unwrap();
    socket.send(push("1", "s", &events(1, 1)));
    let pushed = collector.span(&trace, "push");
    assert_eq!(hex(&pushed.parent_span_id), span);
    let admitted = collector.span(&trace, "admit");
    assert_eq!(hex(&admitted.parent_span_id), span);
    let status = attribute(&admitted, "http.response.status_code");
    assert_eq!(status.as_deref(), Some("101"));
}

#[test]
fn stores_are_named_by_a_hash_where_their_ids_are_nobodys_business() {
    let collector = Collector::start(Manner::Takes);
    let server = traced(&collector.url, &[("TELEMETRY_HASH_IDS", "true")]);
    let trace = "6".repeat(32);
    let mut client = Client::open(&server, "abc");
    let request = push("1", "abc", &events(1, 1));
    client
        .socket
        .send(within(request, &trace, "eeeeeeeeeeeeeeee", true));
    let turn = collector.span(&trace, "turn");
    let store = attribute(&turn, "syncline.store.id");
    assert_eq!(store.as_deref(), Some("ba7816bf8f01cfea"));
}
