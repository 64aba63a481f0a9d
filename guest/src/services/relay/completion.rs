//! What is understood of an upstream's answer, whole or in chunks.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::asking::{list, object};
use super::fields::quoted;
use crate::protocol::strict::{List, Object};

/// Tool calls of one answer; upstreams have 128 at most.
const TOOL_CALLS_MAX: usize = 128;

/// Arguments of all tool calls of an answer, in bytes: they travel with each
/// piece until they are complete.
const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;

/// A tool call's id and name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// A `chat.completion` or a chunk of one.
#[derive(Debug, Deserialize)]
pub struct Completion<'a> {
    /// The answers; there is one, as no more are asked for.
    #[serde(borrow)]
    pub choices: Option<List<Object<Choice<'a>>, 1>>,
    /// What it cost.
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    /// What went wrong instead.
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub struct Choice<'a> {
    /// All of it.
    #[serde(borrow)]
    pub message: Option<Object<Message<'a>>>,
    /// What is new of it.
    #[serde(borrow)]
    pub delta: Option<Object<Message<'a>>>,
    /// Why nothing follows.
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

/// What the model says.
#[derive(Debug, Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

/// A tool's call, or what is new of one.
#[derive(Debug, Deserialize)]
pub struct ToolCall {
    index: Option<u64>,
    id: Option<String>,
    function: Option<Object<Function>>,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

impl Completion<'_> {
    /// The tokens that were used, if it says.
    #[must_use]
    pub fn tokens(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Usage<'a> {
            #[serde(borrow)]
            total_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            prompt_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            completion_tokens: Option<&'a RawValue>,
        }
        let usage: Object<Usage<'_>> = serde_json::from_str(self.usage?.get()).ok()?;
        let number = |it: Option<&RawValue>| it.and_then(|it| it.get().parse::<u64>().ok());
        let Usage {
            total_tokens,
            prompt_tokens,
            completion_tokens,
        } = usage.0;
        number(total_tokens).or_else(|| {
            let (prompt, completion) = (number(prompt_tokens), number(completion_tokens));
            (prompt.is_some() || completion.is_some())
                .then(|| prompt.unwrap_or(0).saturating_add(completion.unwrap_or(0)))
        })
    }

    /// The answer, if there is one.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice<'_>> {
        self.choices.as_ref()?.0.first().map(|choice| &choice.0)
    }

    /// The words of what went wrong.
    #[must_use]
    pub fn error_words(&self) -> Option<String> {
        error_words(self.error?)
    }
}

/// The words of an `error`: a string, or an object's `message`.
#[must_use]
pub fn error_words(error: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Error {
        message: Option<String>,
    }
    match serde_json::from_str::<Object<Error>>(error.get()) {
        Ok(error) => error.0.message,
        Err(_) => serde_json::from_str::<String>(error.get()).ok(),
    }
}

impl Choice<'_> {
    /// Why nothing follows, if nothing does.
    #[must_use]
    pub fn finish_reason(&self) -> Option<String> {
        let reason: String = serde_json::from_str(self.finish_reason?.get()).ok()?;
        Some(reason.chars().take(NAME_BYTES_MAX / 4).collect())
    }
}

impl Message<'_> {
    /// The text, empty where there is none.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let content = self.content.map(|text| serde_json::from_str(text.get()));
        content.transpose().ok().map(Option::unwrap_or_default)
    }

    /// About how many bytes it says.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = |it: Option<&RawValue>| it.map_or(0, |it| it.get().len());
        let bytes = bytes(self.content).saturating_add(bytes(self.tool_calls));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The tool calls, or what is new of them; `None` where they are none.
    #[must_use]
    pub fn tool_calls(&self) -> Option<Vec<ToolCall>> {
        let Some(calls) = self.tool_calls else {
            return Some(Vec::new());
        };
        let calls: List<Object<ToolCall>, TOOL_CALLS_MAX> =
            serde_json::from_str(calls.get()).ok()?;
        Some(calls.0.into_iter().map(|call| call.0).collect())
    }
}

impl ToolCall {
    /// Of an answer that is whole: each is complete, and stands in its place.
    #[must_use]
    pub fn at(self, index: usize) -> Self {
        Self {
            index: u64::try_from(index).ok(),
            ..self
        }
    }
}

/// Tool calls as they come together.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ToolCalls(Vec<Collected>);

#[derive(Debug, Serialize, Deserialize)]
struct Collected {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

impl ToolCalls {
    /// Takes what is new; false where it is more than there may be. A call
    /// without an index is a new one if it has an id, else it goes on with the
    /// last.
    pub fn add(&mut self, news: ToolCall) -> bool {
        let next = self.0.iter().map(|call| call.index + 1).max().unwrap_or(0);
        let index = match (news.index, &news.id) {
            // Far beyond what there can be, so that the next one can be named.
            (Some(index), _) => index.min(u64::from(u32::MAX)),
            (None, Some(_)) => next,
            (None, None) => next.saturating_sub(1),
        };
        let at = self.0.iter().position(|call| call.index == index);
        if at.is_none() {
            if self.0.len() >= TOOL_CALLS_MAX {
                return false;
            }
            self.0.push(Collected {
                index,
                id: String::new(),
                name: String::new(),
                arguments: String::new(),
            });
        }
        let call = match at {
            Some(at) => self.0.get_mut(at),
            None => self.0.last_mut(),
        };
        let Some(call) = call else {
            return false;
        };
        if let Some(id) = news.id
            && call.id.is_empty()
        {
            call.id = id;
        }
        if let Some(function) = news.function {
            call.name.push_str(&function.0.name.unwrap_or_default());
            call.arguments
                .push_str(&function.0.arguments.unwrap_or_default());
        }
        let arguments: usize = self.0.iter().map(|call| call.arguments.len()).sum();
        arguments <= ARGUMENTS_BYTES_MAX
            && self
                .0
                .iter()
                .all(|call| call.id.len() <= NAME_BYTES_MAX && call.name.len() <= NAME_BYTES_MAX)
    }

    /// JSON of `[{id, name, arguments}]`, where `arguments` is an object; `None`
    /// where one's are none.
    #[must_use]
    pub fn json(&self) -> Option<String> {
        let mut calls: Vec<&Collected> = self.0.iter().collect();
        calls.sort_by_key(|call| call.index);
        let calls: Option<Vec<String>> = calls.into_iter().map(Collected::json).collect();
        Some(list(calls?.iter().map(String::as_str)))
    }
}

impl Collected {
    fn json(&self) -> Option<String> {
        // Of a tool that takes none, some models say nothing.
        let arguments = match self.arguments.trim() {
            "" => "{}",
            arguments => arguments,
        };
        let arguments: &RawValue = serde_json::from_str(arguments).ok()?;
        if !super::fields::is_object(arguments) {
            return None;
        }
        let (id, name) = (quoted(&self.id), quoted(&self.name));
        // An event is one line, and JSON's own line ends mean nothing.
        let arguments = arguments.get().replace(['\n', '\r'], " ");
        let fields = [
            ("id", id.as_str()),
            ("name", name.as_str()),
            ("arguments", &arguments),
        ];
        Some(object(fields.into_iter()))
    }
}
