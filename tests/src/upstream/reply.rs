//! What an upstream answers.

use bytes::Bytes;
use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// When they come.
    pub head: Head,
    /// What follows.
    pub body: Vec<Piece>,
}

/// When an answer's head comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// At once.
    Now,
    /// When a hold is released.
    Held,
    /// The connection breaks instead.
    Never,
}

/// A piece of an answer.
#[derive(Debug, Clone)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// So many bytes of no meaning.
    Fill(usize),
    /// Nothing more until it is released, or the client has gone.
    Hold,
    /// The connection breaks.
    Break,
}

/// A server-sent event.
#[must_use]
pub fn event(data: &Value) -> Piece {
    Piece::Bytes(format!("data: {data}\n\n").into())
}

fn chunk(delta: &Value, finish_reason: Option<&str>) -> Piece {
    event(&json!({
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "test-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }))
}

fn usage(tokens: u64) -> Value {
    json!({
        "prompt_tokens": tokens / 2,
        "completion_tokens": tokens - tokens / 2,
        "total_tokens": tokens,
    })
}

fn completion(message: &Value, finish_reason: &str, tokens: u64) -> Value {
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "test-model",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": usage(tokens),
    })
}

impl Reply {
    /// These bytes, as this type.
    #[must_use]
    pub fn of(content_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            head: Head::Now,
            body: vec![Piece::Bytes(bytes.into())],
        }
    }

    /// A completion with this text, that has cost so many tokens.
    #[must_use]
    pub fn completion(text: &str, tokens: u64) -> Self {
        let message = json!({"role": "assistant", "content": text});
        let body = completion(&message, "stop", tokens);
        Self::of("application/json", body.to_string())
    }

    /// A completion that calls a tool; `arguments` as models write them.
    #[must_use]
    pub fn tool_call(id: &str, name: &str, arguments: &str) -> Self {
        let message = json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}},
        ]});
        let body = completion(&message, "tool_calls", 9);
        Self::of("application/json", body.to_string())
    }

    /// A stream of these pieces.
    #[must_use]
    pub fn events(pieces: impl Into<Vec<Piece>>) -> Self {
        Self {
            body: pieces.into(),
            ..Self::of("text/event-stream; charset=utf-8", "")
        }
    }

    /// A whole stream with these texts, that has cost so many tokens.
    #[must_use]
    pub fn stream(texts: &[&str], tokens: u64) -> Self {
        let mut pieces = Self::begun(texts);
        pieces.extend(Self::ended("stop", tokens));
        Self::events(pieces)
    }

    /// How a stream with these texts begins.
    #[must_use]
    pub fn begun(texts: &[&str]) -> Vec<Piece> {
        let role = chunk(&json!({"role": "assistant", "content": ""}), None);
        let texts = texts
            .iter()
            .map(|text| chunk(&json!({"content": text}), None));
        std::iter::once(role).chain(texts).collect()
    }

    /// How a stream ends, having cost so many tokens.
    #[must_use]
    pub fn ended(finish_reason: &str, tokens: u64) -> Vec<Piece> {
        vec![
            chunk(&json!({}), Some(finish_reason)),
            event(&json!({
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "test-model",
                "choices": [],
                "usage": usage(tokens),
            })),
            Piece::Bytes(Bytes::from_static(b"data: [DONE]\n\n")),
        ]
    }

    /// A whole stream that calls a tool, its arguments in these pieces.
    #[must_use]
    pub fn tool_stream(id: &str, name: &str, arguments: &[&str]) -> Self {
        let mut pieces = Self::begun(&[]);
        let first = json!({"tool_calls": [{
            "index": 0, "id": id, "type": "function",
            "function": {"name": name, "arguments": ""},
        }]});
        pieces.push(chunk(&first, None));
        pieces.extend(arguments.iter().map(|part| {
            let call = json!({"index": 0, "function": {"arguments": part}});
            chunk(&json!({"tool_calls": [call]}), None)
        }));
        pieces.extend(Self::ended("tool_calls", 9));
        Self::events(pieces)
    }

    /// A refusal, with OpenAI's error.
    #[must_use]
    pub fn refusal(status: u16, words: &str) -> Self {
        let error = json!({"error": {"message": words, "type": "x", "code": "x", "param": null}});
        Self {
            status,
            ..Self::of("application/json", error.to_string())
        }
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(status: u16, to: &str) -> Self {
        Self {
            status,
            ..Self::of("text/plain", "elsewhere").with("location", to)
        }
    }

    /// With a header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With its head at another time.
    #[must_use]
    pub fn when(self, head: Head) -> Self {
        Self { head, ..self }
    }
}
