//! Clients whose app has OpenTelemetry switched on: what they and the server
//! tell one collector is one trace.

use std::time::Duration;

use syncline_tests::cell::Cell::{self, WasmtimeMemory};
use syncline_tests::collector::{Collector, Manner, Span, attribute, hex};
use syncline_tests::profile::Profile;
use syncline_tests::server::Server;

use crate::fleet::{self, Fleet};
use crate::store::Store;
use crate::{Matrix, Scenario, scenarios};

/// Both transports of 0.4, each with a server of its own.
const BOTH: Matrix = &[(WasmtimeMemory, &[fleet::WS_040, fleet::HTTP_040])];

/// Whose sockets are told of others' events.
const SUBSCRIBERS: Matrix = &[(WasmtimeMemory, &[fleet::WS_040])];

/// What OpenTelemetry calls the kinds of a span.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;

/// The spans that a server makes within its clients'.
const REQUESTS: [&str; 6] = ["push", "pull", "turn", "append", "commit", "deliver"];

/// How long a server may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        BOTH =>
            a_clients_push_and_the_servers_append_are_one_trace,
            a_client_that_keeps_no_trace_has_none_kept_by_the_server;
        SUBSCRIBERS => what_a_subscriber_is_told_is_in_its_trace_and_linked_to_the_push
    ]
}

/// A server and a store on it, whose telemetry, and its clients', goes to this
/// collector.
fn traced(
    cell: Cell,
    fleet: Fleet,
    collector: &Collector,
    of_clients: &[(&'static str, &str)],
) -> (Server, Store) {
    let to = |name: &'static str, value: &str| (name, value.to_owned());
    let at_once = [
        to("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        to("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ];
    let mut syncline = cell.syncline(Profile::Open).expect("a Syncline");
    syncline.variables.extend(at_once.clone());
    let server = syncline.start().expect("the server starts");
    let mut store = Store::new(&server, fleet);
    store.telemetry.extend(at_once);
    let of_clients = of_clients.iter();
    store
        .telemetry
        .extend(of_clients.map(|(name, value)| to(name, value)));
    (server, store)
}

/// The first span that is so, when it is there.
fn span(collector: &Collector, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
    collector.wait_for(what, |it| it.spans().into_iter().find(&is_it))
}

fn a_clients_push_and_the_servers_append_are_one_trace(cell: Cell, fleet: Fleet) {
    let collector = Collector::start(Manner::Takes);
    let (_server, store) = traced(cell, fleet, &collector, &[]);
    let mut client = store.open("client-a");
    client.commit("traced");
    store.rest(&mut [&mut client]);
    let push = span(&collector, "the server's push", |it| {
        it.name == "push" && it.kind == SERVER
    });
    let parent = span(&collector, "the client's", |it| {
        it.span_id == push.parent_span_id
    });
    assert!(parent.name.ends_with(".Push"), "{parent:?}");
    assert_eq!(parent.kind, INTERNAL, "it is none of the server's");
    assert_eq!(hex(&parent.trace_id), hex(&push.trace_id));
    assert!(parent.start_time_unix_nano <= push.start_time_unix_nano);
    assert_eq!(attribute(&push, "syncline.events").as_deref(), Some("1"));
    let trace = hex(&push.trace_id);
    let append = collector.span(&trace, "append");
    let turn = span(&collector, "the turn", |it| {
        it.span_id == append.parent_span_id
    });
    assert_eq!(
        (turn.name.as_str(), &turn.parent_span_id),
        ("turn", &push.span_id)
    );
    // It is the app's: its own span is its root.
    client.stop();
    let app = collector.span(&trace, "app");
    assert!(app.parent_span_id.is_empty(), "{app:?}");
}

fn what_a_subscriber_is_told_is_in_its_trace_and_linked_to_the_push(cell: Cell, fleet: Fleet) {
    let collector = Collector::start(Manner::Takes);
    let (_server, store) = traced(cell, fleet, &collector, &[]);
    let (mut pusher, mut subscriber) = (store.open("client-a"), store.open("client-b"));
    store.rest(&mut [&mut pusher, &mut subscriber]);
    pusher.commit("traced");
    store.rest(&mut [&mut pusher, &mut subscriber]);
    let push = span(&collector, "the server's push", |it| {
        it.name == "push" && it.kind == SERVER
    });
    let append = collector.span(&hex(&push.trace_id), "append");
    let delivered = span(&collector, "a delivery to the other", |it| {
        let mut links = it.links.iter();
        let is_linked = links.any(|link| link.span_id == append.span_id);
        it.name == "deliver" && it.trace_id != push.trace_id && is_linked
    });
    assert_eq!(delivered.links[0].trace_id, push.trace_id);
    // It is within the subscriber's own pull, which ends with it.
    let pull = span(&collector, "the server's pull", |it| {
        it.span_id == delivered.parent_span_id
    });
    assert_eq!((pull.name.as_str(), pull.kind), ("pull", SERVER));
    subscriber.stop();
    let parent = span(&collector, "the subscriber's", |it| {
        it.span_id == pull.parent_span_id
    });
    assert!(parent.name.ends_with(".Pull"), "{parent:?}");
    assert_eq!(parent.trace_id, delivered.trace_id);
}

fn a_client_that_keeps_no_trace_has_none_kept_by_the_server(cell: Cell, fleet: Fleet) {
    let collector = Collector::start(Manner::Takes);
    let variables = [("OTEL_TRACES_SAMPLER", "always_off")];
    let (mut server, store) = traced(cell, fleet, &collector, &variables);
    let mut client = store.open("client-a");
    client.commit("untraced");
    store.rest(&mut [&mut client]);
    client.stop();
    // What is left is sent then.
    let process = server.process.as_mut().expect("its own");
    process.signal("TERM");
    process.wait(PATIENCE).expect("it ends");
    let spans = collector.spans();
    let of_requests = spans
        .iter()
        .filter(|it| REQUESTS.contains(&it.name.as_str()));
    assert_eq!(of_requests.count(), 0, "{spans:?}");
}
