//! The LLM proxy, from the request to the last byte.

mod asking;
mod chat;
mod junk;
mod routing;
mod steps;
mod streams;
mod walks;

use serde_json::Value;

use super::*;
use crate::admission::admit;
use crate::contract::exports::syncline::backend::relay::Call;
use crate::services::fake_host::{FakeHost, header, request};

/// The server's key: it must stand in no answer, log or context.
const CANARY: &str = "sk-canary-4f1d9c0b7e";

const JSON: (&str, &str) = ("content-type", "application/json");

const ON: [(&str, &str); 3] = [
    ("LLM_BASE_URL", "https://llm.example/v1"),
    ("LLM_API_KEY", CANARY),
    ("LLM_MODELS", "small, large"),
];

/// A relay under way.
struct Proxy {
    host: FakeHost,
    config: Config,
    path: &'static str,
}

impl Proxy {
    fn new(path: &'static str) -> Self {
        Self::with(path, &[])
    }

    fn with(path: &'static str, env: &[(&str, &str)]) -> Self {
        let mut all = ON.to_vec();
        all.extend(env);
        let mut host = FakeHost::new(&all);
        let config = host.config();
        Self { host, config, path }
    }

    fn begin(&mut self, body: &str) -> Step {
        self.begin_with(Ok(body.as_bytes()))
    }

    fn begin_with(&mut self, body: Result<&[u8], BodyFault>) -> Step {
        let config = Ok(self.config.clone());
        let verdict = admit(
            &mut self.host,
            &config,
            &request("POST", self.path, &[JSON]),
        )
        .verdict;
        let Verdict::Serve(Service::Relay(relay)) = verdict else {
            panic!("{verdict:?}");
        };
        self.watch(relay.context.as_bytes());
        let step = begin(
            &mut self.host,
            &self.config,
            &relay.context,
            body.map(<[u8]>::to_vec),
        );
        self.watch_step(&step);
        step
    }

    /// The call that a request becomes.
    fn called(&mut self, body: &str) -> Call {
        match self.begin(body) {
            Step::Call(call) => call,
            other => panic!("{other:?}"),
        }
    }

    /// What the upstream is asked; the client is gone then.
    fn asked(&mut self, body: &str) -> Value {
        let call = self.called(body);
        assert!(self.end(&call.context, Ending::Gone).is_empty());
        serde_json::from_slice(&call.body).unwrap()
    }

    /// How a request is refused.
    fn refused(&mut self, body: &str) -> (u16, String) {
        match self.begin(body) {
            Step::Respond(response) => self.refusal(&response),
            other => panic!("{other:?}"),
        }
    }

    fn again(&mut self, context: &[u8]) -> Step {
        let step = again(&mut self.host, &self.config, context);
        self.watch_step(&step);
        step
    }

    fn failed(&mut self, context: &[u8], failure: Failure) -> Step {
        let step = failed(&mut self.host, &self.config, context, failure);
        self.watch_step(&step);
        step
    }

    fn head(&mut self, context: &[u8], status: u16, headers: &[(&str, &str)]) -> Reading {
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let reading = head_arrived(&mut self.host, &self.config, context, status, &headers);
        match &reading {
            Reading::Collect(collecting) => self.watch(&collecting.context),
            Reading::Stream(streaming) => {
                self.watch(&streaming.context);
                self.watch(format!("{:?}", streaming.head).as_bytes());
            }
            Reading::Wait(wait) => self.watch(&wait.context),
            Reading::Respond(response) => self.watch_response(response),
        }
        reading
    }

    fn answer(&mut self, context: &[u8], body: Option<&[u8]>) -> Response {
        let response = answer(&mut self.host, &self.config, context, body);
        self.watch_response(&response);
        response
    }

    fn piece(&mut self, context: &[u8], bytes: &[u8]) -> Passed {
        let passed = piece(&mut self.host, &self.config, context, bytes);
        self.watch(&passed.output);
        self.watch(&passed.context);
        passed
    }

    fn end(&mut self, context: &[u8], ending: Ending) -> Vec<u8> {
        let output = end(&mut self.host, &self.config, context, ending);
        self.watch(&output);
        output
    }

    /// The answer of an upstream that answers whole.
    fn answered(&mut self, body: &str, answer: &str) -> Response {
        let call = self.called(body);
        match self.head(&call.context, 200, &[JSON]) {
            Reading::Collect(collecting) => {
                self.answer(&collecting.context, Some(answer.as_bytes()))
            }
            other => panic!("{other:?}"),
        }
    }

    /// The context of a stream that has begun.
    fn streaming(&mut self, body: &str) -> Vec<u8> {
        let call = self.called(body);
        let events = [("content-type", "text/event-stream; charset=utf-8")];
        match self.head(&call.context, 200, &events) {
            Reading::Stream(streaming) => streaming.context,
            other => panic!("{other:?}"),
        }
    }

    /// All that a client is sent of a stream that comes in pieces of such
    /// sizes and ends so.
    fn streamed(
        &mut self,
        body: &str,
        stream: &[u8],
        ending: Ending,
        mut cut: impl FnMut() -> usize,
    ) -> String {
        let mut context = self.streaming(body);
        let mut output = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut().clamp(1, rest.len()));
            rest = after;
            let passed = self.piece(&context, piece);
            output.extend(passed.output);
            context = passed.context;
            if passed.is_last {
                assert_eq!(self.host.held(), 0, "the place is not given back");
                // A host that ends it all the same does no harm.
                assert!(self.end(&context, ending).is_empty());
                assert!(self.piece(&context, b"data: [DONE]\n\n").output.is_empty());
                assert_eq!(self.host.held(), 0, "the place is given back twice");
                return String::from_utf8(output).unwrap();
            }
        }
        output.extend(self.end(&context, ending));
        assert_eq!(self.host.held(), 0, "the place is not given back");
        String::from_utf8(output).unwrap()
    }

    /// An error's status and code, in the path's form.
    fn refusal(&self, response: &Response) -> (u16, String) {
        assert_eq!(self.host.held(), 0, "the place is not given back");
        assert_eq!(header(&response.headers, "cache-control"), Some("no-store"));
        let body: Value = serde_json::from_str(&response.body).unwrap();
        let code = if self.path.starts_with("/v1") {
            assert!(body["error"]["message"].is_string() && body["error"]["type"].is_string());
            &body["error"]["code"]
        } else {
            assert!(body["error"].is_string());
            &body["code"]
        };
        (response.status, code.as_str().unwrap().to_owned())
    }

    fn watch(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains(CANARY), "{text}");
        // A step writes one line, or two.
        let mut lines = self.host.lines.iter().rev().take(4);
        assert!(lines.all(|(_, line)| !line.contains(CANARY)));
    }

    fn watch_step(&self, step: &Step) {
        match step {
            Step::Call(call) => {
                self.watch(&call.context);
                self.watch(&call.body);
                self.watch(call.url.as_bytes());
            }
            Step::Wait(wait) => self.watch(&wait.context),
            Step::Respond(response) => self.watch_response(response),
        }
    }

    fn watch_response(&self, response: &Response) {
        self.watch(format!("{response:?}").as_bytes());
    }
}

fn of(status: u16, code: Code) -> (u16, String) {
    (status, code.as_str().to_owned())
}

const OPENAI: &str = "/v1/chat/completions";
const API: &str = "/api/llm/chat";

/// A request in OpenAI's form.
const ASK: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
const ASK_STREAM: &str = r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#;

/// The same in the reference worker's.
const CHAT: &str = r#"{"message":"hi"}"#;
const CHAT_STREAM: &str = r#"{"message":"hi","stream":true}"#;
