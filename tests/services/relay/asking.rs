//! What may be asked, and what of it the upstream is asked.

use serde_json::{Value, json};
use syncline_tests::profile::BYPASS_TOKEN;
use syncline_tests::upstream::Reply;

use super::{CHAT, COMPLETIONS, FORMS, Form, ask, ask_for};
use crate::stage::{CANARY_KEY, MODELS, SYSTEM_PROMPT, Stage, TOOL, upstream};
use crate::{Scenario, scenarios};

/// A request's body has at most a megabyte.
const BODY_BYTES_MAX: usize = 1024 * 1024;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Tokens:
        a_completion_is_the_upstreams,
        a_message_is_answered,
        a_message_has_its_conversation_before_it,
        an_empty_message_continues_after_tools_alone,
        who_the_assistant_is_can_be_said,
        tools_of_the_server_are_merged_into_requests,
        a_call_of_a_tool_is_passed_on,
        only_some_models_are_served,
        what_is_not_json_is_refused,
        what_makes_no_sense_is_refused,
        a_request_has_at_most_a_megabyte,
    ]
}

/// The roles and contents of what the upstream was asked.
fn messages(body: &Value) -> Vec<(String, Value)> {
    let messages = body["messages"].as_array().expect("messages");
    let role = |message: &Value| message["role"].as_str().expect("a role").to_owned();
    messages
        .iter()
        .map(|message| (role(message), message["content"].clone()))
        .collect()
}

fn a_completion_is_the_upstreams(stage: &Stage) {
    let user = stage.user("completion");
    let script = upstream().script([Reply::completion("Hello! 🙂 \"quoted\"\n", 12)]);
    let body = json!({
        "model": MODELS[1],
        "messages": [{"role": "user", "content": [{"type": "text", "text": script.marker}]}],
        "temperature": 0.25,
        "response_format": {"type": "json_object"},
        "user": "abc",
    });
    let request = user
        .post_json(COMPLETIONS)
        .with("cookie", "session=secret")
        .with("x-forwarded-for", "10.0.0.1")
        .with("openai-organization", "org-of-the-client")
        .with("x-custom", "of-the-client");
    let answer = stage.send_with(&request, body.to_string());
    assert_eq!(Form::OpenAi.text(&answer), "Hello! 🙂 \"quoted\"\n");
    let told = answer.json();
    assert_eq!(told["object"], "chat.completion");
    assert_eq!(told["usage"]["total_tokens"], 12);
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
    let call = script.call();
    assert_eq!((&*call.method, &*call.target), ("POST", COMPLETIONS));
    let key = format!("Bearer {CANARY_KEY}");
    assert_eq!(call.header("authorization"), Some(&*key));
    assert_eq!(call.header("content-type"), Some("application/json"));
    // Nothing of the client's headers.
    let all = format!("{:?}", call.headers);
    let token = user.token.as_deref().expect("a token");
    for theirs in [
        token,
        "session=secret",
        "of-the-client",
        "10.0.0.1",
        BYPASS_TOKEN,
    ] {
        assert!(!all.contains(theirs), "{theirs} is passed on: {all}");
    }
    assert_eq!(call.body["model"], MODELS[1]);
    for field in ["temperature", "response_format", "user"] {
        assert_eq!(call.body[field], body[field], "{field}");
    }
    let asked = messages(&call.body);
    assert_eq!(asked[0], ("system".to_owned(), json!(SYSTEM_PROMPT)));
    assert_eq!(
        asked[1],
        ("user".to_owned(), body["messages"][0]["content"].clone())
    );
    assert_eq!(asked.len(), 2);
}

fn a_message_is_answered(stage: &Stage) {
    let user = stage.user("message");
    let script = upstream().script([Reply::completion("Of course.", 12)]);
    let words = format!("Help me. {}", script.marker);
    let answer = ask(stage, &user, CHAT, &json!({"message": words}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json(),
        json!({"message": "Of course.", "toolCalls": []})
    );
    let call = script.call();
    assert_eq!(
        call.header("authorization"),
        Some(&*format!("Bearer {CANARY_KEY}"))
    );
    let asked = messages(&call.body);
    assert_eq!(asked[0], ("system".to_owned(), json!(SYSTEM_PROMPT)));
    assert_eq!(asked[1], ("user".to_owned(), json!(words)));
    // The first that is served is the default.
    assert_eq!(call.body["model"], MODELS[0]);
    // It is at most 10,000 characters long, whatever they are.
    let fits = format!(
        "{}{}",
        script.marker,
        "é".repeat(10_000 - script.marker.len())
    );
    let answer = ask(stage, &user, CHAT, &json!({"message": fits}));
    assert_eq!(Form::Api.text(&answer), "Of course.");
    let answer = ask(stage, &user, CHAT, &json!({"message": fits + "é"}));
    Form::Api.refused(&answer, 400, "INVALID_REQUEST");
    for message in [
        json!(null),
        json!(1),
        json!(["x"]),
        json!({"a": 1}),
        json!(""),
    ] {
        let answer = ask(stage, &user, CHAT, &json!({"message": message}));
        Form::Api.refused(&answer, 400, "INVALID_REQUEST");
    }
    let answer = ask(stage, &user, CHAT, &json!({}));
    Form::Api.refused(&answer, 400, "INVALID_REQUEST");
}

fn a_message_has_its_conversation_before_it(stage: &Stage) {
    let user = stage.user("history");
    let script = upstream().script([Reply::completion("Yes.", 12)]);
    let answer = ask(
        stage,
        &user,
        CHAT,
        &json!({
            "message": script.marker,
            "conversationHistory": [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
            ],
        }),
    );
    assert_eq!(Form::Api.text(&answer), "Yes.");
    let asked = messages(&script.call().body);
    let roles: Vec<&str> = asked.iter().map(|(role, _)| &**role).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert_eq!((&asked[1].1, &asked[2].1), (&json!("one"), &json!("two")));
    for history in [
        json!("text"),
        json!([{"role": "wizard", "content": "x"}]),
        json!([{"role": "user"}]),
        json!([{"role": "tool", "content": "x"}]),
        json!([1]),
    ] {
        let answer = ask(
            stage,
            &user,
            CHAT,
            &json!({
                "message": "x", "conversationHistory": history,
            }),
        );
        Form::Api.refused(&answer, 400, "INVALID_REQUEST");
    }
}

fn an_empty_message_continues_after_tools_alone(stage: &Stage) {
    let user = stage.user("continue");
    let script = upstream().script([Reply::completion("Done.", 12)]);
    let call = json!({"id": "call-1", "type": "function", "function": {
        "name": TOOL, "arguments": "{\"title\":\"x\"}",
    }});
    let history = json!([
        {"role": "user", "content": script.marker},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "created", "tool_call_id": "call-1"},
    ]);
    let answer = ask(
        stage,
        &user,
        CHAT,
        &json!({"message": "", "conversationHistory": history}),
    );
    assert_eq!(Form::Api.text(&answer), "Done.");
    let body = script.call().body;
    let roles: Vec<String> = messages(&body).into_iter().map(|(role, _)| role).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(body["messages"][2]["tool_calls"][0], call);
    assert_eq!(body["messages"][3]["tool_call_id"], "call-1");
    let answer = ask(
        stage,
        &user,
        CHAT,
        &json!({
            "message": "", "conversationHistory": [{"role": "user", "content": "x"}],
        }),
    );
    Form::Api.refused(&answer, 400, "INVALID_REQUEST");
}

fn who_the_assistant_is_can_be_said(stage: &Stage) {
    let user = stage.user("worker");
    let script = upstream().script([Reply::completion("Yes.", 12)]);
    let asked = |body: &Value| {
        let answer = ask(stage, &user, CHAT, body);
        assert_eq!(Form::Api.text(&answer), "Yes.");
        let body = script.calls().pop().expect("a call").body;
        body["messages"]
            .as_array()
            .expect("messages")
            .iter()
            .filter(|message| message["role"] == "system")
            .map(|message| message["content"].as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let marker = &script.marker;
    let told = asked(&json!({"message": marker, "systemPrompt": "Speak like a pirate."}));
    assert!(told.contains("Speak like a pirate."), "{told}");
    // The operator's stays.
    assert!(told.contains(SYSTEM_PROMPT), "{told}");
    let told = asked(&json!({
        "message": marker,
        "workerContext": {"name": "Ada", "roleDescription": "You count.", "systemPrompt": "Be brief."},
        "currentBoard": {"id": "board-7", "name": "Plans"},
    }));
    for said in ["Ada", "Be brief.", "board-7", "Plans", SYSTEM_PROMPT] {
        assert!(told.contains(said), "{said} is missing: {told}");
    }
}

fn tools_of_the_server_are_merged_into_requests(stage: &Stage) {
    let user = stage.user("tools");
    let names = |body: &Value| -> Vec<String> {
        let tools = body["tools"].as_array().expect("tools");
        let name = |tool: &Value| {
            tool["function"]["name"]
                .as_str()
                .expect("a name")
                .to_owned()
        };
        tools.iter().map(name).collect()
    };
    for form in FORMS {
        let script = upstream().script([Reply::completion("Yes.", 12)]);
        assert_eq!(form.text(&ask_for(stage, &user, form, &script)), "Yes.");
        assert_eq!(names(&script.call().body), [TOOL], "{form:?}");
    }
    let script = upstream().script([Reply::completion("Yes.", 12)]);
    let mut question = Form::OpenAi.question(&script.marker, false);
    let tool = |name: &str| {
        json!({"type": "function", "function": {
            "name": name, "description": "of the client", "parameters": {"type": "object"},
        }})
    };
    // What the server's do is the operator's to say.
    question["tools"] = json!([tool("of_the_client"), tool(TOOL)]);
    let answer = ask(stage, &user, COMPLETIONS, &question);
    assert_eq!(Form::OpenAi.text(&answer), "Yes.");
    let body = script.call().body;
    let mut both = names(&body);
    both.sort();
    assert_eq!(both, [TOOL, "of_the_client"]);
    let tools = body["tools"].as_array().expect("tools");
    let ours = tools.iter().find(|tool| tool["function"]["name"] == TOOL);
    assert_eq!(ours.expect("ours")["function"].get("description"), None);
}

fn a_call_of_a_tool_is_passed_on(stage: &Stage) {
    let user = stage.user("tool-call");
    let arguments = r#"{"title":"Buy \"milk\"","count":2}"#;
    let script = upstream().script([Reply::tool_call("call-7", TOOL, arguments)]);
    let answer = ask_for(stage, &user, Form::Api, &script);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let call = json!({"id": "call-7", "name": TOOL, "arguments": {
        "title": "Buy \"milk\"", "count": 2,
    }});
    assert_eq!(answer.json(), json!({"message": "", "toolCalls": [call]}));
    let answer = ask_for(stage, &user, Form::OpenAi, &script).json();
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], arguments);
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    // A client is not given what it cannot read.
    let script = upstream().script([Reply::tool_call("call-8", TOOL, "{\"title\":")]);
    let answer = ask_for(stage, &user, Form::Api, &script);
    Form::Api.refused(&answer, 502, "UPSTREAM_ERROR");
}

fn only_some_models_are_served(stage: &Stage) {
    let user = stage.user("models");
    for form in FORMS {
        let script = upstream().script([Reply::completion("Yes.", 12)]);
        let mut question = form.question(&script.marker, false);
        for model in ["gpt-none", "", "TEST-MODEL", "test-model ", "../test-model"] {
            question["model"] = json!(model);
            let answer = ask(stage, &user, form.path(), &question);
            let words = form.refused(&answer, 400, "MODEL_NOT_ALLOWED");
            assert!(words.contains(MODELS[0]), "{words} says which are");
        }
        assert!(script.calls().is_empty());
        question["model"] = json!(MODELS[1]);
        assert_eq!(
            form.text(&ask(stage, &user, form.path(), &question)),
            "Yes."
        );
        assert_eq!(script.call().body["model"], MODELS[1]);
    }
    let list = stage.send(&user.ask("GET", "/v1/models"));
    assert_eq!(list.status, 200, "{list:?}");
    let list = list.json();
    let ids: Vec<_> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert_eq!(ids, MODELS);
    Form::OpenAi.refused(&stage.get("/v1/models"), 401, "TOKEN_MISSING");
}

fn what_is_not_json_is_refused(stage: &Stage) {
    let user = stage.user("types");
    for form in FORMS {
        let script = upstream().script([Reply::completion("Yes.", 12)]);
        let question = form.question(&script.marker, false).to_string();
        let asking = |content_type: Option<&str>| {
            let ask = user.ask("POST", form.path());
            let ask = match content_type {
                Some(it) => ask.with("content-type", it),
                None => ask,
            };
            stage.send_with(&ask, question.clone())
        };
        for content_type in [
            None,
            Some("text/plain"),
            Some("text/plain; application/json"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
            Some("application/jsonp"),
            Some(""),
        ] {
            form.refused(&asking(content_type), 415, "UNSUPPORTED_MEDIA_TYPE");
        }
        assert!(script.calls().is_empty());
        for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
            assert_eq!(form.text(&asking(Some(content_type))), "Yes.");
        }
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let answer = stage.send(&user.ask(method, form.path()));
            form.refused(&answer, 405, "METHOD_NOT_ALLOWED");
        }
    }
}

fn what_makes_no_sense_is_refused(stage: &Stage) {
    let user = stage.user("nonsense");
    let deep = "[".repeat(100_000);
    for form in FORMS {
        for body in [
            "",
            "junk",
            "null",
            "[]",
            "\"text\"",
            "{",
            "{}",
            "\u{feff}{}",
            &deep,
        ] {
            let answer = stage.send_with(&user.post_json(form.path()), body.to_owned());
            form.refused(&answer, 400, "INVALID_REQUEST");
        }
    }
    for messages in [
        json!([]),
        json!("x"),
        json!(null),
        json!([1]),
        json!({"0": 1}),
    ] {
        let answer = ask(stage, &user, COMPLETIONS, &json!({"messages": messages}));
        Form::OpenAi.refused(&answer, 400, "INVALID_REQUEST");
    }
    for (field, value) in [
        ("stream", json!("yes")),
        ("model", json!(7)),
        ("tools", json!("x")),
    ] {
        let mut question = Form::OpenAi.question("x", false);
        question[field] = value;
        let answer = ask(stage, &user, COMPLETIONS, &question);
        Form::OpenAi.refused(&answer, 400, "INVALID_REQUEST");
    }
}

fn a_request_has_at_most_a_megabyte(stage: &Stage) {
    let user = stage.user("long");
    for form in FORMS {
        let script = upstream().script([Reply::completion("Yes.", 12)]);
        let mut question = form.question(&script.marker, false);
        question["padding"] = json!("");
        let padding = BODY_BYTES_MAX - question.to_string().len();
        question["padding"] = json!("a".repeat(padding));
        assert_eq!(question.to_string().len(), BODY_BYTES_MAX);
        assert_eq!(
            form.text(&ask(stage, &user, form.path(), &question)),
            "Yes."
        );
        question["padding"] = json!("a".repeat(padding + 1));
        let answer = ask(stage, &user, form.path(), &question);
        form.refused(&answer, 413, "BODY_TOO_LARGE");
        // Of no announced length it is none the less.
        let mut exchange = stage.begin(&user.post_json(form.path()));
        exchange.write(question.to_string());
        exchange.finish();
        form.refused(&exchange.answer(), 413, "BODY_TOO_LARGE");
        assert_eq!(script.calls().len(), 1);
        let mut exchange = stage.begin(&user.post_json(form.path()));
        exchange.write(form.question(&script.marker, false).to_string());
        exchange.finish();
        assert_eq!(form.text(&exchange.answer()), "Yes.");
    }
}
