//! The LLM proxy: both of its paths, what it asks of the upstream, what
//! becomes of the answer, and what it costs whom.

mod asking;
mod failures;
mod permission;
mod providers;
mod quotas;
mod refused;
mod secrets;
mod streams;

use serde_json::{Value, json};
use syncline_tests::exchange::{Answer, Exchange};
use syncline_tests::upstream::Script;

use crate::Scenario;
use crate::callers::User;
use crate::stage::{Stage, seen};

pub fn scenarios() -> Vec<Scenario> {
    // Those that wait longest first.
    let mut all = refused::scenarios();
    all.extend(failures::scenarios());
    all.extend(quotas::scenarios());
    all.extend(streams::scenarios());
    all.extend(asking::scenarios());
    all.extend(permission::scenarios());
    all.extend(secrets::scenarios());
    all.extend(providers::scenarios());
    all
}

/// Of what wasmtime alone has.
pub fn of_wasmtime() -> Vec<Scenario> {
    providers::of_wasmtime()
}

/// OpenAI's.
const COMPLETIONS: &str = "/v1/chat/completions";

/// The reference worker's.
const CHAT: &str = "/api/llm/chat";

/// The two, each with its errors.
const FORMS: [Form; 2] = [Form::OpenAi, Form::Api];

/// In which form is asked and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    OpenAi,
    Api,
}

impl Form {
    fn path(self) -> &'static str {
        match self {
            Self::OpenAi => COMPLETIONS,
            Self::Api => CHAT,
        }
    }

    /// A question of these words.
    fn question(self, words: &str, is_stream: bool) -> Value {
        match self {
            Self::OpenAi => json!({
                "messages": [{"role": "user", "content": words}],
                "stream": is_stream,
            }),
            Self::Api => json!({"message": words, "stream": is_stream}),
        }
    }

    /// An error's text and code.
    fn error(self, body: &Value) -> (String, String) {
        let (words, code) = match self {
            Self::OpenAi => {
                let error = &body["error"];
                assert!(error["type"].is_string(), "{body}");
                assert!(error.get("param").is_some(), "{body}");
                (&error["message"], &error["code"])
            }
            Self::Api => (&body["error"], &body["code"]),
        };
        let text = |value: &Value| {
            value
                .as_str()
                .unwrap_or_else(|| panic!("{body}"))
                .to_owned()
        };
        let (words, code) = (text(words), text(code));
        assert!(words.len() > 10, "{words} says what to do");
        (words, code)
    }

    /// Sees a refusal; its text.
    #[track_caller]
    fn refused(self, answer: &Answer, status: u16, code: &str) -> String {
        assert_eq!(
            answer.status,
            status,
            "{self:?}: {} {answer:?}",
            answer.text()
        );
        let (words, found) = self.error(&answer.json());
        assert_eq!(found, code, "{self:?}: {words}");
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some("application/json")
        );
        words
    }

    /// What an answer says.
    #[track_caller]
    fn text(self, answer: &Answer) -> String {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        let text = match self {
            Self::OpenAi => &body["choices"][0]["message"]["content"],
            Self::Api => &body["message"],
        };
        text.as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    }
}

fn ask(stage: &Stage, user: &User, path: &str, body: &Value) -> Answer {
    stage.send_with(&user.post_json(path), body.to_string())
}

/// Asks in this form, about the script.
fn ask_for(stage: &Stage, user: &User, form: Form, script: &Script) -> Answer {
    let question = form.question(&script.marker, false);
    ask(stage, user, form.path(), &question)
}

/// Asks for a stream.
fn stream(stage: &Stage, user: &User, form: Form, script: &Script) -> Exchange {
    let question = form.question(&script.marker, true);
    stage.begin_with(&user.post_json(form.path()), question.to_string())
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    /// `message` where it has no name.
    name: String,
    data: String,
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// All events of a stream that is over.
#[track_caller]
fn events(exchange: Exchange) -> Vec<Event> {
    let answer = seen(exchange.answer());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let content_type = answer.header("content-type").unwrap_or_default();
    assert!(
        content_type.starts_with("text/event-stream"),
        "{content_type}"
    );
    parse(&answer.text())
}

fn parse(text: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for block in text.split("\n\n") {
        let mut event = Event {
            name: "message".to_owned(),
            data: String::new(),
        };
        for line in block.lines().filter(|line| !line.starts_with(':')) {
            match line.split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("data", data)) => event.data.push_str(data),
                _ => panic!("no line of an event: {line}"),
            }
        }
        if !event.data.is_empty() {
            events.push(event);
        }
    }
    events
}

/// What a stream has said, and whether it is complete; or its error's code.
#[track_caller]
fn told(form: Form, events: &[Event]) -> (String, Result<(), String>) {
    let mut text = String::new();
    for (at, event) in events.iter().enumerate() {
        let is_last = at + 1 == events.len();
        match form {
            Form::OpenAi if event.data == "[DONE]" => {
                assert!(is_last, "nothing comes after the end: {events:?}");
                return (text, Ok(()));
            }
            Form::Api if event.name == "done" => {
                assert!(is_last, "nothing comes after the end: {events:?}");
                return (text, Ok(()));
            }
            _ => {}
        }
        let data = event.json();
        if data.get("error").is_some() {
            assert!(is_last, "nothing comes after an error: {events:?}");
            let name = if form == Form::Api {
                "error"
            } else {
                "message"
            };
            assert_eq!(event.name, name);
            return (text, Err(form.error(&data).1));
        }
        let said = match form {
            Form::OpenAi => &data["choices"][0]["delta"]["content"],
            Form::Api => &data["delta"],
        };
        text.push_str(said.as_str().unwrap_or_default());
    }
    panic!("the stream has no end that can be told from its breaking off: {events:?}");
}
