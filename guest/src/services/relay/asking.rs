//! What is asked of the upstream for a request in OpenAI's form: what the
//! client wrote, but for what the server decides.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::Fault;
use super::fields::{Fields, quoted};
use crate::code::Code;
use crate::protocol::strict::Object;
use crate::services::settings::Llm;

/// Messages of a conversation: more than fit 1 MiB if they say something.
pub const MESSAGES_MAX: usize = 10_000;

/// Tools of a client; upstreams take 128.
const TOOLS_MAX: usize = 1_000;

/// A model's name.
const MODEL_CHARS_MAX: usize = 256;

/// Fields by which some upstreams (LiteLLM, OpenRouter) let a request say where
/// it is sent, with which key, to which other model, or who is told of it.
const REDIRECTING: [&str; 24] = [
    "api_base",
    "api_key",
    "api_type",
    "api_version",
    "base_url",
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "custom_llm_provider",
    "default_headers",
    "deployment_id",
    "endpoint",
    "extra_body",
    "extra_headers",
    "extra_query",
    "fallbacks",
    "headers",
    "model_list",
    "models",
    "organization",
    "plugins",
    "provider",
    "proxy",
    "route",
    "user_config",
];

/// How other such fields begin.
const REDIRECTING_PREFIXES: [&str; 6] = [
    "aws_",
    "azure_",
    "vertex_",
    "litellm_",
    "langfuse_",
    "langsmith_",
];

/// How still others end: a server, or the key for one. No field of OpenAI's
/// does.
const REDIRECTING_SUFFIXES: [&str; 5] = ["_base", "_credentials", "_endpoint", "_host", "_url"];

/// What is asked.
#[derive(Debug)]
pub struct Asked {
    /// The upstream's request.
    pub body: Vec<u8>,
    /// Whether a stream is wanted.
    pub is_stream: bool,
    /// Whether the client wants a stream's usage figures.
    pub wants_usage: bool,
}

/// Reads a request.
///
/// # Errors
/// What is wrong with it.
pub fn read(llm: &Llm, body: &[u8]) -> Result<Asked, Fault> {
    let fields = Fields::read(body, "The body")?;
    check_redirecting(&fields)?;
    let tools = fields.objects::<TOOLS_MAX>("tools")?.unwrap_or_default();
    for tool in &tools {
        // One of a remote server's names it, and the upstream would call it.
        check_redirecting(&Fields::read(tool.get().as_bytes(), "A tool")?)?;
    }
    if fields.get("n").is_some_and(|n| n.get() != "1") {
        return Err(Fault::invalid("`n` can only be 1: ask again for more."));
    }
    let model = model(llm, fields.string("model")?)?;
    let is_stream = fields.flag("stream")?;
    let messages = fields
        .objects::<MESSAGES_MAX>("messages")?
        .filter(|messages| !messages.is_empty())
        .ok_or_else(|| Fault::invalid("`messages` is missing or empty."))?;
    let options = match fields.get("stream_options").filter(|_| is_stream) {
        Some(options) => Some(Fields::read(options.get().as_bytes(), "`stream_options`")?),
        None => None,
    };
    let wants_usage = match &options {
        Some(options) => options.flag("include_usage")?,
        None => false,
    };

    let system = llm.system_prompt.as_deref().map(system_message);
    let messages = system
        .iter()
        .map(String::as_str)
        .chain(messages.iter().map(|message| message.get()));
    let mut ours = vec![("model", quoted(&model)), ("messages", list(messages))];
    if !llm.tools.is_empty() {
        ours.push(("tools", merged_tools(llm, &tools)));
    }
    if is_stream {
        let options = options.iter().flat_map(Fields::iter);
        let options = options.filter(|(name, _)| *name != "include_usage");
        let usage = ("include_usage", "true");
        let options = options.map(|(name, value)| (name, value.get()));
        ours.push(("stream_options", object(options.chain([usage]))));
    }
    let theirs = fields
        .iter()
        .filter(|(name, _)| !ours.iter().any(|(it, _)| it == name))
        .map(|(name, value)| (name, value.get()));
    let body = object(theirs.chain(ours.iter().map(|(name, value)| (*name, value.as_str()))));
    Ok(Asked {
        body: body.into_bytes(),
        is_stream,
        wants_usage,
    })
}

/// Refuses what would lead the upstream elsewhere.
fn check_redirecting(fields: &Fields<'_>) -> Result<(), Fault> {
    let is_redirecting = |name: &str| {
        REDIRECTING.contains(&name)
            || REDIRECTING_PREFIXES.iter().any(|it| name.starts_with(it))
            || REDIRECTING_SUFFIXES.iter().any(|it| name.ends_with(it))
    };
    match fields.iter().find(|(name, _)| is_redirecting(name)) {
        None => Ok(()),
        Some((name, _)) => {
            // Of one that only begins or ends so, not all that it may be.
            let name: String = name.chars().take(64).collect();
            Err(Fault::invalid(format!(
                "`{name}` is not taken here: leave it out."
            )))
        }
    }
}

/// The model that is asked.
///
/// # Errors
/// When it may not be, or none is named and there is no default.
pub fn model(llm: &Llm, named: Option<String>) -> Result<String, Fault> {
    let Some(model) = named else {
        let default = llm.models.first().cloned();
        return default.ok_or_else(|| {
            Fault::invalid("`model` is missing, and the server has no default: name one.")
        });
    };
    if !llm.models.is_empty() && !llm.models.contains(&model) {
        return Err(Fault::new(
            Code::ModelNotAllowed,
            format!(
                "This model is not served here. Use {}.",
                llm.models.join(", ")
            ),
        ));
    }
    // Some upstreams take a URL for a model, and ask there.
    let is_name = !model.is_empty()
        && model.len() <= MODEL_CHARS_MAX
        && model.bytes().all(|byte| byte.is_ascii_graphic())
        && !model.contains("://");
    if llm.models.is_empty() && !is_name {
        return Err(Fault::new(
            Code::ModelNotAllowed,
            "`model` is no model's name.",
        ));
    }
    Ok(model)
}

/// The server's tools, and those of the client's that are not called like one
/// of them: what the server's do is the operator's to say.
fn merged_tools(llm: &Llm, theirs: &[&RawValue]) -> String {
    #[derive(Deserialize)]
    struct Tool {
        function: Option<Object<Function>>,
    }
    #[derive(Deserialize)]
    struct Function {
        name: Option<String>,
    }
    let name_of = |tool: &RawValue| {
        let tool: Tool = serde_json::from_str(tool.get()).ok()?;
        tool.function?.0.name
    };
    let is_ours = |name: &str| {
        llm.tools.iter().any(|tool| {
            tool.pointer("/function/name")
                .and_then(serde_json::Value::as_str)
                == Some(name)
        })
    };
    let theirs = theirs
        .iter()
        .filter(|tool| !name_of(tool).is_some_and(|name| is_ours(&name)))
        .map(|tool| tool.get().to_owned());
    let ours = llm.tools.iter().map(ToString::to_string);
    let all: Vec<String> = ours.chain(theirs).collect();
    list(all.iter().map(String::as_str))
}

/// A system message.
#[must_use]
pub fn system_message(text: &str) -> String {
    format!(r#"{{"role":"system","content":{}}}"#, quoted(text))
}

/// JSON of a list of JSON.
pub fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<&str> = items.collect();
    format!("[{}]", items.join(","))
}

/// JSON of an object of names and JSON.
pub fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{}:{value}", quoted(name)))
        .collect();
    format!("{{{}}}", fields.join(","))
}
