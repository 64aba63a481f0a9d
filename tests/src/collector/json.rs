//! OTLP's JSON encoding of spans (opentelemetry.io/docs/specs/otlp, "JSON
//! Protobuf Encoding"): ids are hexadecimal, 64-bit numbers are text, enums
//! are numbers. Strict, so that a field with a wrong name is seen.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<JsonSpan>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Scope {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonSpan {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    flags: u32,
    name: String,
    kind: i32,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute>,
    links: Vec<JsonLink>,
    status: Option<JsonStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonLink {
    trace_id: String,
    span_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonStatus {
    code: i32,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attribute {
    key: String,
    value: JsonValue,
}

#[derive(Deserialize)]
enum JsonValue {
    #[serde(rename = "stringValue")]
    String(String),
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[serde(rename = "boolValue")]
    Bool(bool),
}

/// The spans of a request, each as of a resource that has a name.
///
/// # Panics
/// When it is none.
pub fn spans(body: &[u8]) -> Vec<Span> {
    let request: Request = serde_json::from_slice(body).expect("OTLP in JSON");
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let mut attributes = of_resource.resource.attributes.iter();
        assert!(attributes.any(|it| it.key == "service.name"));
        for of_scope in of_resource.scope_spans {
            assert_eq!(of_scope.scope.name, "syncline");
            spans.extend(of_scope.spans.into_iter().map(span));
        }
    }
    spans
}

fn span(it: JsonSpan) -> Span {
    let nanos = |text: &str| text.parse().expect("nanoseconds, as text");
    Span {
        trace_id: id(&it.trace_id, 16),
        span_id: id(&it.span_id, 8),
        parent_span_id: match it.parent_span_id.as_str() {
            "" => Vec::new(),
            parent => id(parent, 8),
        },
        flags: it.flags,
        name: it.name,
        kind: it.kind,
        start_time_unix_nano: nanos(&it.start_time_unix_nano),
        end_time_unix_nano: nanos(&it.end_time_unix_nano),
        attributes: it.attributes.into_iter().map(attribute).collect(),
        links: it.links.iter().map(link).collect(),
        status: it.status.map(|status| Status {
            code: status.code,
            message: status.message,
        }),
        ..Span::default()
    }
}

fn link(it: &JsonLink) -> Link {
    Link {
        trace_id: id(&it.trace_id, 16),
        span_id: id(&it.span_id, 8),
        ..Link::default()
    }
}

fn attribute(it: Attribute) -> KeyValue {
    let value = match it.value {
        JsonValue::String(text) => Value::StringValue(text),
        JsonValue::Int(text) => Value::IntValue(text.parse().expect("a number, as text")),
        JsonValue::Double(number) => Value::DoubleValue(number),
        JsonValue::Bool(truth) => Value::BoolValue(truth),
    };
    KeyValue {
        key: it.key,
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// An id of so many bytes.
fn id(text: &str, bytes: usize) -> Vec<u8> {
    assert_eq!(text.len(), 2 * bytes, "{text}");
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let read: Option<Vec<u8>> = (0..bytes).map(|at| byte(2 * at)).collect();
    read.expect("hexadecimal digits")
}
