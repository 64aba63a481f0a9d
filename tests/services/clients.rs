//! The `openai` client, as npm has it, with the JWT as its key.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use syncline_tests::npm;
use syncline_tests::process::Process;
use syncline_tests::upstream::{Piece, Reply};

use crate::callers::User;
use crate::stage::{MODELS, SECRETS, Stage, TOKENS_PER_DAY, TOOL, upstream};
use crate::{Scenario, scenarios};

/// How long the client may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Tokens:
        openai_gets_a_completion,
        openai_gets_a_stream,
        openai_calls_tools,
        openai_throws_where_a_stream_breaks_off,
        openai_throws_its_typed_errors,
        openai_aborts_a_stream,
        openai_lists_the_models,
    ]
}

/// What became of a task.
fn run(stage: &Stage, token: &str, task: &str, prompt: &str) -> Value {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/openai");
    npm::install(&package).expect("the openai client");
    let mut command = Command::new("node");
    command.arg(package.join("client.mjs")).args([
        task,
        &format!("{}/v1", stage.server.url),
        token,
        prompt,
    ]);
    for variable in ["OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"] {
        command.env_remove(variable);
    }
    let mut process = Process::start(command).expect("node");
    let line = process
        .wait_for(PATIENCE, |line| Some(line.to_owned()))
        .expect("a result");
    for secret in SECRETS {
        assert!(!line.contains(secret), "{line}");
    }
    serde_json::from_str(&line).expect("JSON")
}

fn token(user: &User) -> &str {
    user.token.as_deref().expect("a token")
}

fn openai_gets_a_completion(stage: &Stage) {
    let user = stage.user("openai");
    let script = upstream().script([Reply::completion("Hello 🙂", 12)]);
    let result = run(stage, token(&user), "complete", &script.marker);
    assert_eq!(result, json!({"text": "Hello 🙂", "usage": 12}));
    assert_eq!(script.call().body["model"], MODELS[0]);
}

fn openai_gets_a_stream(stage: &Stage) {
    let user = stage.user("openai");
    let script = upstream().script([Reply::stream(&["Hel", "lo"], 12)]);
    let result = run(stage, token(&user), "stream", &script.marker);
    assert_eq!(result, json!({"texts": ["Hel", "lo"], "usage": 12}));
}

fn openai_calls_tools(stage: &Stage) {
    let user = stage.user("openai");
    let script = upstream().script([
        Reply::tool_stream("call-1", "of_the_client", &["{\"title\":", "\"milk\"}"]),
        Reply::completion("It is done.", 12),
    ]);
    let result = run(stage, token(&user), "tools", &script.marker);
    let expected = json!({
        "id": "call-1",
        "name": "of_the_client",
        "arguments": "{\"title\":\"milk\"}",
        "reason": "tool_calls",
        "text": "It is done.",
    });
    assert_eq!(result, expected);
    for call in script.calls() {
        let tools = call.body["tools"].as_array().expect("tools");
        assert!(tools.iter().any(|tool| tool["function"]["name"] == TOOL));
        assert_eq!(tools.len(), 2);
    }
}

fn openai_throws_where_a_stream_breaks_off(stage: &Stage) {
    let user = stage.user("openai");
    let begun = || Reply::begun(&["first"]);
    for end in [
        vec![Piece::Break],
        Vec::new(),
        vec![Piece::Bytes("data: junk\n\n".into())],
    ] {
        let script = upstream().script([Reply::events([begun(), end].concat())]);
        let result = run(stage, token(&user), "stream", &script.marker);
        assert_eq!(result["texts"], json!(["first"]), "{result}");
        assert_eq!(result["isApiError"], true, "{result}");
        assert_eq!(result["code"], "UPSTREAM_ERROR", "{result}");
    }
}

fn openai_throws_its_typed_errors(stage: &Stage) {
    let user = stage.user("openai");
    let refused = |token: &str, script: &str, kind: &str, status: u16, code: &str| {
        for task in ["complete", "stream"] {
            let result = run(stage, token, task, script);
            assert_eq!(result["thrown"], kind, "{task}: {result}");
            assert_eq!(result["status"], status, "{result}");
            assert_eq!(result["code"], code, "{result}");
        }
    };
    let script = upstream().script([Reply::completion("x", TOKENS_PER_DAY)]);
    refused(
        "junk",
        &script.marker,
        "AuthenticationError",
        401,
        "TOKEN_INVALID",
    );
    assert!(script.calls().is_empty());
    assert_eq!(
        run(stage, token(&user), "complete", &script.marker)["text"],
        "x"
    );
    refused(
        token(&user),
        &script.marker,
        "RateLimitError",
        429,
        "QUOTA_EXCEEDED",
    );
    let other = stage.user("openai");
    let script = upstream().script([Reply::refusal(400, "too many tokens")]);
    refused(
        token(&other),
        &script.marker,
        "BadRequestError",
        400,
        "INVALID_REQUEST",
    );
    let script = upstream().script([Reply::refusal(401, "no key")]);
    refused(
        token(&other),
        &script.marker,
        "InternalServerError",
        502,
        "UPSTREAM_ERROR",
    );
}

fn openai_aborts_a_stream(stage: &Stage) {
    let user = stage.user("openai");
    let pieces = [Reply::begun(&["first"]), vec![Piece::Hold]].concat();
    let script = upstream().script([Reply::events(pieces)]);
    let result = run(stage, token(&user), "abort", &script.marker);
    // Its loop ends, or throws: the client's own affair.
    let is_aborted = result["texts"] == json!(["first"]) || result["thrown"] == "APIUserAbortError";
    assert!(is_aborted, "{result}");
    script.wait_until_gone(1);
}

fn openai_lists_the_models(stage: &Stage) {
    let user = stage.user("openai");
    let result = run(stage, token(&user), "models", "");
    assert_eq!(result, json!({"ids": MODELS}));
}
