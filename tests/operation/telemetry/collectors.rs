//! Collectors that are dead, slow, or lie: they harm nobody, what they do not
//! take is counted, and a server that ends does not wait for them for long.

use syncline_tests::collector::{Collector, Manner, hex};
use syncline_tests::rpc::{Client, events, push};
use syncline_tests::server::{Server, Syncline};

use super::{metrics, traced, value, wait_for, within};

/// What was dropped of traces.
const DROPPED: &str = "syncline_telemetry_dropped_total{syncline_signal=\"traces\"}";

/// For how long a server waits for a collector, in milliseconds, where a test
/// would not end if it was waited for.
const FOR_EVER_MS: &str = "86400000";

/// Collectors that never have done with what they are sent: what finds no
/// place behind it is dropped.
const ENDLESS: [Manner; 2] = [Manner::Silent, Manner::Trickles];

/// Collectors that take nothing: what they are sent is dropped. Each with how
/// long it is waited for.
const REFUSING: [(Manner, &str); 6] = [
    (Manner::Refuses, FOR_EVER_MS),
    (Manner::Answers(500, "out of order"), FOR_EVER_MS),
    // It is tried again, until its time is over.
    (Manner::Answers(503, ""), "200"),
    (
        Manner::Answers(200, "<html>please sign in</html>"),
        FOR_EVER_MS,
    ),
    (Manner::Garbage, FOR_EVER_MS),
    (Manner::Endless, FOR_EVER_MS),
];

/// Has a server serve a hundred pushes, each of which makes spans.
fn serve(server: &Server) {
    let mut client = Client::open(server, "s");
    for number in 1..=100 {
        client.push_ok(&events(number, number));
    }
}

/// A server whose telemetry goes to this place, where so many spans may wait.
fn sending(url: &str, queue_max: usize, timeout_ms: &str) -> Server {
    let queue_max = queue_max.to_string();
    let variables = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", queue_max.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout_ms),
    ];
    traced(url, &variables)
}

#[test]
fn i7_a_collector_that_never_answers_harms_nobody_and_few_spans_wait_for_it() {
    for manner in ENDLESS {
        let collector = Collector::start(manner);
        let server = sending(&collector.url, 8, FOR_EVER_MS);
        serve(&server);
        // Of some hundred spans all but those that may wait.
        wait_for(&server, DROPPED, 100.0);
        // It ends though the collector never does.
        server.stop();
        assert!(collector.requests() > 0, "{manner:?}");
    }
}

#[test]
fn i7_a_collector_that_refuses_or_lies_harms_nobody_and_its_drops_are_counted() {
    for (manner, timeout_ms) in REFUSING {
        let collector = Collector::start(manner);
        let server = sending(&collector.url, 10_000, timeout_ms);
        serve(&server);
        wait_for(&server, DROPPED, 100.0);
        server.stop();
        assert!(collector.requests() > 0, "{manner:?}");
    }
}

#[test]
fn i7_a_collector_that_is_dead_harms_nobody_and_its_drops_are_counted() {
    // Nobody listens where somebody did.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let server = sending(&url, 10_000, "200");
    serve(&server);
    wait_for(&server, DROPPED, 100.0);
    server.stop();
}

#[test]
fn i7_what_a_collector_takes_a_part_of_counts_as_far_as_it_was_sent() {
    // It says that it rejects more than there is.
    let collector = Collector::start(Manner::TakesPart(i64::MAX));
    let server = traced(&collector.url, &[]);
    serve(&server);
    wait_for(&server, DROPPED, 100.0);
    let said = value(&metrics(&server), DROPPED).unwrap();
    server.stop();
    let sent = collector.spans().len() as f64;
    assert!(said <= sent, "{said} of {sent} are dropped");
}

#[test]
fn telemetry_goes_nowhere_else_than_where_it_was_sent() {
    let elsewhere = Collector::start(Manner::Takes);
    let collector = Collector::start(Manner::Redirects(elsewhere.port()));
    let server = sending(&collector.url, 10_000, FOR_EVER_MS);
    serve(&server);
    wait_for(&server, DROPPED, 100.0);
    server.stop();
    assert!(collector.requests() > 0);
    assert_eq!(elsewhere.requests(), 0);
}

#[test]
fn what_is_left_when_a_server_stops_is_sent() {
    let collector = Collector::start(Manner::Takes);
    let server = traced(&collector.url, &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    let trace = "7".repeat(32);
    let mut client = Client::open(&server, "s");
    let request = push("1", "s", &events(1, 1));
    client
        .socket
        .send(within(request, &trace, "ffffffffffffffff", true));
    client.socket.receive_json();
    server.stop();
    let spans = collector.spans();
    let found = spans
        .iter()
        .any(|it| hex(&it.trace_id) == trace && it.name == "push");
    assert!(found, "{spans:?}");
}

#[test]
fn a_collector_that_cannot_be_spoken_to_refuses_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let syncline = Syncline::with_variables(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]);
    let output = syncline
        .run(dir.path(), &["serve", "--storage", "memory"])
        .unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("http/protobuf") && words.contains("4318"),
        "{words}"
    );
}
