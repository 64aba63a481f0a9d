//! What a Worker and its rooms tell of themselves: traces to a collector, data
//! points, lines. And that a room falls asleep all the same, whatever becomes
//! of them.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_tests::collector::{Collector, Manner, attribute, hex};
use syncline_tests::http;
use syncline_tests::rpc::{events, pull, push, request};
use syncline_tests::socket::Socket;
use syncline_tests::workerd::Storage;

use crate::peer::Peer;
use crate::rooms::Rooms;
use crate::{points, token};

pub fn scenarios() -> Vec<(&'static str, fn())> {
    vec![
        ("i7_a_room_is_evicted_whose_collector_never_answers", || {
            alone(|| is_evicted_beside(Manner::Silent));
        }),
        (
            "i7_a_room_is_evicted_whose_collectors_answer_never_ends",
            || alone(|| is_evicted_beside(Manner::Endless)),
        ),
        ("a_clients_push_and_the_servers_are_one_trace", || {
            alone(|| are_one_trace(Storage::ObjectSqlite));
        }),
        ("a_clients_push_and_the_servers_are_one_trace_in_d1", || {
            alone(|| are_one_trace(Storage::D1));
        }),
        (
            "spans_leave_with_the_64th_and_with_what_comes_after_10_seconds",
            || alone(spans_leave_in_time),
        ),
        ("i7_data_points_have_their_columns_and_name_nobody", || {
            alone(|| points::data_points(Storage::ObjectSqlite));
        }),
        (
            "i7_data_points_have_their_columns_and_name_nobody_in_d1",
            || alone(|| points::data_points(Storage::D1)),
        ),
        ("tokens_of_an_llm_are_counted", || alone(points::tokens)),
        ("stores_are_named_by_a_hash_where_that_is_wanted", || {
            alone(hashed);
        }),
        ("a_collector_that_cannot_be_spoken_to_is_told_of", || {
            alone(refused);
        }),
    ]
}

/// Runs one after another: each has a Worker of its own, and others are being
/// timed out beside them.
fn alone(run: impl FnOnce()) {
    static RUNNING: Mutex<()> = Mutex::new(());
    let _one = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    run();
}

/// How long something may take that has to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What OpenTelemetry calls the kinds of a span.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// A Worker whose spans go to this collector, and whose points are kept.
fn traced(storage: Storage, collector: &Collector, others: &[(&str, &str)]) -> Rooms {
    let fixed = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("PROBE_METRICS", "1"),
    ];
    Rooms::start_with(storage, &[&fixed, others].concat(), None).unwrap()
}

/// A request in a client's span.
fn within(mut request: Value, trace_id: &str, span_id: &str, sampled: bool) -> Value {
    request["traceId"] = json!(trace_id);
    request["spanId"] = json!(span_id);
    request["sampled"] = json!(sampled);
    request
}

/// A socket of a store.
pub fn socket(rooms: &Rooms, store: &str, headers: &[(&'static str, &str)]) -> Socket {
    let url = token::url(store, "ws", Some(&token::good(store)));
    Socket::try_open(&rooms.server, &url, headers).unwrap()
}

/// Sees a room asleep that has just called a collector as bad as this.
fn is_evicted_beside(manner: Manner) {
    let collector = Collector::start(manner);
    let rooms = traced(Storage::ObjectSqlite, &collector, &[]);
    rooms.through_eviction("observed", "SyncWsRpc.Push", |nap| {
        let mut peer = Peer::live_v4(&rooms, &nap.store, 0);
        let mut pusher = socket(&rooms, &nap.store, &[]);
        let before = collector.requests();
        let (trace, span) = ("a".repeat(32), "b".repeat(16));
        let calls = |collector: &Collector| collector.requests() - before;
        let mut last = 0;
        let deadline = Instant::now() + PATIENCE;
        // Until they have been sent: a collector that failed is left alone
        // for a while.
        while calls(&collector) == 0 {
            last += 1;
            assert!(Instant::now() < deadline, "nothing was sent");
            let request = push(&last.to_string(), &nap.store, &events(last, last));
            pusher.send(within(request, &trace, &span, true));
            pusher.receive_json();
        }
        peer.until(last);
        nap.sleep();
        let next = last + 1;
        let request = push(&next.to_string(), &nap.store, &events(next, next));
        pusher.send(request);
        pusher.receive_json();
        peer.has_all_to(next);
    });
    assert!(collector.requests() > 0);
}

fn are_one_trace(storage: Storage) {
    let collector = Collector::start(Manner::Takes);
    let rooms = traced(storage, &collector, &[]);
    let store = "one-trace";
    let (pushed, pulled) = ("1".repeat(32), "2".repeat(32));
    let (of_push, of_pull) = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb");
    let mut reader = socket(&rooms, store, &[]);
    let mut writer = socket(&rooms, store, &[]);
    reader.send(within(pull("1", store, true, None), &pulled, of_pull, true));
    reader.receive_json();
    let first = push("7", store, &events(1, 2));
    writer.send(within(first, &pushed, of_push, true));
    assert_eq!(writer.receive_json()["exit"]["_tag"], "Success");
    while reader.receive_json()["_tag"] != "Chunk" {}
    // A trace that its client does not keep.
    let unkept = "3".repeat(32);
    let second = push("8", store, &events(3, 3));
    writer.send(within(second, &unkept, of_push, false));
    writer.receive_json();
    // One that is refused.
    let refused = "4".repeat(32);
    let again = push("9", store, &events(3, 3));
    writer.send(within(again, &refused, of_push, true));
    writer.receive_json();
    // In the span of its upgrade, since it names none.
    let (trace, span) = ("5".repeat(32), "dddddddddddddddd");
    let parent = format!("00-{trace}-{span}-01");
    let mut other = socket(&rooms, store, &[("traceparent", &parent)]);
    other.send(push("10", store, &events(4, 4)));
    other.receive_json();
    // Over HTTP, in the span of its admission.
    let posted = format!("00-{}-{span}-01", "6".repeat(32));
    let url = token::url(store, "http", Some(&token::good(store)));
    let payload = json!({"storeId": store, "batch": events(5, 5), "backendId": {"_tag": "None"}});
    let body = request("1", "SyncHttpRpc.Push", payload).to_string();
    let headers = [("traceparent", posted.as_str())];
    let answer = http::request(&rooms.server, "POST", &url, &headers, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    // What waits leaves with the last socket.
    for socket in [&mut reader, &mut writer, &mut other] {
        socket.close(1000);
    }

    let push = collector.span(&pushed, "push");
    assert_eq!(
        (hex(&push.parent_span_id), push.kind),
        (of_push.to_owned(), SERVER)
    );
    assert_eq!(
        attribute(&push, "rpc.system").as_deref(),
        Some("effect-rpc")
    );
    assert_eq!(attribute(&push, "syncline.events").as_deref(), Some("2"));
    assert_eq!(
        attribute(&push, "syncline.request.id").as_deref(),
        Some("7")
    );
    let turn = collector.span(&pushed, "turn");
    assert_eq!(turn.parent_span_id, push.span_id);
    assert_eq!(
        attribute(&turn, "syncline.store.id").as_deref(),
        Some(store)
    );
    let append = collector.span(&pushed, "append");
    assert_eq!(
        (&append.parent_span_id, append.kind),
        (&turn.span_id, CLIENT)
    );
    let broadcast = collector.span(&pushed, "broadcast");
    assert_eq!(broadcast.kind, PRODUCER);
    assert_eq!(broadcast.links[0].span_id, append.span_id);
    let pull = collector.span(&pulled, "pull");
    assert_eq!(hex(&pull.parent_span_id), of_pull);
    let deliver = collector.span(&pulled, "deliver");
    assert_eq!(
        (&deliver.parent_span_id, deliver.kind),
        (&pull.span_id, CONSUMER)
    );
    let linked: Vec<_> = deliver.links.iter().map(|it| &it.span_id).collect();
    assert_eq!(linked, [&append.span_id], "the Chunk is about the push");
    let refused = collector.span(&refused, "push");
    assert_eq!(
        attribute(&refused, "error.type").as_deref(),
        Some("SERVER_AHEAD")
    );
    assert_eq!(refused.status.unwrap().code, 2);
    let of_upgrade = collector.span(&trace, "push");
    assert_eq!(hex(&of_upgrade.parent_span_id), span);
    let admit = collector.span(&"6".repeat(32), "admit");
    assert_eq!(hex(&admit.parent_span_id), span);
    assert_eq!(
        attribute(&admit, "http.response.status_code").as_deref(),
        Some("200")
    );
    assert_eq!(attribute(&admit, "http.route").as_deref(), Some("/"));
    let of_http = collector.span(&"6".repeat(32), "push");
    assert_eq!(of_http.parent_span_id, admit.span_id);

    for span in collector.spans() {
        assert_ne!(hex(&span.trace_id), unkept, "its client does not keep it");
        // Nobody invents a duration.
        let is_still = span.start_time_unix_nano == span.end_time_unix_nano;
        let measured = attribute(&span, "syncline.duration.measured");
        assert_eq!(measured.is_some(), is_still, "{span:?}");
        assert!(!format!("{span:?}").contains("payload"), "{span:?}");
    }
    // Where storage answers at once, there is nothing to measure.
    if storage == Storage::ObjectSqlite {
        for span in [&push, &turn, &append, &pull] {
            assert_eq!(span.start_time_unix_nano, span.end_time_unix_nano);
        }
    }
}

fn spans_leave_in_time() {
    let collector = Collector::start(Manner::Takes);
    // Nothing of the Worker's own, so that all spans are of this room.
    let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let rooms = traced(Storage::ObjectSqlite, &collector, &[sampler]);
    let mut client = socket(&rooms, "in-time", &[]);
    let span = "c".repeat(16);
    let mut pushes = 0;
    let mut push_in = |client: &mut Socket, trace: &str, sampled| {
        pushes += 1;
        let request = push(&pushes.to_string(), "in-time", &events(pushes, pushes));
        client.send(within(request, trace, &span, sampled));
        client.receive_json();
    };
    let many = "1".repeat(32);
    let begun = Instant::now();
    while collector.requests() == 0 {
        assert!(begun.elapsed() < PATIENCE, "they are not sent");
        push_in(&mut client, &many, true);
    }
    collector.span(&many, "push");
    // On a machine that is so slow they leave since they are old.
    if begun.elapsed() < Duration::from_secs(8) {
        let first = collector.spans().len();
        assert!((64..70).contains(&first), "{first} spans leave at once");
    }
    // A few wait until something happens when they have waited for long.
    let few = "2".repeat(32);
    push_in(&mut client, &few, true);
    let unkept = "3".repeat(32);
    let begun = Instant::now();
    let is_there = || {
        let spans = collector.spans();
        spans.iter().any(|it| hex(&it.trace_id) == few)
    };
    while !is_there() {
        assert!(begun.elapsed() < PATIENCE, "they are not sent");
        std::thread::sleep(Duration::from_secs(1));
        push_in(&mut client, &unkept, false);
    }
    assert!(begun.elapsed() > Duration::from_secs(5), "they have waited");
}

fn hashed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let collector = Collector::start(Manner::Takes);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("TELEMETRY_HASH_IDS", "true"),
    ];
    let rooms = Rooms::start_with(Storage::ObjectSqlite, &variables, Some(log.clone())).unwrap();
    // SHA-256 of it, the beginning.
    let (store, hash) = ("abc", "ba7816bf8f01cfea");
    let trace = "6".repeat(32);
    let mut client = socket(&rooms, store, &[]);
    let request = push("1", store, &events(1, 1));
    client.send(within(request, &trace, "eeeeeeeeeeeeeeee", true));
    client.receive_json();
    client.close(1000);
    let turn = collector.span(&trace, "turn");
    assert_eq!(attribute(&turn, "syncline.store.id").as_deref(), Some(hash));
    let wrong = token::url(store, "http", Some("secret-token"));
    assert_eq!(
        http::request(&rooms.server, "POST", &wrong, &[], "{}").status,
        401
    );
    let told = |event: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&log).unwrap();
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let found = lines.into_iter().find(|it: &Value| it["event"] == event);
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < deadline, "{event} is not in:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for event in ["ended", "refused"] {
        assert_eq!(told(event)["store"], hash);
    }
    assert!(!fs::read_to_string(&log).unwrap().contains("\"abc\""));
}

fn refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let rooms = Rooms::start_with(Storage::ObjectSqlite, &variables, Some(log.clone())).unwrap();
    assert_eq!(http::get(&rooms.server, "/readyz").status, 503);
    let url = token::url("s", "http", Some(&token::good("s")));
    assert_eq!(
        http::request(&rooms.server, "POST", &url, &[], "{}").status,
        503
    );
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = fs::read_to_string(&log).unwrap();
        if said.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && said.contains("http/json") {
            return;
        }
        assert!(Instant::now() < deadline, "{said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
