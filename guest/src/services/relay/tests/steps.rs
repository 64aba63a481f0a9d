//! Tries, refusals, whole answers, and what they cost.

use serde_json::json;

use super::*;
use crate::imports::QuotaDenied;
use crate::services::fake_host::Counted;

const USAGE: &str = r#""usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}"#;

fn completion(message: &str) -> String {
    format!(
        r#"{{"id":"x","choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}],{USAGE}}}"#
    )
}

#[test]
fn a_whole_answer_is_passed_on_and_counted() {
    let mut proxy = Proxy::new(OPENAI);
    let upstream = completion(r#"{"role":"assistant","content":"hello","extra":1.50}"#);
    let response = proxy.answered(ASK, &upstream);
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, upstream.as_str())
    );
    let kind = header(&response.headers, "content-type");
    assert_eq!(kind, Some("application/json"));
    assert_eq!((proxy.host.held(), proxy.host.added()), (0, vec![12]));

    let mut proxy = Proxy::new(API);
    let message = r#"{"content":null,"tool_calls":[
        {"id":"c1","type":"function","function":{"name":"create","arguments":"{\"a\":1}"}},
        {"id":"c2","type":"function","function":{"name":"list","arguments":""}}]}"#;
    let response = proxy.answered(CHAT, &completion(message));
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(
        body,
        json!({"message":"","toolCalls":[
            {"id":"c1","name":"create","arguments":{"a":1}},
            {"id":"c2","name":"list","arguments":{}},
        ]})
    );
    let response = proxy.answered(CHAT, &completion(r#"{"content":"hello"}"#));
    assert_eq!(response.body, r#"{"message":"hello","toolCalls":[]}"#);
    assert_eq!((proxy.host.held(), proxy.host.added()), (0, vec![12, 12]));
}

#[test]
fn what_the_upstream_does_not_count_is_estimated() {
    let mut proxy = Proxy::new(OPENAI);
    let asked = u64::try_from(proxy.called(ASK).body.len()).unwrap();
    for (usage, tokens) in [
        (r#"{"prompt_tokens":5,"completion_tokens":7}"#, 12),
        (r#"{"completion_tokens":7}"#, 7),
        (r#"{"total_tokens":99999999999999}"#, 10_000_000),
        ("null", 0),
        ("7", 0),
        (r#"{"total_tokens":-1}"#, 0),
        (r#"{"total_tokens":"1"}"#, 0),
    ] {
        let mut proxy = Proxy::new(OPENAI);
        let body =
            format!(r#"{{"choices":[{{"message":{{"content":"hello"}}}}],"usage":{usage}}}"#);
        let bytes = u64::try_from(body.len()).unwrap();
        proxy.answered(ASK, &body);
        let tokens = if tokens == 0 {
            (asked + bytes).div_ceil(4)
        } else {
            tokens
        };
        assert_eq!(proxy.host.added(), [tokens], "{usage}");
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_the_upstreams_error() {
    for path in [OPENAI, API] {
        let body = if path == API { CHAT } else { ASK };
        for junk in [
            "",
            "<html>busy</html>",
            "null",
            "[]",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":{}}"#,
            r#"{"choices":[7]}"#,
            r#"{"choices":[{"message":"hi"}]}"#,
            r#"{"error":"no"}"#,
            r#"{"error":{"message":"no"},"choices":[{"message":{"content":"x"}}]}"#,
        ] {
            let mut proxy = Proxy::new(path);
            let response = proxy.answered(body, junk);
            assert_eq!(
                proxy.refusal(&response),
                of(502, Code::UpstreamError),
                "{junk}"
            );
        }
    }
    for message in [
        r#"{"content":7}"#,
        r#"{"content":["a"]}"#,
        r#"{"tool_calls":{}}"#,
        r#"{"tool_calls":[{"id":"c","function":{"name":"n","arguments":"{"}}]}"#,
        r#"{"tool_calls":[{"id":"c","function":{"name":"n","arguments":"[]"}}]}"#,
        r#"{"tool_calls":[{"id":"c","function":{"name":"n","arguments":{}}}]}"#,
    ] {
        let mut proxy = Proxy::new(API);
        let response = proxy.answered(CHAT, &completion(message));
        assert_eq!(
            proxy.refusal(&response),
            of(502, Code::UpstreamError),
            "{message}"
        );
    }
    let mut proxy = Proxy::new(OPENAI);
    let call = proxy.called(ASK);
    let Reading::Collect(collecting) = proxy.head(&call.context, 200, &[JSON]) else {
        panic!("not read");
    };
    assert_eq!(collecting.bytes_max, 8 * 1024 * 1024);
    let response = proxy.answer(&collecting.context, None);
    assert_eq!(proxy.refusal(&response), of(502, Code::UpstreamError));
    let response = proxy.answered(ASK, "\u{FFFD}");
    assert_eq!(proxy.refusal(&response), of(502, Code::UpstreamError));
}

/// The answer of a head that is not read on.
fn responded(proxy: &mut Proxy, status: u16, headers: &[(&str, &str)]) -> Response {
    let call = proxy.called(ASK);
    match proxy.head(&call.context, status, headers) {
        Reading::Respond(response) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_redirect_is_never_followed_and_no_key_is_asked_of_clients() {
    for (status, headers) in [
        (301, &[("location", "https://evil.example/")][..]),
        (307, &[("location", "https://evil.example/")]),
        (304, &[]),
        (204, &[]),
        (101, &[]),
        (999, &[]),
        (401, &[("www-authenticate", CANARY)]),
        (403, &[]),
    ] {
        let mut proxy = Proxy::new(OPENAI);
        let response = responded(&mut proxy, status, headers);
        assert!(!format!("{response:?}").contains("evil.example"));
        assert_eq!(
            proxy.refusal(&response),
            of(502, Code::UpstreamError),
            "{status}"
        );
        let (level, _) = proxy.host.lines.last().unwrap();
        assert_eq!(*level, crate::imports::Level::Error);
        assert!(proxy.host.added().is_empty());
    }
}

#[test]
fn an_answer_has_the_form_that_was_asked_for() {
    for (body, kind) in [
        (ASK_STREAM, JSON),
        (ASK, ("content-type", "text/event-stream")),
    ] {
        let mut proxy = Proxy::new(OPENAI);
        let call = proxy.called(body);
        let Reading::Respond(response) = proxy.head(&call.context, 200, &[kind]) else {
            panic!("read");
        };
        assert_eq!(proxy.refusal(&response), of(502, Code::UpstreamError));
        assert_eq!(proxy.host.added().len(), 1);
    }
}

#[test]
fn what_the_upstream_says_of_a_request_is_passed_on_without_the_key() {
    let long = "x".repeat(600);
    for (status, answer, words) in [
        (
            400,
            r#"{"error":{"message":"too many tokens"}}"#.to_owned(),
            "too many tokens",
        ),
        (
            404,
            r#"{"error":"no such model"}"#.to_owned(),
            "no such model",
        ),
        (
            422,
            format!(r#"{{"error":{{"message":"Incorrect API key {CANARY}."}}}}"#),
            "key [hidden].",
        ),
        (400, r#"{"detail":"x"}"#.to_owned(), "(400)"),
        (400, "<html>".to_owned(), "(400)"),
        (
            413,
            format!(r#"{{"error":{{"message":"{long}"}}}}"#),
            &long[..500],
        ),
    ] {
        let mut proxy = Proxy::new(API);
        let call = proxy.called(CHAT);
        let Reading::Collect(collecting) = proxy.head(&call.context, status, &[JSON]) else {
            panic!("not read");
        };
        assert_eq!(collecting.bytes_max, 64 * 1024);
        let response = proxy.answer(&collecting.context, Some(answer.as_bytes()));
        assert_eq!(proxy.refusal(&response), of(status, Code::InvalidRequest));
        assert!(response.body.contains(words), "{}", response.body);
        assert!(response.body.len() < 700);
        assert!(proxy.host.added().is_empty());
    }
    let mut proxy = Proxy::new(API);
    let call = proxy.called(CHAT);
    let Reading::Collect(collecting) = proxy.head(&call.context, 400, &[]) else {
        panic!("not read");
    };
    let response = proxy.answer(&collecting.context, None);
    assert_eq!(proxy.refusal(&response), of(400, Code::InvalidRequest));
}

#[test]
fn a_busy_upstream_is_asked_three_times() {
    for status in [408, 429, 500, 502, 503, 529] {
        let mut proxy = Proxy::new(OPENAI);
        let first = proxy.called(ASK);
        let Reading::Wait(wait) = proxy.head(&first.context, status, &[("retry-after", "2")])
        else {
            panic!("not again");
        };
        assert!(
            (2_250..=2_500).contains(&wait.after_ms),
            "{}",
            wait.after_ms
        );
        let Step::Call(second) = proxy.again(&wait.context) else {
            panic!("not again");
        };
        assert_eq!((&second.body, &second.url), (&first.body, &first.url));
        assert_eq!(second.headers, first.headers);
        let Reading::Wait(wait) = proxy.head(&second.context, status, &[]) else {
            panic!("not again");
        };
        assert!((500..=1_000).contains(&wait.after_ms), "{}", wait.after_ms);
        let Step::Call(third) = proxy.again(&wait.context) else {
            panic!("not again");
        };
        let Reading::Respond(response) =
            proxy.head(&third.context, status, &[("retry-after", "3")])
        else {
            panic!("again");
        };
        assert_eq!(header(&response.headers, "retry-after"), Some("3"));
        assert_eq!(proxy.refusal(&response), of(503, Code::UpstreamBusy));
        assert!(proxy.host.added().is_empty());
    }
}

#[test]
fn who_has_to_wait_for_long_is_told_so_at_once() {
    let mut proxy = Proxy::new(API);
    let call = proxy.called(CHAT);
    let Reading::Respond(response) = proxy.head(&call.context, 429, &[("retry-after", "60")])
    else {
        panic!("again");
    };
    assert_eq!(header(&response.headers, "retry-after"), Some("60"));
    assert_eq!(proxy.refusal(&response), of(503, Code::UpstreamBusy));
}

#[test]
fn an_upstream_that_cannot_be_reached_is_tried_three_times() {
    for failure in [Failure::Unreachable, Failure::Broken] {
        let mut proxy = Proxy::new(OPENAI);
        let mut call = proxy.called(ASK);
        for _ in 0..2 {
            let Step::Wait(wait) = proxy.failed(&call.context, failure) else {
                panic!("not again");
            };
            call = match proxy.again(&wait.context) {
                Step::Call(call) => call,
                other => panic!("{other:?}"),
            };
        }
        let Step::Respond(response) = proxy.failed(&call.context, failure) else {
            panic!("again");
        };
        assert_eq!(proxy.refusal(&response), of(502, Code::UpstreamUnreachable));
        assert!(proxy.host.added().is_empty());
    }
}

#[test]
fn an_upstream_that_is_silent_is_not_asked_again_and_has_cost_something() {
    let mut proxy = Proxy::new(OPENAI);
    let call = proxy.called(ASK);
    let Step::Respond(response) = proxy.failed(&call.context, Failure::Silent) else {
        panic!("again");
    };
    assert_eq!(proxy.refusal(&response), of(504, Code::UpstreamTimeout));
    let asked = u64::try_from(call.body.len()).unwrap().div_ceil(4);
    assert_eq!(proxy.host.added(), [asked]);
}

#[test]
fn all_of_a_relay_has_an_end() {
    let mut proxy = Proxy::new(OPENAI);
    let call = proxy.called(ASK);
    let Reading::Wait(wait) = proxy.head(&call.context, 503, &[]) else {
        panic!("not again");
    };
    proxy.host.now += std::time::Duration::from_secs(550);
    let Step::Call(call) = proxy.again(&wait.context) else {
        panic!("not again");
    };
    assert_eq!(
        (call.head_timeout_ms, call.connect_timeout_ms),
        (50_000, 10_000)
    );
    proxy.host.now += std::time::Duration::from_secs(50);
    let Reading::Respond(response) = proxy.head(&call.context, 503, &[]) else {
        panic!("again");
    };
    assert_eq!(proxy.refusal(&response), of(503, Code::UpstreamBusy));
    let mut proxy = Proxy::new(OPENAI);
    let call = proxy.called(ASK);
    let Reading::Wait(wait) = proxy.head(&call.context, 503, &[]) else {
        panic!("not again");
    };
    proxy.host.now += std::time::Duration::from_secs(600);
    let Step::Respond(response) = proxy.again(&wait.context) else {
        panic!("called");
    };
    assert_eq!(proxy.refusal(&response), of(504, Code::UpstreamTimeout));
}

#[test]
fn who_has_used_up_a_quota_is_told_until_when() {
    for (counter, denied_ms, told) in [
        ("llm-requests", 41_000, "41"),
        ("llm-tokens", 7_200_000, "7200"),
        ("llm-calls", 500_000, "2"),
    ] {
        for path in [OPENAI, API] {
            let mut proxy = Proxy::new(path);
            let denied = QuotaDenied::Exhausted {
                retry_after_ms: denied_ms,
            };
            proxy.host.denies.insert(counter, denied);
            let Step::Respond(response) = proxy.begin(if path == API { CHAT } else { ASK }) else {
                panic!("called");
            };
            assert_eq!(header(&response.headers, "retry-after"), Some(told));
            assert_eq!(proxy.refusal(&response), of(429, Code::QuotaExceeded));
            let denied = QuotaDenied::Unavailable("disk".to_owned());
            proxy.host.denies.insert(counter, denied);
            let refused = proxy.refused(if path == API { CHAT } else { ASK });
            assert_eq!(refused, of(503, Code::StorageUnavailable));
            assert!(
                proxy
                    .host
                    .lines
                    .iter()
                    .any(|(_, line)| line.contains("disk"))
            );
        }
    }
}

#[test]
fn zero_is_any_number() {
    let env = [
        ("LLM_REQUESTS_PER_MINUTE", "0"),
        ("LLM_TOKENS_PER_DAY", "0"),
    ];
    let mut proxy = Proxy::with(OPENAI, &env);
    proxy.answered(ASK, &completion(r#"{"content":"hello"}"#));
    let user = "(anonymous)".to_owned();
    assert_eq!(
        proxy.host.counted,
        [Counted::Hold(user.clone(), 1), Counted::LetGo(user, 1)]
    );
}

#[test]
fn a_client_that_has_gone_holds_nothing() {
    let asked = |proxy: &mut Proxy| {
        let call = proxy.called(ASK);
        (call.body.len().div_ceil(4) as u64, call.context)
    };
    let mut proxy = Proxy::new(OPENAI);
    let (tokens, context) = asked(&mut proxy);
    assert!(proxy.end(&context, Ending::Gone).is_empty());
    assert_eq!((proxy.host.held(), proxy.host.added()), (0, vec![tokens]));
    // While it waits, nobody is at work.
    let mut proxy = Proxy::new(OPENAI);
    let (_, context) = asked(&mut proxy);
    let Reading::Wait(wait) = proxy.head(&context, 500, &[]) else {
        panic!("not again");
    };
    assert!(proxy.end(&wait.context, Ending::Gone).is_empty());
    assert_eq!((proxy.host.held(), proxy.host.added()), (0, vec![]));
    let mut proxy = Proxy::new(OPENAI);
    let (tokens, context) = asked(&mut proxy);
    let Reading::Collect(collecting) = proxy.head(&context, 200, &[JSON]) else {
        panic!("not read");
    };
    assert!(proxy.end(&collecting.context, Ending::Gone).is_empty());
    assert_eq!((proxy.host.held(), proxy.host.added()), (0, vec![tokens]));
}
