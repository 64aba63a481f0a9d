//! The span of a client that a request names: `traceId`, `spanId` and
//! `sampled` beside its payload (`@effect/rpc`, `RpcMessage.ts`,
//! `RequestEncoded`), where the client's app has a tracer.

use serde_json::value::RawValue;

/// A client's span: W3C Trace Context's identifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// 32 lowercase hexadecimal digits, not all zero.
    pub trace_id: String,
    /// 16 lowercase hexadecimal digits, not all zero.
    pub span_id: String,
    /// Whether the client's trace is kept.
    pub sampled: bool,
}

impl Trace {
    /// The span that these name. What makes no sense names none: a request is
    /// served whatever its client's tracer does.
    #[must_use]
    pub fn read(
        trace_id: Option<&RawValue>,
        span_id: Option<&RawValue>,
        sampled: Option<&RawValue>,
    ) -> Option<Self> {
        Some(Self {
            trace_id: identifier::<32>(trace_id?)?,
            span_id: identifier::<16>(span_id?)?,
            sampled: sampled?.get() == "true",
        })
    }
}

fn identifier<const DIGITS: usize>(value: &RawValue) -> Option<String> {
    let text = value.get().strip_prefix('"')?.strip_suffix('"')?;
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_zero = text.bytes().all(|byte| byte == b'0');
    (text.len() == DIGITS && is_hex && !is_zero).then(|| text.to_ascii_lowercase())
}
