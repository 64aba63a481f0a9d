//! What the upstream is asked for a request in OpenAI's form.

use serde_json::json;

use super::*;

#[test]
fn the_call_goes_to_the_configured_server_with_its_key() {
    let mut proxy = Proxy::new(OPENAI);
    let call = proxy.called(ASK);
    assert_eq!(call.url, "https://llm.example/v1/chat/completions");
    let bearer = format!("Bearer {CANARY}");
    for (name, value) in [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json"),
    ] {
        assert_eq!(header(&call.headers, name), Some(value));
    }
    assert_eq!(header(&call.headers, "x-bt-parent"), None);
    assert_eq!(
        (
            call.connect_timeout_ms,
            call.head_timeout_ms,
            call.idle_timeout_ms
        ),
        (10_000, 120_000, 60_000)
    );
    let call = proxy.called(ASK_STREAM);
    assert_eq!(header(&call.headers, "accept"), Some("text/event-stream"));

    let mut host = FakeHost::new(&[
        ("BRAINTRUST_API_KEY", CANARY),
        ("BRAINTRUST_PROJECT_ID", "p-1"),
        ("LLM_MODELS", "small"),
    ]);
    let config = host.config();
    let mut proxy = Proxy {
        host,
        config,
        path: API,
    };
    let call = proxy.called(CHAT);
    let url = "https://api.braintrust.dev/v1/proxy/chat/completions";
    assert_eq!(call.url, url);
    assert_eq!(header(&call.headers, "x-bt-parent"), Some("project_id:p-1"));
    assert_eq!(
        header(&call.headers, "authorization"),
        Some(bearer.as_str())
    );
}

#[test]
fn what_the_server_does_not_decide_is_passed_on_as_it_is() {
    let mut proxy = Proxy::new(OPENAI);
    let body = r#"{"x_new": {"b":1, "a":[1.50, 1e3]}, "temperature":0.10, "messages":[{"role":"user","content":[{"type":"text","text":"h\u0069"}]}], "model":"large","n":1,"user":"u","tools":null}"#;
    let call = proxy.called(body);
    let sent = String::from_utf8(call.body.clone()).unwrap();
    for part in [
        r#""x_new":{"b":1, "a":[1.50, 1e3]}"#,
        r#""temperature":0.10"#,
        r#""text":"h\u0069""#,
        r#""model":"large""#,
        r#""n":1"#,
        r#""user":"u""#,
    ] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
    let asked = proxy.asked(ASK);
    assert_eq!(
        asked,
        json!({"model":"small","messages":[{"role":"user","content":"hi"}]})
    );
}

#[test]
fn only_models_that_are_listed_are_asked() {
    let mut proxy = Proxy::new(OPENAI);
    let body = |model: &str| {
        json!({"model": model, "messages": [{"role":"user","content":"hi"}]}).to_string()
    };
    assert_eq!(proxy.asked(&body("large"))["model"], "large");
    for model in [
        "gpt-expensive",
        "",
        "Small",
        "small ",
        "https://evil.example/v1",
    ] {
        assert_eq!(proxy.refused(&body(model)), of(400, Code::ModelNotAllowed));
    }
    // The one that is checked is the one that is asked.
    for body in [
        r#"{"model":"small","model":"x","messages":[{}]}"#,
        r#"{"model":"small","mod\u0065l":"x","messages":[{}]}"#,
        r#"{"model":7,"messages":[{}]}"#,
        r#"{"model":["small"],"messages":[{}]}"#,
    ] {
        assert_eq!(proxy.refused(body), of(400, Code::InvalidRequest), "{body}");
    }
    let mut any = Proxy::with(OPENAI, &[("LLM_MODELS", " ")]);
    assert_eq!(any.asked(&body("llama3.2:8b"))["model"], "llama3.2:8b");
    assert_eq!(any.refused(ASK), of(400, Code::InvalidRequest));
    for model in ["", "http://10.0.0.1/v1", "a b", "a\nb", &"m".repeat(257)] {
        assert_eq!(any.refused(&body(model)), of(400, Code::ModelNotAllowed));
    }
}

#[test]
fn no_field_says_where_a_request_goes_or_with_which_key() {
    let mut proxy = Proxy::new(OPENAI);
    for name in [
        "api_base",
        "base_url",
        "api_key",
        "extra_headers",
        "fallbacks",
        "models",
        "route",
        "user_config",
        "aws_access_key_id",
        "vertex_project",
        "langfuse_host",
        "api\\u005fbase",
        "braintrust_api_base",
        "slack_webhook_url",
        "s3_endpoint_url",
        "vertex_ai_credentials",
        "phoenix_host",
    ] {
        let body = format!(r#"{{"{name}":"x","messages":[{{"role":"user","content":"hi"}}]}}"#);
        assert_eq!(
            proxy.refused(&body),
            of(400, Code::InvalidRequest),
            "{name}"
        );
    }
}

#[test]
fn a_request_that_is_none_is_refused() {
    let mut proxy = Proxy::new(OPENAI);
    for body in [
        "",
        "null",
        "[]",
        "\"text\"",
        "{",
        "{}",
        r#"{"messages":[]}"#,
        r#"{"messages":{}}"#,
        r#"{"messages":["hi"]}"#,
        r#"{"messages":[{}],"stream":"yes"}"#,
        r#"{"messages":[{}],"stream":1}"#,
        r#"{"messages":[{}],"n":2}"#,
        r#"{"messages":[{}],"n":1.0}"#,
        r#"{"messages":[{}],"n":"1"}"#,
        r#"{"messages":[{}],"stream":true,"stream_options":7}"#,
        r#"{"messages":[{}],"stream":true,"stream_options":{"include_usage":1}}"#,
        r#"{"messages":[{}]} x"#,
    ] {
        assert_eq!(proxy.refused(body), of(400, Code::InvalidRequest), "{body}");
    }
    let many: Vec<String> = (0..300).map(|it| format!("\"f{it}\":1")).collect();
    let many = format!("{{{}}}", many.join(","));
    assert_eq!(proxy.refused(&many), of(400, Code::InvalidRequest));
    let deep = format!(
        r#"{{"messages":{}{}}}"#,
        "[".repeat(9_000),
        "]".repeat(9_000)
    );
    assert_eq!(proxy.refused(&deep), of(400, Code::InvalidRequest));
    let long = vec![b' '; REQUEST_BYTES_MAX + 1];
    let Step::Respond(large) = proxy.begin_with(Ok(&long)) else {
        panic!("called");
    };
    assert_eq!(proxy.refusal(&large), of(413, Code::BodyTooLarge));
    // None of them counts.
    assert!(proxy.host.counted.is_empty());
}

#[test]
fn a_request_that_did_not_come_is_refused_in_its_paths_form() {
    for path in [OPENAI, API] {
        let mut proxy = Proxy::new(path);
        for (fault, answer, may_wait) in [
            (BodyFault::TooSlow, of(408, Code::BodyTimeout), false),
            (BodyFault::Busy, of(503, Code::Overloaded), true),
            (BodyFault::Broken, of(400, Code::InvalidRequest), false),
        ] {
            let Step::Respond(response) = proxy.begin_with(Err(fault)) else {
                panic!("called");
            };
            // Which looks at the form, too.
            assert_eq!(proxy.refusal(&response), answer);
            let retry_after = header(&response.headers, "retry-after");
            assert_eq!(retry_after.is_some(), may_wait, "{fault:?}");
        }
        // None of them counts.
        assert!(proxy.host.counted.is_empty());
    }
}

#[test]
fn no_tool_says_which_server_is_called() {
    let server = [(
        "LLM_TOOLS",
        r#"[{"type":"function","function":{"name":"own"}}]"#,
    )];
    for env in [&[][..], &server] {
        let mut proxy = Proxy::with(OPENAI, env);
        let body = |tool: &str| {
            format!(
                r#"{{"messages":[{{"role":"user","content":"hi"}}],"tools":[{{"type":"function","function":{{"name":"a"}}}},{tool}]}}"#
            )
        };
        for tool in [
            r#"{"type":"mcp","server_label":"x","server_url":"http://169.254.169.254/"}"#,
            r#"{"type":"mcp","headers":{"authorization":"x"}}"#,
            r#"{"type":"function","api_base":"http://127.0.0.1/"}"#,
            r#"{"type":"mcp","type":"function"}"#,
        ] {
            let answer = of(400, Code::InvalidRequest);
            assert_eq!(proxy.refused(&body(tool)), answer, "{tool}");
        }
        let asked = proxy.asked(&body(r#"{"type":"other","url":1}"#));
        let tools = asked["tools"].as_array().unwrap();
        assert_eq!(tools.last().unwrap(), &json!({"type":"other","url":1}));
    }
}

#[test]
fn the_servers_tools_and_prompt_come_first() {
    let tool =
        |name: &str, by: &str| json!({"type":"function","function":{"name":name,"description":by}});
    let tools = json!([tool("create", "server"), tool("delete", "server")]).to_string();
    let env = [
        ("LLM_TOOLS", tools.as_str()),
        ("LLM_SYSTEM_PROMPT", "Be \"kind\"."),
    ];
    let mut proxy = Proxy::with(OPENAI, &env);
    let body = json!({
        "messages": [{"role":"system","content":"Be rude."}, {"role":"user","content":"hi"}],
        "tools": [tool("delete", "client"), tool("own", "client"), {"type":"other"}],
    });
    let asked = proxy.asked(&body.to_string());
    assert_eq!(
        asked["tools"],
        json!([
            tool("create", "server"),
            tool("delete", "server"),
            tool("own", "client"),
            {"type":"other"},
        ])
    );
    assert_eq!(
        asked["messages"],
        json!([
            {"role":"system","content":"Be \"kind\"."},
            {"role":"system","content":"Be rude."},
            {"role":"user","content":"hi"},
        ])
    );
    assert_eq!(proxy.asked(ASK)["tools"][1]["function"]["name"], "delete");
    let odd = r#"{"messages":[{}],"tools":"all"}"#;
    assert_eq!(proxy.refused(odd), of(400, Code::InvalidRequest));
}

#[test]
fn usage_is_asked_for_in_every_stream() {
    let mut proxy = Proxy::new(OPENAI);
    for options in [
        "null",
        "{}",
        r#"{"include_usage":false}"#,
        r#"{"include_usage":true}"#,
    ] {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"hi"}}],"stream":true,"stream_options":{options}}}"#
        );
        let asked = proxy.asked(&body);
        assert_eq!(asked["stream"], true);
        assert_eq!(asked["stream_options"], json!({"include_usage": true}));
    }
    let body = r#"{"messages":[{}],"stream":true,"stream_options":{"x":1}}"#;
    let asked = proxy.asked(body);
    assert_eq!(
        asked["stream_options"],
        json!({"x": 1, "include_usage": true})
    );
    assert_eq!(proxy.asked(ASK).get("stream_options"), None);
}
