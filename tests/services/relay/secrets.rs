//! The upstream's key is nobody's but the upstream's, and the upstream is
//! nobody's to choose.

use serde_json::json;
use syncline_tests::exchange::Ask;
use syncline_tests::upstream::{Piece, Reply, event};

use super::{COMPLETIONS, FORMS, Form, ask, ask_for, events, stream};
use crate::stage::{CANARY_KEY, SECRETS, Stage, upstream};
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        Tokens:
            a_key_that_the_upstream_repeats_is_not_passed_on,
            a_request_does_not_say_where_it_is_sent,
            no_path_leads_to_another_server;
        Open:
            no_model_leads_to_another_server,
    ]
}

/// Every answer is looked at by [`crate::stage::seen`].
fn a_key_that_the_upstream_repeats_is_not_passed_on(stage: &Stage) {
    let user = stage.user("echo");
    let words = format!("Incorrect API key provided: {CANARY_KEY}.");
    for form in FORMS {
        for reply in [
            Reply::refusal(401, &words),
            Reply::refusal(400, &words),
            Reply::refusal(400, CANARY_KEY),
            Reply::completion(&words, 1).with("x-key", CANARY_KEY),
            Reply::of(
                "application/json",
                json!({"error": {"message": words}}).to_string(),
            ),
            Reply::of("text/html", words.clone()),
            Reply::redirect(302, &format!("{}/?key={CANARY_KEY}", upstream().trap_url())),
        ] {
            let script = upstream().script([reply]);
            let _ = ask_for(stage, &user, form, &script);
            assert_eq!(script.calls().len(), 1);
        }
        let error = event(&json!({"error": {"message": words}}));
        for piece in [error, Piece::Bytes(format!("data: {words}\n\n").into())] {
            let pieces = [Reply::begun(&["x", &words]), vec![piece]].concat();
            let script = upstream().script([Reply::events(pieces)]);
            let _ = events(stream(stage, &user, form, &script));
        }
    }
    // Nor to the log, by now or at the end (`stage::stop_all`).
    for secret in SECRETS {
        assert!(!stage.log().contains(secret), "a secret is logged");
    }
}

fn a_request_does_not_say_where_it_is_sent(stage: &Stage) {
    let user = stage.user("ssrf");
    let trap = upstream().trap_url();
    let host = trap.trim_start_matches("http://").to_owned();
    // By headers: the request goes where it always goes.
    let script = upstream().script([Reply::completion("Yes.", 1)]);
    let question = Form::OpenAi.question(&script.marker, false).to_string();
    for (name, value) in [
        ("x-forwarded-host", &host),
        ("x-upstream", &trap),
        ("x-base-url", &trap),
        ("x-portkey-custom-host", &trap),
        ("x-bt-endpoint-name", &trap),
        ("openai-base-url", &trap),
        ("x-original-url", &trap),
        ("forwarded", &format!("host={host}")),
    ] {
        let ask = user.post_json(COMPLETIONS).with(name, value);
        assert_eq!(
            Form::OpenAi.text(&stage.send_with(&ask, question.clone())),
            "Yes."
        );
        let call = script.calls().pop().expect("a call");
        assert_eq!(call.header(name), None, "{name} is passed on");
    }
    // By fields, which some upstreams follow themselves.
    for form in FORMS {
        for (field, value) in [
            ("base_url", json!(trap)),
            ("api_base", json!(trap)),
            ("api_key", json!("sk-other")),
            ("extra_headers", json!({"authorization": "x"})),
            ("headers", json!({"host": host})),
            ("custom_llm_provider", json!("openai")),
            ("fallbacks", json!([{"model": "x", "api_base": trap}])),
        ] {
            let script = upstream().script([Reply::completion("Yes.", 1)]);
            let mut question = form.question(&script.marker, false);
            question[field] = value;
            let user = stage.user("ssrf-field");
            let answer = ask(stage, &user, form.path(), &question);
            // Refused, or left out.
            if answer.status == 200 {
                assert_eq!(script.call().body.get(field), None, "{form:?} {field}");
            } else {
                form.refused(&answer, 400, "INVALID_REQUEST");
                assert!(script.calls().is_empty());
            }
        }
    }
    assert!(
        upstream().trapped().is_empty(),
        "{:?}",
        upstream().trapped()
    );
}

fn no_path_leads_to_another_server(stage: &Stage) {
    let user = stage.user("paths");
    let host = upstream().trap_url().replace("http://", "");
    let question = Form::OpenAi.question("x", false).to_string();
    for path in [
        "/v1".to_owned(),
        "/v1/".to_owned(),
        "/v1/embeddings".to_owned(),
        "/v1/files".to_owned(),
        "/v1/chat/completions/".to_owned(),
        "/v1/chat/completions/../../models".to_owned(),
        format!("/v1/{host}/x"),
        format!("/v1/http://{host}/"),
        format!("/v1//{host}/chat/completions"),
        format!("/v1/chat/completions@{host}"),
        format!("/v1/chat/completions%2f..%2f..%2f{host}"),
        "/v1/proxy/chat/completions".to_owned(),
        "/api/llm".to_owned(),
        "/api/llm/chat/x".to_owned(),
        format!("/api/llm/chat/..//{host}"),
    ] {
        let answer = stage.send_with(&user.post_json(&path), question.clone());
        let is_refused = (400..500).contains(&answer.status) && answer.status != 401;
        assert!(is_refused, "{path}: {answer:?}");
    }
    // A query is nothing to the upstream.
    let script = upstream().script([Reply::completion("Yes.", 1)]);
    let question = Form::OpenAi.question(&script.marker, false).to_string();
    let path = format!("{COMPLETIONS}?api_base=http://{host}&key=x");
    let answer = stage.send_with(&user.post_json(&path), question);
    assert_eq!(Form::OpenAi.text(&answer), "Yes.");
    assert_eq!(script.call().target, COMPLETIONS);
    assert!(upstream().trapped().is_empty());
    let strays = upstream().strays();
    assert!(strays.is_empty(), "nothing else is asked: {strays:?}");
}

fn no_model_leads_to_another_server(stage: &Stage) {
    let user = stage.user("models");
    let trap = upstream().trap_url();
    for form in FORMS {
        let script = upstream().script([Reply::completion("Yes.", 1)]);
        let mut question = form.question(&script.marker, false);
        for model in [
            trap.clone(),
            format!("{trap}/v1/chat/completions"),
            format!("openai/{trap}"),
            "file:///etc/passwd".to_owned(),
            "a b".to_owned(),
            "a\r\nx-evil: 1".to_owned(),
            String::new(),
            "m".repeat(10_000),
        ] {
            question["model"] = json!(model);
            let answer = ask(stage, &user, form.path(), &question);
            form.refused(&answer, 400, "MODEL_NOT_ALLOWED");
        }
        // Where there is no list, there is no default.
        question.as_object_mut().expect("an object").remove("model");
        let answer = ask(stage, &user, form.path(), &question);
        form.refused(&answer, 400, "INVALID_REQUEST");
        assert!(script.calls().is_empty());
        for model in [
            "gpt-4o-mini",
            "anthropic/claude-3.5",
            "models/x:free",
            "@cf/meta/x",
        ] {
            question["model"] = json!(model);
            assert_eq!(
                form.text(&ask(stage, &user, form.path(), &question)),
                "Yes."
            );
            let body = script.calls().pop().expect("a call").body;
            assert_eq!(body["model"], model);
        }
    }
    // No list is an empty one.
    let answer = stage.send(&Ask::get("/v1/models"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(upstream().trapped().is_empty());
}
