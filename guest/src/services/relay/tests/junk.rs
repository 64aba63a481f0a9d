//! Contexts that are not ours, and answers that are none: nothing panics, and
//! everybody is told something.

use super::*;

/// Every step with this context.
fn step_all(proxy: &mut Proxy, context: &[u8]) {
    proxy.again(context);
    for failure in [Failure::Unreachable, Failure::Silent, Failure::Broken] {
        proxy.failed(context, failure);
    }
    for status in [0, 200, 302, 400, 401, 429, 500, u16::MAX] {
        for headers in [&[][..], &[("content-type", "text/event-stream")]] {
            proxy.head(context, status, headers);
        }
    }
    for body in [None, Some(&b"{}"[..])] {
        proxy.answer(context, body);
    }
    proxy.piece(context, b"data: {\"choices\":[]}\n\n");
    for ending in [Ending::Ended, Ending::Broken, Ending::Stalled, Ending::Gone] {
        proxy.end(context, ending);
    }
}

#[test]
fn a_context_that_is_not_ours_is_answered_and_holds_nothing() {
    let mut proxy = Proxy::new(OPENAI);
    for context in [
        &b""[..],
        b"junk",
        b"\xFF\xFF\xFF\xFF{}",
        b"\0\0\0\0",
        b"\x02\0\0\0{}",
        b"\x04\0\0\0null",
    ] {
        step_all(&mut proxy, context);
    }
    assert!(proxy.host.counted.is_empty());
    let config = proxy.config.clone();
    for ticket in ["", "{}", "7", "[]"] {
        let step = begin(
            &mut proxy.host,
            &config,
            ticket,
            Ok(ASK.as_bytes().to_vec()),
        );
        let Step::Respond(response) = step else {
            panic!("called");
        };
        assert_eq!(response.status, 503);
    }
}

#[test]
fn contexts_that_were_damaged_do_no_harm() {
    let mut proxy = Proxy::new(API);
    let calling = proxy.called(CHAT_STREAM).context;
    let streaming = proxy.streaming(CHAT_STREAM);
    let streaming = proxy
        .piece(&streaming, b"data: {\"choices\":[{\"del")
        .context;
    let mut random = fastrand::Rng::with_seed(5);
    for whole in [&calling, &streaming] {
        step_all(&mut proxy, whole);
        for _ in 0..150 {
            let mut context = whole.clone();
            match random.u32(..3) {
                0 => context.truncate(random.usize(..context.len())),
                1 => {
                    let at = random.usize(..context.len());
                    context[at] = random.u8(..);
                }
                _ => {
                    let at = random.usize(..context.len());
                    context.insert(at, random.u8(b' '..b'~'));
                }
            }
            step_all(&mut proxy, &context);
        }
    }
}

#[test]
fn an_upstream_may_say_anything() {
    let mut random = fastrand::Rng::with_seed(9);
    let parts = [
        "data: ",
        "{\"choices\":",
        "[",
        "]",
        "{",
        "}",
        "\"delta\":",
        "\"message\":",
        "null",
        "\"content\":",
        "\"a\"",
        ",",
        "\n\n",
        "\"usage\":",
        "1e999",
        "-1",
        "\"error\":",
        "\u{FEFF}",
        "\"tool_calls\":",
        "\"index\":",
        "18446744073709551615",
        "[DONE]",
        "\\ud800",
        "\0",
    ];
    for _ in 0..600 {
        let text: String = (0..random.usize(1..30))
            .map(|_| parts[random.usize(..parts.len())])
            .collect();
        for (path, body, stream) in [(OPENAI, ASK, ASK_STREAM), (API, CHAT, CHAT_STREAM)] {
            let mut proxy = Proxy::new(path);
            proxy.answered(body, &text);
            proxy.streamed(stream, text.as_bytes(), Ending::Ended, || 7);
            assert_eq!(proxy.host.held(), 0);
        }
    }
}
