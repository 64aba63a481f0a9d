//! What becomes of an upstream's failures: each an error that says what the
//! client may do, and bounded in what it costs.

use serde_json::json;
use syncline_tests::upstream::{Head, Piece, Reply};

use super::{FORMS, Form, ask_for, events, stream, told};
use crate::stage::{Stage, upstream};
use crate::{Scenario, scenarios};

/// Calls of the upstream for one of a client's, at most.
const TRIES_MAX: usize = 5;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Tokens:
        an_upstream_that_fails_for_a_moment_is_asked_again,
        an_upstream_that_goes_on_failing_is_busy,
        a_long_retry_after_is_the_clients_to_wait,
        an_upstream_that_breaks_the_connection_is_unreachable,
        what_the_upstream_says_of_the_request_is_passed_on,
        a_key_that_the_upstream_refuses_is_not_the_clients_fault,
        junk_is_no_answer,
        an_answer_of_50_mb_is_none,
        a_redirect_is_not_followed,
        a_stream_that_does_not_begin_is_refused,
    ]
}

fn an_upstream_that_fails_for_a_moment_is_asked_again(stage: &Stage) {
    let user = stage.user("moment");
    let busy = |status: u16| Reply::refusal(status, "overloaded");
    for (form, first) in [
        (Form::OpenAi, busy(429).with("retry-after", "1")),
        (Form::Api, busy(429).with("retry-after", "0")),
        (Form::OpenAi, busy(500)),
        (Form::Api, busy(503)),
        (
            Form::OpenAi,
            Reply::of("text/html", "<html>").when(Head::Never),
        ),
    ] {
        let script = upstream().script([first, Reply::completion("At last.", 3)]);
        assert_eq!(form.text(&ask_for(stage, &user, form, &script)), "At last.");
        let calls = script.calls();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].body, calls[1].body);
    }
    // So is a stream, before its first byte.
    for form in FORMS {
        let script = upstream().script([busy(502), Reply::stream(&["At last."], 3)]);
        let events = events(stream(stage, &user, form, &script));
        assert_eq!(told(form, &events), ("At last.".to_owned(), Ok(())));
        assert_eq!(script.calls().len(), 2);
    }
}

fn an_upstream_that_goes_on_failing_is_busy(stage: &Stage) {
    let user = stage.user("busy");
    for (form, status) in [(Form::OpenAi, 500), (Form::Api, 429), (Form::Api, 529)] {
        let script = upstream().script([Reply::refusal(status, "overloaded")]);
        let answer = ask_for(stage, &user, form, &script);
        form.refused(&answer, 503, "UPSTREAM_BUSY");
        let after = answer.header("retry-after").expect("when to come again");
        assert!(after.parse::<u64>().expect("seconds") >= 1);
        let tries = script.calls().len();
        assert!((2..=TRIES_MAX).contains(&tries), "{tries} calls");
    }
}

fn a_long_retry_after_is_the_clients_to_wait(stage: &Stage) {
    let user = stage.user("patient");
    for form in FORMS {
        let busy = Reply::refusal(429, "slow down").with("retry-after", "3600");
        let script = upstream().script([busy]);
        let answer = ask_for(stage, &user, form, &script);
        form.refused(&answer, 503, "UPSTREAM_BUSY");
        let after = answer.header("retry-after").expect("when to come again");
        assert_eq!(after, "3600");
        assert_eq!(script.calls().len(), 1, "nobody is asked again before");
    }
}

fn an_upstream_that_breaks_the_connection_is_unreachable(stage: &Stage) {
    let user = stage.user("breaks");
    for form in FORMS {
        let script = upstream().script([Reply::completion("x", 1).when(Head::Never)]);
        let answer = ask_for(stage, &user, form, &script);
        form.refused(&answer, 502, "UPSTREAM_UNREACHABLE");
        assert!((1..=TRIES_MAX).contains(&script.calls().len()));
        // In the middle of an answer that is read whole.
        let broken = Reply {
            body: vec![Piece::Bytes("{\"choices\":[".into()), Piece::Break],
            ..Reply::completion("x", 1)
        };
        let script = upstream().script([broken]);
        let answer = ask_for(stage, &user, form, &script);
        form.refused(&answer, 502, "UPSTREAM_ERROR");
        assert_eq!(script.calls().len(), 1, "it has cost what it costs");
    }
}

fn what_the_upstream_says_of_the_request_is_passed_on(stage: &Stage) {
    let user = stage.user("invalid");
    for form in FORMS {
        for status in [400, 404, 422] {
            let words = "This model's maximum context length is 7 tokens.";
            let script = upstream().script([Reply::refusal(status, words)]);
            let answer = ask_for(stage, &user, form, &script);
            let told = form.refused(&answer, status, "INVALID_REQUEST");
            assert!(told.contains(words), "{told}");
            assert_eq!(script.calls().len(), 1);
        }
        let script = upstream().script([Reply {
            status: 400,
            ..Reply::of("text/html", "<html><script>alert(1)</script>")
        }]);
        let answer = ask_for(stage, &user, form, &script);
        let told = form.refused(&answer, 400, "INVALID_REQUEST");
        assert!(!told.contains('<'), "{told}");
    }
}

fn a_key_that_the_upstream_refuses_is_not_the_clients_fault(stage: &Stage) {
    let user = stage.user("key");
    for form in FORMS {
        for status in [401, 403] {
            let script = upstream().script([Reply::refusal(status, "Incorrect API key")]);
            let answer = ask_for(stage, &user, form, &script);
            // A client that is told 401 would throw its own token away.
            form.refused(&answer, 502, "UPSTREAM_ERROR");
            assert_eq!(script.calls().len(), 1);
        }
    }
}

fn junk_is_no_answer(stage: &Stage) {
    let user = stage.user("junk");
    for (at, reply) in [
        Reply::of("application/json", "junk"),
        Reply::of("application/json", ""),
        Reply::of("application/json", "[]"),
        Reply::of("application/json", "{}"),
        Reply::of("application/json", "{\"choices\":[]}"),
        Reply::of("application/json", "{\"choices\":[{\"message\":7}]}"),
        Reply::of(
            "application/json",
            json!({"error": {"message": "no"}}).to_string(),
        ),
        Reply::of("text/html", "<html>It works!</html>"),
        Reply::of("application/json", b"{\"choices\":\"\xff\xfe\"}".to_vec()),
        Reply::of("application/json", "[".repeat(200_000)),
        Reply::stream(&["not asked for"], 3),
        Reply {
            status: 204,
            ..Reply::of("application/json", "")
        },
        Reply {
            status: 206,
            ..Reply::completion("part", 1)
        },
    ]
    .into_iter()
    .enumerate()
    {
        // Each form half of them, and the other half the other time.
        let form = FORMS[at % 2];
        let script = upstream().script([reply.clone()]);
        let answer = ask_for(stage, &user, form, &script);
        assert_eq!(answer.status, 502, "{reply:?}: {}", answer.text());
        form.refused(&answer, 502, "UPSTREAM_ERROR");
        assert_eq!(script.calls().len(), 1);
    }
}

fn an_answer_of_50_mb_is_none(stage: &Stage) {
    let user = stage.user("huge");
    for form in FORMS {
        let huge = |content_type: &str, first: &str| Reply {
            body: vec![
                Piece::Bytes(first.to_owned().into()),
                Piece::Fill(50_000_000),
            ],
            ..Reply::of(content_type, "")
        };
        let script = upstream().script([huge("application/json", "{\"choices\":[{\"x\":\"")]);
        let answer = ask_for(stage, &user, form, &script);
        form.refused(&answer, 502, "UPSTREAM_ERROR");
        // Nobody has read all of it.
        script.wait_until_gone(1);
        assert_eq!(script.progress().complete, 0);
        let refusal = Reply {
            status: 400,
            ..huge("application/json", "{\"error\":\"")
        };
        let script = upstream().script([refusal]);
        let answer = ask_for(stage, &user, form, &script);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.body.len() < 2_000);
        script.wait_until_gone(1);
    }
}

fn a_redirect_is_not_followed(stage: &Stage) {
    let user = stage.user("redirect");
    let trap = upstream().trap_url();
    for (at, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        let form = FORMS[at % 2];
        let script = upstream().script([Reply::redirect(status, &format!("{trap}/v1/x"))]);
        let answer = ask_for(stage, &user, form, &script);
        let words = form.refused(&answer, 502, "UPSTREAM_ERROR");
        assert!(!words.contains(&trap), "{words}");
        assert_eq!(answer.header("location"), None);
        assert_eq!(script.calls().len(), 1);
    }
    // Nor one to itself.
    let itself = format!("{}/chat/completions", upstream().url());
    let script = upstream().script([Reply::redirect(307, &itself)]);
    let answer = ask_for(stage, &user, Form::OpenAi, &script);
    Form::OpenAi.refused(&answer, 502, "UPSTREAM_ERROR");
    assert_eq!(script.calls().len(), 1);
    assert!(upstream().trapped().is_empty(), "the key went elsewhere");
}

fn a_stream_that_does_not_begin_is_refused(stage: &Stage) {
    let user = stage.user("no-stream");
    for form in FORMS {
        for (reply, status, code) in [
            (Reply::completion("whole", 3), 502, "UPSTREAM_ERROR"),
            (Reply::refusal(400, "too long"), 400, "INVALID_REQUEST"),
            (Reply::refusal(401, "no key"), 502, "UPSTREAM_ERROR"),
            (Reply::of("text/html", "<html>"), 502, "UPSTREAM_ERROR"),
        ] {
            let script = upstream().script([reply]);
            let answer = stream(stage, &user, form, &script).answer();
            form.refused(&answer, status, code);
        }
    }
}
