//! What the upstream is asked for a request in the reference worker's form.

use serde_json::json;

use super::*;

#[test]
fn a_message_is_asked_after_what_came_before_it() {
    let tools = r#"[{"type":"function","function":{"name":"create"}}]"#;
    let env = [("LLM_TOOLS", tools), ("LLM_SYSTEM_PROMPT", "Be kind.")];
    let mut proxy = Proxy::with(API, &env);
    let asked = proxy.asked(
        &json!({
            "message": "And now?",
            "model": "large",
            "systemPrompt": "You plan.",
            "currentBoard": {"id": "b1"},
            "unknown": 7,
            "conversationHistory": [
                {"role":"user","content":"hi","id":"m1"},
                {"role":"assistant","content":"hello"},
                {"role":"assistant","content":"","toolCalls":[
                    {"id":"c1","name":"create","arguments":{"a":1}}]},
                {"role":"tool","toolCallId":"c1","content":"done"},
                {"role":"assistant","content":null,"tool_calls":[
                    {"id":"c2","type":"function","function":{"name":"create","arguments":"{}"}}]},
                {"role":"tool","tool_call_id":"c2","content":"done"},
            ],
        })
        .to_string(),
    );
    let call = |id: &str, arguments: &str| json!([{"id":id,"type":"function","function":{"name":"create","arguments":arguments}}]);
    assert_eq!(
        asked,
        json!({
            "model": "large",
            "stream": false,
            "tools": [{"type":"function","function":{"name":"create"}}],
            "messages": [
                {"role":"system","content":
                    "Be kind.\n\nYou plan.\n\nThe current board, as JSON:\n{\"id\":\"b1\"}"},
                {"role":"user","content":"hi"},
                {"role":"assistant","content":"hello"},
                {"role":"assistant","content":"","tool_calls":call("c1", "{\"a\":1}")},
                {"role":"tool","tool_call_id":"c1","content":"done"},
                {"role":"assistant","content":null,"tool_calls":call("c2", "{}")},
                {"role":"tool","tool_call_id":"c2","content":"done"},
                {"role":"user","content":"And now?"},
            ],
        })
    );
    let stream = proxy.asked(CHAT_STREAM);
    assert_eq!(stream["stream_options"], json!({"include_usage": true}));
}

#[test]
fn a_worker_says_who_it_is() {
    let mut proxy = Proxy::new(API);
    let mut told = |worker: Value| {
        let asked = proxy.asked(&json!({"message":"hi","workerContext":worker}).to_string());
        asked["messages"][0]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        told(json!({"name":"Ann","systemPrompt":"Plan.","instructions":"Be short.","x":1})),
        "Your name is Ann.\n\nPlan.\n\nBe short."
    );
    assert_eq!(told(json!({"x":1})), "Who you are, as JSON:\n{\"x\":1}");
    // What the app says in one sentence goes before.
    let both = r#"{"message":"hi","systemPrompt":"A.","workerContext":{"name":"Ann"}}"#;
    assert_eq!(proxy.asked(both)["messages"][0]["content"], "A.");
    assert_eq!(proxy.asked(CHAT)["messages"][0]["role"], "user");
}

#[test]
fn a_message_is_as_long_as_the_reference_takes_it() {
    let mut proxy = Proxy::new(API);
    let body = |chars: usize| json!({"message": "é".repeat(chars)}).to_string();
    assert!(matches!(proxy.begin(&body(10_000)), Step::Call(_)));
    let mut proxy = Proxy::new(API);
    assert_eq!(proxy.refused(&body(10_001)), of(400, Code::InvalidRequest));
}

#[test]
fn a_message_is_empty_only_after_the_result_of_a_tool() {
    let mut proxy = Proxy::new(API);
    let result = json!({"role":"tool","tool_call_id":"c1","content":"{}"});
    let body = |history: Value| json!({"message":"","conversationHistory":history}).to_string();
    let asked = proxy.asked(&body(json!([{"role":"user","content":"hi"}, result])));
    assert_eq!(asked["messages"].as_array().unwrap().len(), 2);
    let mut proxy = Proxy::new(API);
    for history in [
        json!(null),
        json!([]),
        json!([{"role":"user","content":"hi"}]),
        json!([result, {"role":"assistant","content":"done"}]),
    ] {
        assert_eq!(proxy.refused(&body(history)), of(400, Code::InvalidRequest));
    }
}

#[test]
fn what_is_no_conversation_is_refused() {
    let mut proxy = Proxy::new(API);
    let history = |message: Value| json!({"message":"hi","conversationHistory":[message]});
    for body in [
        json!({}),
        json!({"message": null}),
        json!({"message": 7}),
        json!({"message": ["hi"]}),
        json!({"message":"hi","stream":"true"}),
        json!({"message":"hi","systemPrompt":7}),
        json!({"message":"hi","workerContext":"Ann"}),
        json!({"message":"hi","workerContext":{"name":7}}),
        json!({"message":"hi","currentBoard":"b".repeat(70_000)}),
        json!({"message":"hi","conversationHistory":"none"}),
        json!({"message":"hi","conversationHistory":[7]}),
        history(json!({"content":"hi"})),
        history(json!({"role":"developer","content":"hi"})),
        history(json!({"role":"user"})),
        history(json!({"role":"user","content":null})),
        history(json!({"role":"user","content":["hi"]})),
        history(json!({"role":"assistant"})),
        history(json!({"role":"tool","content":"done"})),
        history(json!({"role":"tool","tool_call_id":7,"content":"done"})),
        history(json!({"role":"assistant","tool_calls":[{"id":"c"}]})),
        history(json!({"role":"assistant","tool_calls":[{"id":"c","name":"n","arguments":[]}]})),
        history(json!({"role":"assistant","tool_calls":7})),
    ] {
        let body = body.to_string();
        assert_eq!(
            proxy.refused(&body),
            of(400, Code::InvalidRequest),
            "{body}"
        );
    }
    let other = json!({"message":"hi","model":"gpt-expensive"}).to_string();
    assert_eq!(proxy.refused(&other), of(400, Code::ModelNotAllowed));
}
