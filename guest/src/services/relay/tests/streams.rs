//! Streams: what a client is sent of what comes, and how it ends.

use std::fmt::Write;

use serde_json::json;

use super::*;

fn chunk(delta: &Value, finish: &Value) -> String {
    let choice = json!({"index":0,"delta":delta,"finish_reason":finish});
    format!("data: {}\n\n", json!({"id":"x","choices":[choice]}))
}

fn says(text: &str) -> String {
    chunk(&json!({ "content": text }), &Value::Null)
}

fn stops() -> String {
    chunk(&json!({}), &"stop".into())
}

const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"total_tokens\":12}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn whole() -> usize {
    65_536
}

/// The events' names and data.
fn events(output: &str) -> Vec<(String, Value)> {
    let events = output
        .split_terminator("\n\n")
        .filter(|event| *event != ":");
    events
        .map(|event| {
            let (name, data) = match event.strip_prefix("event: ") {
                Some(event) => event.split_once('\n').unwrap(),
                None => ("message", event),
            };
            let data = data.strip_prefix("data: ").unwrap();
            let data = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data));
            (name.to_owned(), data)
        })
        .collect()
}

/// The last event's code, if it is an error; and that nothing else says so.
fn error(output: &str) -> Option<String> {
    let events = events(output);
    let (name, data) = events.last().unwrap();
    let code = if name == "error" {
        &data["code"]
    } else {
        &data["error"]["code"]
    };
    let code = code.as_str().map(str::to_owned);
    assert!(code.is_none() || !output.contains("[DONE]"));
    code
}

#[test]
fn a_stream_is_passed_on_in_openais_form() {
    let mut proxy = Proxy::new(OPENAI);
    let upstream = [&says("hel"), &says("lo"), &stops(), USAGE, DONE].concat();
    let output = proxy.streamed(ASK_STREAM, upstream.as_bytes(), Ending::Ended, whole);
    assert_eq!(output, [&says("hel"), &says("lo"), &stops(), DONE].concat());
    assert_eq!(proxy.host.added(), [12]);
    // Who has asked for the figures gets them.
    let body = r#"{"messages":[{}],"stream":true,"stream_options":{"include_usage":true}}"#;
    let output = proxy.streamed(body, upstream.as_bytes(), Ending::Ended, whole);
    assert_eq!(output, upstream);
    let call = proxy.called(ASK_STREAM);
    let events = [("content-type", "text/event-stream")];
    let Reading::Stream(streaming) = proxy.head(&call.context, 200, &events) else {
        panic!("no stream");
    };
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(header(&streaming.head.headers, name), Some(value));
    }
}

#[test]
fn a_stream_is_passed_on_in_the_references_form() {
    let mut proxy = Proxy::new(API);
    let upstream = [
        ": wait\n\n",
        &chunk(&json!({"role":"assistant","content":""}), &Value::Null),
        &says("hel\n"),
        &says("lo"),
        &chunk(
            &json!({"tool_calls":[{"index":0,"id":"c1","function":{"name":"create","arguments":""}}]}),
            &Value::Null,
        ),
        &chunk(
            &json!({"tool_calls":[{"index":1,"id":"c2","function":{"name":"list"}}]}),
            &Value::Null,
        ),
        &chunk(
            &json!({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":\n"}}]}),
            &Value::Null,
        ),
        &chunk(
            &json!({"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}),
            &"tool_calls".into(),
        ),
        USAGE,
        DONE,
    ]
    .concat();
    let output = proxy.streamed(CHAT_STREAM, upstream.as_bytes(), Ending::Ended, whole);
    let expected = [
        ":\n\n",
        "data: {\"delta\":\"hel\\n\"}\n\n",
        "data: {\"delta\":\"lo\"}\n\n",
        "event: done\ndata: {\"toolCalls\":[",
        "{\"id\":\"c1\",\"name\":\"create\",\"arguments\":{\"a\": 1}},",
        "{\"id\":\"c2\",\"name\":\"list\",\"arguments\":{}}",
        "],\"finishReason\":\"tool_calls\"}\n\n",
    ];
    assert_eq!(output, expected.concat());
    assert_eq!(proxy.host.added(), [12]);
}

#[test]
fn an_end_is_told_from_a_break() {
    let said = says("hel");
    let finished = [said.as_str(), &stops()].concat();
    let unended = format!("{finished}data: [DONE]");
    for path in [OPENAI, API] {
        let body = if path == API { CHAT_STREAM } else { ASK_STREAM };
        for ending in [Ending::Ended, Ending::Broken, Ending::Stalled] {
            let mut proxy = Proxy::new(path);
            for complete in [&finished, &unended] {
                let output = proxy.streamed(body, complete.as_bytes(), ending, whole);
                assert_eq!(error(&output), None);
            }
            let code = if ending == Ending::Stalled {
                Code::UpstreamTimeout
            } else {
                Code::UpstreamError
            };
            let half = format!("{said}data: {{\"choices\":[{{\"del");
            for broken in ["", ": wait\n\n", said.as_str(), &half] {
                let output = proxy.streamed(body, broken.as_bytes(), ending, whole);
                assert_eq!(error(&output).as_deref(), Some(code.as_str()), "{broken}");
            }
        }
    }
}

#[test]
fn a_client_that_hangs_up_pays_for_what_was_said() {
    let mut proxy = Proxy::new(API);
    let asked = proxy.called(CHAT_STREAM);
    proxy.end(&asked.context, Ending::Gone);
    let output = proxy.streamed(
        CHAT_STREAM,
        says("0123456789").as_bytes(),
        Ending::Gone,
        whole,
    );
    assert_eq!(output, "data: {\"delta\":\"0123456789\"}\n\n");
    // The text with its quotes.
    let bytes = asked.body.len() as u64 + 12;
    assert_eq!(proxy.host.added()[1], bytes.div_ceil(4));
}

#[test]
fn junk_is_an_error_and_the_last_that_is_said() {
    let long = format!("data: \"{}\"\n\n", "a".repeat(1 << 20));
    let key = format!("data: {{\"error\":{{\"message\":\"bad key {CANARY}\"}}}}\n\n");
    for path in [OPENAI, API] {
        let body = if path == API { CHAT_STREAM } else { ASK_STREAM };
        for junk in [
            "data: junk\n\n",
            "data: \n\n",
            "data: 7\n\n",
            "data: []\n\n",
            "data: {}\n\n",
            "data: {\"choices\":7}\n\n",
            "data: {\"choices\":[7]}\n\n",
            "data: {\"choices\":[{\"delta\":7}]}\n\n",
            "data: {\"choices\":[]\n\n",
            "data: {\"error\":\"no\"}\n\n",
            "event: error\ndata: {\"error\":{}}\n\n",
            &long,
            &key,
        ] {
            let mut proxy = Proxy::new(path);
            let upstream = [&says("hel"), junk, &says("lo"), DONE].concat();
            let output = proxy.streamed(body, upstream.as_bytes(), Ending::Ended, whole);
            let code = Code::UpstreamError.as_str();
            assert_eq!(error(&output).as_deref(), Some(code), "{junk:.99}");
            assert!(output.contains("hel") && !output.contains("lo\""));
            assert_eq!(events(&output).len(), 2);
        }
        let mut proxy = Proxy::new(path);
        let output = proxy.streamed(body, b"data: {\"a\":\"\xFF\"}\n\n", Ending::Ended, whole);
        assert!(error(&output).is_some());
    }
}

#[test]
fn tool_calls_that_make_no_sense_or_never_end_are_an_error() {
    let call = |call: Value| chunk(&json!({ "tool_calls": [call] }), &Value::Null);
    let news = |index: u64, arguments: &str| {
        call(json!({"index":index,"function":{"arguments":arguments}}))
    };
    let many: String = (0..200).map(|index| news(index, "{}")).collect();
    let long: String = (0..300).map(|_| news(0, &"a".repeat(1_024))).collect();
    let odd = chunk(&json!({"tool_calls":{}}), &Value::Null);
    let far = news(u64::MAX, "{}") + &call(json!({"id":"next","function":{"arguments":"{"}}));
    for upstream in [news(0, "{"), news(0, "[]"), many, long, odd, far] {
        let mut proxy = Proxy::new(API);
        let upstream = format!("{upstream}{DONE}");
        let output = proxy.streamed(CHAT_STREAM, upstream.as_bytes(), Ending::Ended, whole);
        let code = error(&output);
        assert_eq!(code.as_deref(), Some(Code::UpstreamError.as_str()));
    }
}

#[test]
fn a_stream_has_an_end() {
    let mut proxy = Proxy::new(API);
    let context = proxy.streaming(CHAT_STREAM);
    proxy.host.now += std::time::Duration::from_secs(600);
    let passed = proxy.piece(&context, says("hel").as_bytes());
    assert!(passed.is_last);
    let output = String::from_utf8(passed.output).unwrap();
    assert_eq!(
        error(&output).as_deref(),
        Some(Code::UpstreamTimeout.as_str())
    );
    assert_eq!(proxy.host.held(), 0);

    let mut context = proxy.streaming(CHAT_STREAM);
    let nothing = format!("id: {}\n", "a".repeat(65_536 - 5));
    for piece in 0.. {
        let passed = proxy.piece(&context, nothing.as_bytes());
        context = passed.context;
        assert!(context.len() < 2_000);
        if passed.is_last {
            assert_eq!(piece, 1_024);
            assert!(passed.output.starts_with(b"event: error"));
            break;
        }
    }
    assert_eq!(proxy.host.held(), 0);
}

#[test]
fn a_key_that_an_upstream_says_is_hidden() {
    for path in [OPENAI, API] {
        let mut proxy = Proxy::new(path);
        let body = if path == API { CHAT_STREAM } else { ASK_STREAM };
        let upstream = [
            &says(&format!("it is {CANARY}!")),
            &chunk(
                &json!({"tool_calls":[{"index":0,"id":"c","function":
                    {"name":"n","arguments":format!("{{\"k\":\"{CANARY}\"}}")}}]}),
                &Value::Null,
            ),
            DONE,
        ]
        .concat();
        // In the reference's form, what a context keeps of it is not told yet.
        let mut context = proxy.streaming(body);
        let mut output = Vec::new();
        for event in upstream.split_inclusive("\n\n") {
            let (host, config) = (&mut proxy.host, &proxy.config);
            let passed = piece(host, config, &context, event.as_bytes());
            proxy.watch(&passed.output);
            output.extend(passed.output);
            context = passed.context;
        }
        let output = String::from_utf8(output).unwrap();
        assert_eq!(output.matches("[hidden]").count(), 2, "{output}");
    }
}

#[test]
fn any_split_of_a_stream_gives_the_same_output() {
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut upstream = String::new();
        for _ in 0..random.usize(1..12) {
            let text = ["a", "é\u{1F600}", "\r\n", "", "data: x"][random.usize(..5)];
            let arguments = ["", "{}", "{"][random.usize(..3)];
            let event = match random.u32(..14) {
                0 => ": c\n\n".to_owned(),
                1 => stops(),
                2 => USAGE.to_owned(),
                3 if random.u32(..4) == 0 => DONE.to_owned(),
                4 if random.u32(..4) == 0 => "data: junk\n\n".to_owned(),
                5 => chunk(
                    &json!({"tool_calls":[{"index":random.u64(..2),"id":"c","function":
                        {"name":"n","arguments":arguments}}]}),
                    &Value::Null,
                ),
                6 => says(text).replace(",\"delta\"", "\ndata: ,\"delta\""),
                _ => says(text),
            };
            let ends = ["\n", "\r\n", "\r"][random.usize(..3)];
            let _ = write!(upstream, "{}", event.replace('\n', ends));
        }
        let cut = random.usize(..=upstream.len());
        let upstream = upstream.as_bytes().get(..cut.max(1)).unwrap();
        let ending = [Ending::Ended, Ending::Broken, Ending::Stalled][random.usize(..3)];
        for (path, body) in [(OPENAI, ASK_STREAM), (API, CHAT_STREAM)] {
            let mut one = Proxy::new(path);
            let once = one.streamed(body, upstream, ending, whole);
            let mut other = Proxy::new(path);
            let split = other.streamed(body, upstream, ending, || random.usize(1..40));
            assert_eq!(once, split, "seed {seed}");
            assert_eq!(one.host.counted, other.host.counted, "seed {seed}");
        }
    }
}
