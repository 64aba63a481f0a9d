//! Data points: a Worker's metrics, as a dataset has them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::rpc::{cursor, events, pull, push};
use syncline_tests::socket::Received;
use syncline_tests::upstream::{Reply, Upstream};
use syncline_tests::workerd::Storage;

use crate::peer::Peer;
use crate::rooms::Rooms;
use crate::telemetry::{PATIENCE, socket};
use crate::token;

/// The columns of a dataset (`observability.md`, “On Cloudflare”).
const BLOBS: [&str; 10] = [
    "error.type",
    "syncline.code",
    "rpc.method",
    "db.operation.name",
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "syncline.closed.by",
    "syncline.close.code",
    "syncline.signal",
];

/// A point: its metric, its attributes, its value.
type Point = (String, Vec<(&'static str, String)>, f64);

/// The points of a Worker so far: their index and those blobs that are not
/// empty, with the sum of their first double.
fn points(rooms: &Rooms) -> Vec<Point> {
    let written = http::get(&rooms.server, "/__probe/points").json();
    let of = |point: &Value| {
        let blobs = point["blobs"].as_array().unwrap();
        assert_eq!(blobs.len(), BLOBS.len(), "{point}");
        let named = BLOBS.iter().zip(blobs);
        let set = named.filter(|(_, blob)| *blob != "");
        let set = set.map(|(name, blob)| (*name, blob.as_str().unwrap().to_owned()));
        let doubles = point["doubles"].as_array().unwrap();
        assert!((1..=2).contains(&doubles.len()), "{point}");
        let metric = point["indexes"][0].as_str().unwrap().to_owned();
        (metric, set.collect(), doubles[0].as_f64().unwrap())
    };
    written.as_array().unwrap().iter().map(of).collect()
}

/// What a metric with these attributes adds up to.
fn sum(rooms: &Rooms, metric: &str, attributes: &[(&'static str, &str)]) -> f64 {
    let is_it = |blobs: &[(&str, String)]| {
        let mut blobs = blobs.iter().map(|(name, blob)| (*name, blob.as_str()));
        blobs.len() == attributes.len() && blobs.all(|it| attributes.contains(&it))
    };
    let all = points(rooms).into_iter();
    all.filter(|(name, blobs, _)| name == metric && is_it(blobs))
        .map(|(_, _, value)| value)
        .sum()
}

/// Sees what is counted, in its columns, and that it names nobody.
pub fn data_points(storage: Storage) {
    let rooms = Rooms::start_with(storage, &[("PROBE_METRICS", "1")], None).unwrap();
    let store = "a-store-of-somebody";
    let mut reader = Peer::live_v4(&rooms, store, 0);
    let mut client = socket(&rooms, store, &[]);
    client.send(push("7777777", store, &events(1, 3)));
    client.receive_json();
    client.send(push("7777777", store, &events(1, 3)));
    client.receive_json();
    reader.until(3);
    let ahead = cursor(&reader.backend_id, 99);
    client.send(pull("8", store, false, Some(ahead)));
    client.receive_json();
    // What clients make up is none of a known set.
    assert_eq!(http::get(&rooms.server, "/made/up").status, 404);
    let wrong = token::url(store, "http", Some("secret-token"));
    assert_eq!(
        http::request(&rooms.server, "POST", &wrong, &[], "{}").status,
        401
    );
    client.close(3333);
    while let Received::Text(_) = client.receive() {}

    let closed = [
        ("syncline.closed.by", "client"),
        ("syncline.close.code", "other"),
    ];
    let deadline = Instant::now() + PATIENCE;
    while sum(&rooms, "syncline.closes", &closed) < 1.0 {
        assert!(Instant::now() < deadline, "{:?}", points(&rooms));
        std::thread::sleep(Duration::from_millis(20));
    }
    rooms.arm_kind(store, "refuse-insert");
    let mut late = socket(&rooms, store, &[]);
    late.send(push("1", store, &events(4, 4)));
    late.receive_json();
    rooms.arm_kind(store, "trap-after-append");
    late.send(push("2", store, &events(4, 4)));
    while let Received::Text(_) = late.receive() {}

    let push = ("rpc.method", "push");
    let (get, post) = ("http.request.method", "GET");
    for (metric, attributes, value) in [
        ("rpc.server.call.duration", vec![push], 1.0),
        (
            "rpc.server.call.duration",
            vec![push, ("error.type", "SERVER_AHEAD")],
            1.0,
        ),
        ("syncline.admissions", vec![("syncline.code", "OK")], 3.0),
        (
            "syncline.admissions",
            vec![("syncline.code", "TOKEN_INVALID")],
            1.0,
        ),
        ("syncline.connections.opened", vec![], 3.0),
        ("syncline.events.appended", vec![], 3.0),
        ("syncline.guest.failures", vec![("error.type", "trap")], 1.0),
        (
            "syncline.storage.errors",
            vec![("error.type", "unavailable")],
            1.0,
        ),
        ("syncline.claims.lookups", vec![], 1.0),
        ("syncline.clients.ahead", vec![], 1.0),
        ("syncline.room.wakes", vec![], 1.0),
        (
            "http.server.request.duration",
            vec![
                (get, post),
                ("http.route", "other"),
                ("http.response.status_code", "404"),
            ],
            1.0,
        ),
    ] {
        let found = sum(&rooms, metric, &attributes);
        assert_eq!(
            found,
            value,
            "{metric} {attributes:?}: {:?}",
            points(&rooms)
        );
    }
    let by_server = [
        ("syncline.closed.by", "server"),
        ("syncline.close.code", "1011"),
    ];
    assert!(sum(&rooms, "syncline.closes", &by_server) >= 2.0);
    for metric in [
        "syncline.frames.delivered",
        "syncline.delivered.size",
        "syncline.append.size",
    ] {
        assert!(sum(&rooms, metric, &[]) > 3.0, "{metric}");
    }
    let append = [("db.operation.name", "append")];
    assert_eq!(sum(&rooms, "db.client.operation.duration", &append), 2.0);

    let written = http::get(&rooms.server, "/__probe/points").body;
    for nobodys in [
        store,
        "user-1",
        "7777777",
        "made/up",
        "secret-token",
        "3333",
    ] {
        assert!(!written.contains(nobodys), "{nobodys} is in {written}");
    }
    // Only what waits is measured.
    let seconds = |metric: &str| {
        let written = http::get(&rooms.server, "/__probe/points").json();
        let points = written.as_array().unwrap().clone();
        let mut of_metric = points.into_iter().filter(|it| it["indexes"][0] == metric);
        of_metric.any(|it| it["doubles"].as_array().unwrap().len() == 2)
    };
    let is_d1 = storage == Storage::D1;
    assert_eq!(seconds("db.client.operation.duration"), is_d1);
    assert_eq!(seconds("rpc.server.call.duration"), is_d1);
    let kinds: BTreeSet<_> = points(&rooms).into_iter().map(|it| (it.0, it.1)).collect();
    assert!(kinds.len() < 60, "{kinds:?}");
}

/// Sees what relays use counted, also what is told after the answer.
pub fn tokens() {
    let upstream = Upstream::start().unwrap();
    let variables = [
        ("PROBE_METRICS", "1"),
        ("LLM_BASE_URL", &upstream.url()),
        ("LLM_API_KEY", "a-key"),
    ];
    let rooms = Rooms::start_with(Storage::ObjectSqlite, &variables, None).unwrap();
    let authorization = format!("Bearer {}", token::good("s"));
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let path = "/v1/chat/completions";
    for (reply, is_stream) in [
        (Reply::completion("Yes.", 7), false),
        (Reply::stream(&["Y", "es."], 11), true),
    ] {
        let script = upstream.script([reply]);
        let message = json!({"role": "user", "content": script.marker});
        let body = json!({"model": "any", "messages": [message], "stream": is_stream});
        let body = body.to_string();
        let answer = http::request(&rooms.server, "POST", path, &headers, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // A stream's leave after its answer.
    let deadline = Instant::now() + PATIENCE;
    while sum(&rooms, "syncline.llm.tokens", &[]) < 18.0 {
        assert!(Instant::now() < deadline, "{:?}", points(&rooms));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(sum(&rooms, "syncline.llm.tokens", &[]), 18.0);
    let requests = [
        ("http.request.method", "POST"),
        ("http.route", path),
        ("http.response.status_code", "200"),
    ];
    assert_eq!(sum(&rooms, "http.server.request.duration", &requests), 2.0);
}
