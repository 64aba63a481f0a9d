//! What services ask of others, as traces and metrics have it: on wasmtime.

use std::path::Path;

use syncline_tests::bucket::{BUCKET, Bucket};
use syncline_tests::collector::{Collector, Manner, Span, attribute, hex};
use syncline_tests::exchange::{Answer, Ask};
use syncline_tests::http;
use syncline_tests::server::{Server, Syncline};
use syncline_tests::upstream::{Head, Piece, Reply};

use crate::callers::User;
use crate::picture::{Form, content_type, png};
use crate::scenarios;
use crate::stage::{Host, Profile, Stage, upstream};
use crate::{Scenario, stage};

pub fn of_wasmtime() -> Vec<Scenario> {
    scenarios![
        Open:
            an_upstreams_call_is_a_span_of_the_requests_and_the_upstream_is_told,
            a_trace_that_is_not_kept_is_told_to_no_upstream,
            an_upstreams_call_that_fails_says_how,
            i1_an_object_stores_calls_are_spans_and_it_is_not_told,
            images_in_a_directory_are_asked_of_no_server
    ]
}

/// What OpenTelemetry calls the kinds of a span.
const INTERNAL: i32 = 1;
const CLIENT: i32 = 3;

const SPAN: &str = "b7ad6b7169203331";

/// A server whose telemetry goes to this collector, at once.
fn traced(
    collector: &Collector,
    images: &str,
    more: &[(&'static str, String)],
    dir: &Path,
) -> Server {
    let mut variables = Profile::Open.variables(&upstream().url());
    variables.extend([
        ("R2_PUBLIC_URL", "https://images.example.com".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()),
        ("OTEL_BSP_SCHEDULE_DELAY", "10".to_owned()),
    ]);
    variables.extend_from_slice(more);
    let syncline = Syncline {
        storage: "memory".to_owned(),
        arguments: ["--metrics", "--images", images].map(str::to_owned).into(),
        variables,
        log: None,
    };
    syncline.start_in(dir).expect("a server")
}

/// The `traceparent` of a trace that is kept.
fn kept(trace: &str) -> String {
    format!("00-{trace}-{SPAN}-01")
}

fn ask(server: &Server, traceparent: &str, marker: &str, is_stream: bool) -> Answer {
    let question = serde_json::json!({"model": "any", "message": marker, "stream": is_stream});
    let ask = Ask::new("POST", "/api/llm/chat").with("content-type", "application/json");
    let ask = ask.with("traceparent", traceparent);
    stage::seen(ask.send_with(&server.url, question.to_string()))
}

/// The spans of this name in this trace, when there are so many.
fn spans(collector: &Collector, trace: &str, name: &str, count: usize) -> Vec<Span> {
    collector.wait_for(name, |it| {
        let spans = it.spans().into_iter();
        let found = spans.filter(|it| hex(&it.trace_id) == trace && it.name == name);
        let found: Vec<_> = found.collect();
        (found.len() >= count).then_some(found)
    })
}

#[track_caller]
fn has(span: &Span, attributes: &[(&str, Option<&str>)]) {
    for (key, value) in attributes {
        assert_eq!(attribute(span, key).as_deref(), *value, "{key}: {span:?}");
    }
}

fn an_upstreams_call_is_a_span_of_the_requests_and_the_upstream_is_told(_: &Stage) {
    let collector = Collector::start(Manner::Takes);
    let dir = tempfile::tempdir().expect("a directory");
    let server = traced(&collector, "images", &[], dir.path());
    for (is_stream, trace, tokens) in [(false, "1".repeat(32), 41), (true, "2".repeat(32), 42)] {
        let reply = if is_stream {
            Reply::stream(&["yes"], tokens)
        } else {
            Reply::completion("yes", tokens)
        };
        let script = upstream().script([reply]);
        let answer = ask(&server, &kept(&trace), &script.marker, is_stream);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let admit = collector.span(&trace, "admit");
        assert_eq!(hex(&admit.parent_span_id), SPAN);
        let relay = collector.span(&trace, "relay");
        assert_eq!(
            (relay.parent_span_id.clone(), relay.kind),
            (admit.span_id, CLIENT)
        );
        let port = upstream().url();
        let port = port
            .trim_end_matches("/v1")
            .rsplit(':')
            .next()
            .expect("a port");
        has(
            &relay,
            &[
                ("http.request.method", Some("POST")),
                ("server.address", Some("127.0.0.1")),
                ("server.port", Some(port)),
                ("http.response.status_code", Some("200")),
                ("syncline.llm.tokens", Some(&tokens.to_string())),
                ("error.type", None),
            ],
        );
        let told = format!("00-{trace}-{}-01", hex(&relay.span_id));
        let call = script.call();
        assert_eq!(call.header("traceparent"), Some(told.as_str()));
        assert_eq!(call.header("tracestate"), None);
    }
    let metrics = http::request(&server, "GET", "/metrics", &[], "").body;
    let series = "syncline_service_call_duration_seconds_count{syncline_service=\"relay\"} 2";
    assert!(metrics.contains(series), "{metrics}");
}

fn a_trace_that_is_not_kept_is_told_to_no_upstream(_: &Stage) {
    let collector = Collector::start(Manner::Takes);
    let dir = tempfile::tempdir().expect("a directory");
    let server = traced(&collector, "images", &[], dir.path());
    let untraced = stage::stage(Host::Wasmtime, Profile::Open).expect("a server");
    let trace = "3".repeat(32);
    // One that its client does not keep, and one of a server without tracing.
    for (server, traceparent) in [
        (&server, format!("00-{trace}-{SPAN}-00")),
        (&untraced.server, kept(&trace)),
    ] {
        let script = upstream().script([Reply::completion("yes", 1)]);
        let answer = ask(server, &traceparent, &script.marker, false);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(script.call().header("traceparent"), None);
    }
    // What comes behind it has come.
    let script = upstream().script([Reply::completion("yes", 1)]);
    let behind = "4".repeat(32);
    assert_eq!(
        ask(&server, &kept(&behind), &script.marker, false).status,
        200
    );
    collector.span(&behind, "relay");
    let found = collector.spans();
    assert!(
        found.iter().all(|it| hex(&it.trace_id) == behind),
        "{found:?}"
    );
}

fn an_upstreams_call_that_fails_says_how(_: &Stage) {
    let collector = Collector::start(Manner::Takes);
    let dir = tempfile::tempdir().expect("a directory");
    let server = traced(&collector, "images", &[], dir.path());
    let refuses = Reply {
        status: 401,
        ..Reply::of("application/json", "{}")
    };
    let breaks = Reply {
        head: Head::Never,
        ..Reply::completion("never", 1)
    };
    let mut pieces = Reply::begun(&["half"]);
    pieces.push(Piece::Break);
    for (number, reply, is_stream, status, error) in [
        (5, refuses, false, Some("401"), "refused"),
        (6, breaks, false, None, "broken"),
        (7, Reply::events(pieces), true, Some("200"), "broken"),
    ] {
        let trace = number.to_string().repeat(32);
        let script = upstream().script([reply]);
        let _ = ask(&server, &kept(&trace), &script.marker, is_stream);
        let relay = collector.span(&trace, "relay");
        has(
            &relay,
            &[
                ("http.response.status_code", status),
                ("error.type", Some(error)),
            ],
        );
    }
}

fn i1_an_object_stores_calls_are_spans_and_it_is_not_told(_: &Stage) {
    let collector = Collector::start(Manner::Takes);
    let bucket = Bucket::start().expect("a bucket");
    let dir = tempfile::tempdir().expect("a directory");
    let images = format!("s3://{BUCKET}/here");
    let server = traced(&collector, &images, &bucket.variables(), dir.path());
    let user = User::new("traced", false);
    let send = |ask: Ask, trace: &str, body: Vec<u8>| {
        let ask = ask.with("traceparent", &kept(trace));
        stage::seen(ask.send_with(&server.url, body))
    };
    let upload = |trace: &str| {
        let ask = user.ask("POST", "/api/upload-image");
        let ask = ask.with("content-type", &content_type());
        send(ask, trace, Form::with_file(&png()).end())
    };
    let (put, got, gone, failed) = (
        "8".repeat(32),
        "9".repeat(32),
        "a".repeat(32),
        "b".repeat(32),
    );
    let uploaded = upload(&put);
    assert_eq!(uploaded.status, 200, "{}", uploaded.text());
    let key = uploaded.json()["key"].as_str().expect("a key").to_owned();
    let path = format!("/api/images/{key}");
    assert_eq!(send(Ask::get(&path), &got, vec![]).status, 200);
    let removed = send(user.ask("DELETE", &path), &gone, vec![]);
    assert_eq!(removed.status, 204, "{}", removed.text());
    let missing = send(Ask::get(&path), &gone, vec![]);
    assert_eq!(missing.status, 404, "{}", missing.text());
    bucket.fail(true);
    assert_eq!(upload(&failed).status, 503);

    let seen = |trace: &str, name: &str, asked: &[(&str, &str, Option<&str>)]| {
        let spans = spans(&collector, trace, name, asked.len());
        for (method, status, error) in asked {
            let is_it = |it: &&Span| {
                let status_of = attribute(it, "http.response.status_code");
                attribute(it, "http.request.method").as_deref() == Some(method)
                    && status_of.as_deref() == Some(status)
                    && attribute(it, "error.type").as_deref() == *error
            };
            let span = spans.iter().find(is_it);
            let span = span.unwrap_or_else(|| panic!("{method} {status}: {spans:?}"));
            has(span, &[("server.address", Some("127.0.0.1"))]);
            assert_eq!(span.kind, CLIENT);
        }
    };
    seen(&put, "image.upload", &[("PUT", "200", None)]);
    let admit = collector.span(&put, "admit");
    assert_eq!(
        collector.span(&put, "image.upload").parent_span_id,
        admit.span_id
    );
    let found = [("HEAD", "200", None), ("GET", "206", None)];
    seen(&got, "image.deliver", &found);
    // As its client deletes: many at once, if there were many.
    seen(
        &gone,
        "image.remove",
        &[("HEAD", "200", None), ("POST", "200", None)],
    );
    seen(
        &gone,
        "image.deliver",
        &[("HEAD", "404", Some("not_found"))],
    );
    seen(
        &failed,
        "image.upload",
        &[("PUT", "500", Some("unavailable"))],
    );
    let retried = collector.span(&failed, "image.upload");
    has(&retried, &[("http.request.resend_count", Some("3"))]);
    // What is signed is sent as it was signed, and to a stranger.
    assert_eq!((bucket.traced(), bucket.unsigned()), (0, 0));
}

fn images_in_a_directory_are_asked_of_no_server(_: &Stage) {
    let collector = Collector::start(Manner::Takes);
    let dir = tempfile::tempdir().expect("a directory");
    let server = traced(&collector, "images", &[], dir.path());
    let trace = "c".repeat(32);
    let ask = User::new("traced", false).ask("POST", "/api/upload-image");
    let ask = ask.with("content-type", &content_type());
    let ask = ask.with("traceparent", &kept(&trace));
    let answer = ask.send_with(&server.url, Form::with_file(&png()).end());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let upload = collector.span(&trace, "image.upload");
    assert_eq!(upload.kind, INTERNAL);
    has(
        &upload,
        &[
            ("http.request.method", None),
            ("server.address", None),
            ("error.type", None),
        ],
    );
}
