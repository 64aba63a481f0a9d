//! What is asked of the upstream for a request in the reference worker's form:
//! a message, and what came before it.

use serde_json::value::RawValue;

use super::asking::{Asked, MESSAGES_MAX, list, model, object, system_message};
use super::fault::Fault;
use super::fields::{Fields, is_object, quoted};
use crate::services::settings::Llm;

/// Characters of a message, as in the reference worker.
const MESSAGE_CHARS_MAX: usize = 10_000;

/// What the app adds beside the conversation, as JSON: a board with some
/// hundreds of cards.
const ADDED_BYTES_MAX: usize = 64 * 1024;

/// Tool calls of one message; upstreams have 128.
const TOOL_CALLS_MAX: usize = 128;

/// Reads a request.
///
/// # Errors
/// What is wrong with it.
pub fn read(llm: &Llm, body: &[u8]) -> Result<Asked, Fault> {
    let fields = Fields::read(body, "The body")?;
    let message = fields
        .string("message")?
        .ok_or_else(|| Fault::invalid("`message` is missing: send a string."))?;
    if message.chars().count() > MESSAGE_CHARS_MAX {
        return Err(Fault::invalid(format!(
            "`message` is too long: at most {MESSAGE_CHARS_MAX} characters are taken."
        )));
    }
    let history = fields
        .objects::<MESSAGES_MAX>("conversationHistory")?
        .unwrap_or_default();
    let history: Vec<Message> = history
        .into_iter()
        .map(Message::read)
        .collect::<Result<_, _>>()?;
    let is_continued = history.last().is_some_and(|last| last.is_tool_result);
    if message.trim().is_empty() && !is_continued {
        return Err(Fault::invalid(
            "`message` is empty: it can only be where `conversationHistory` ends in the result of a tool.",
        ));
    }
    let model = model(llm, fields.string("model")?)?;
    let is_stream = fields.flag("stream")?;

    let mut messages = Vec::new();
    let system = system_prompt(llm, &fields)?;
    if !system.is_empty() {
        messages.push(system_message(&system));
    }
    messages.extend(history.into_iter().map(|message| message.json));
    if !message.trim().is_empty() {
        messages.push(format!(
            r#"{{"role":"user","content":{}}}"#,
            quoted(&message)
        ));
    }
    let mut asked = vec![
        ("model", quoted(&model)),
        ("messages", list(messages.iter().map(String::as_str))),
        ("stream", is_stream.to_string()),
    ];
    if is_stream {
        asked.push(("stream_options", r#"{"include_usage":true}"#.to_owned()));
    }
    if !llm.tools.is_empty() {
        let tools: Vec<String> = llm.tools.iter().map(ToString::to_string).collect();
        asked.push(("tools", list(tools.iter().map(String::as_str))));
    }
    let body = object(asked.iter().map(|(name, json)| (*name, json.as_str())));
    Ok(Asked {
        body: body.into_bytes(),
        is_stream,
        wants_usage: false,
    })
}

/// What the model is told before the conversation: by the operator, then by
/// the app, then the board. One message, since some models take no second one.
fn system_prompt(llm: &Llm, fields: &Fields<'_>) -> Result<String, Fault> {
    let mut parts: Vec<String> = llm.system_prompt.iter().cloned().collect();
    match (fields.string("systemPrompt")?, fields.get("workerContext")) {
        (Some(prompt), _) => parts.push(prompt),
        (None, Some(worker)) => parts.push(worker_prompt(worker)?),
        (None, None) => {}
    }
    if let Some(board) = fields.get("currentBoard") {
        check_added("currentBoard", board)?;
        parts.push(format!("The current board, as JSON:\n{}", board.get()));
    }
    parts.retain(|part| !part.trim().is_empty());
    Ok(parts.join("\n\n"))
}

/// What a worker is told of itself.
fn worker_prompt(worker: &RawValue) -> Result<String, Fault> {
    check_added("workerContext", worker)?;
    if !is_object(worker) {
        return Err(Fault::invalid("`workerContext` is no object."));
    }
    let fields = Fields::read(worker.get().as_bytes(), "`workerContext`")?;
    let mut parts = Vec::new();
    if let Some(name) = fields.string("name")? {
        parts.push(format!("Your name is {name}."));
    }
    for field in ["systemPrompt", "roleDescription", "instructions"] {
        parts.extend(fields.string(field)?);
    }
    parts.retain(|part| !part.trim().is_empty());
    if parts.is_empty() {
        return Ok(format!("Who you are, as JSON:\n{}", worker.get()));
    }
    Ok(parts.join("\n\n"))
}

fn check_added(name: &str, json: &RawValue) -> Result<(), Fault> {
    if json.get().len() <= ADDED_BYTES_MAX {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "`{name}` is too large: at most {ADDED_BYTES_MAX} bytes of JSON are taken."
    )))
}

/// A message of the conversation, as the upstream is told it.
struct Message {
    json: String,
    is_tool_result: bool,
}

impl Message {
    fn read(message: &RawValue) -> Result<Self, Fault> {
        let fields = Fields::read(
            message.get().as_bytes(),
            "A message of `conversationHistory`",
        )?;
        let role = fields.string("role")?.unwrap_or_default();
        let content = fields.string("content")?;
        let calls = match fields.objects::<TOOL_CALLS_MAX>("tool_calls")? {
            Some(calls) => Some(calls),
            None => fields.objects::<TOOL_CALLS_MAX>("toolCalls")?,
        };
        let calls = calls.filter(|calls| !calls.is_empty());
        let call_id = match fields.string("tool_call_id")? {
            Some(id) => Some(id),
            None => fields.string("toolCallId")?,
        };
        let mut json = vec![("role", quoted(&role))];
        match (role.as_str(), content, calls, call_id) {
            ("user" | "system", Some(content), _, _) | ("assistant", Some(content), None, _) => {
                json.push(("content", quoted(&content)));
            }
            ("assistant", content, Some(calls), _) => {
                let content = content.map_or_else(|| "null".to_owned(), |it| quoted(&it));
                json.push(("content", content));
                let calls: Vec<String> =
                    calls.into_iter().map(tool_call).collect::<Result<_, _>>()?;
                json.push(("tool_calls", list(calls.iter().map(String::as_str))));
            }
            ("tool", Some(content), _, Some(id)) => {
                json.push(("tool_call_id", quoted(&id)));
                json.push(("content", quoted(&content)));
            }
            ("tool", ..) => {
                return Err(Fault::invalid(
                    "A `tool` message of `conversationHistory` needs `content` and `tool_call_id`.",
                ));
            }
            ("user" | "system" | "assistant", ..) => {
                return Err(Fault::invalid(
                    "A message of `conversationHistory` has no `content`.",
                ));
            }
            _ => {
                return Err(Fault::invalid(
                    "A message's `role` in `conversationHistory` is none of user, assistant, tool, system.",
                ));
            }
        }
        Ok(Self {
            json: object(json.iter().map(|(name, json)| (*name, json.as_str()))),
            is_tool_result: role == "tool",
        })
    }
}

/// A tool's call, in OpenAI's form or as `toolCalls` of an answer have it.
fn tool_call(call: &RawValue) -> Result<String, Fault> {
    const WRONG: &str = "A tool call of `conversationHistory` needs `id`, a name and arguments.";
    let call = Fields::read(call.get().as_bytes(), "A tool call")?;
    let function = call.get("function");
    let function = match function {
        Some(function) => Some(Fields::read(function.get().as_bytes(), "A tool call")?),
        None => None,
    };
    let inner = function.as_ref().unwrap_or(&call);
    let (Some(id), Some(name)) = (call.string("id")?, inner.string("name")?) else {
        return Err(Fault::invalid(WRONG));
    };
    let arguments = match inner.get("arguments") {
        None => quoted("{}"),
        Some(object) if is_object(object) => quoted(object.get()),
        Some(_) => quoted(&inner.string("arguments")?.unwrap_or_default()),
    };
    Ok(format!(
        r#"{{"id":{},"type":"function","function":{{"name":{},"arguments":{arguments}}}}}"#,
        quoted(&id),
        quoted(&name)
    ))
}
