//! Who may ask, and from which websites.

use serde_json::json;
use syncline_tests::exchange::Ask;
use syncline_tests::profile::{BYPASS_TOKEN, JWT_SECRET, REVOKED_USER};
use syncline_tests::token::sign;
use syncline_tests::upstream::Reply;

use super::FORMS;
use crate::callers::claims;
use crate::stage::{CANARY_KEY, ORIGIN, Stage, upstream};
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        Tokens:
            who_has_no_token_asks_nothing,
            i6_websites_elsewhere_ask_nothing;
        Open:
            i6_websites_elsewhere_spend_no_key_without_tokens,
    ]
}

fn who_has_no_token_asks_nothing(stage: &Stage) {
    let user = stage.user("nobody");
    let stale = claims(REVOKED_USER, &[("x", "member")]);
    for form in FORMS {
        let script = upstream().script([Reply::completion("Yes.", 12)]);
        let question = form.question(&script.marker, false).to_string();
        let asking = |token: Option<&str>| {
            let ask = Ask::new("POST", form.path()).with("content-type", "application/json");
            stage.send_with(&ask.bearer(token), question.clone())
        };
        form.refused(&asking(None), 401, "TOKEN_MISSING");
        form.refused(&asking(Some("junk")), 401, "TOKEN_INVALID");
        let forged = sign(
            &claims(&user.id, &[]),
            "another-secret-of-more-than-32-bytes",
        );
        form.refused(&asking(Some(&forged)), 401, "TOKEN_INVALID");
        let stale = sign(&stale, JWT_SECRET);
        form.refused(&asking(Some(&stale)), 401, "TOKEN_VERSION_STALE");
        // The upstream's key is nobody's token.
        let ask = Ask::new("POST", form.path())
            .with("content-type", "application/json")
            .bearer(Some(CANARY_KEY));
        form.refused(
            &stage.send_with(&ask, question.clone()),
            401,
            "TOKEN_INVALID",
        );
        assert!(script.calls().is_empty());
        assert_eq!(form.text(&asking(Some(BYPASS_TOKEN))), "Yes.");
    }
}

fn i6_websites_elsewhere_ask_nothing(stage: &Stage) {
    let user = stage.user("origin");
    for form in FORMS {
        let script = upstream().script([Reply::completion("Yes.", 12)]);
        let question = form.question(&script.marker, false).to_string();
        let from = |origin: &str| {
            let ask = user.post_json(form.path()).with("origin", origin);
            stage.send_with(&ask, question.clone())
        };
        for origin in [
            "https://evil.example.com",
            "null",
            "https://app.example.com.evil.example",
        ] {
            let answer = from(origin);
            assert_eq!(answer.status, 403, "{origin}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        assert!(script.calls().is_empty());
        let answer = from(ORIGIN);
        assert_eq!(form.text(&answer), "Yes.");
        assert_eq!(
            answer.header("access-control-allow-origin").as_deref(),
            Some(ORIGIN)
        );
    }
}

fn i6_websites_elsewhere_spend_no_key_without_tokens(stage: &Stage) {
    let user = stage.user("cross-site");
    assert_eq!(user.token, None);
    for form in FORMS {
        let script = upstream().script([Reply::completion("Yes.", 12)]);
        let mut question = form.question(&script.marker, false);
        question["model"] = json!("any");
        let question = question.to_string();
        // What a page can send without asking first: a form, a text, a beacon;
        // some of it without an `Origin`.
        for content_type in [
            "text/plain",
            "text/plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            for origin in [None, Some("https://evil.example.com"), Some("null")] {
                let ask = Ask::new("POST", form.path()).with("content-type", content_type);
                let ask = match origin {
                    Some(origin) => ask.with("origin", origin),
                    None => ask,
                };
                let answer = stage.send_with(&ask, question.clone());
                assert!(
                    [403, 415].contains(&answer.status),
                    "{content_type}: {answer:?}"
                );
            }
        }
        for origin in [
            "https://evil.example.com",
            "null",
            "http://localhost.evil.example",
        ] {
            // And what it has to ask leave for.
            let preflight = Ask::new("OPTIONS", form.path())
                .with("origin", origin)
                .with("access-control-request-method", "POST")
                .with("access-control-request-headers", "content-type");
            let answer = stage.send(&preflight);
            assert_eq!(
                answer.header("access-control-allow-origin"),
                None,
                "{origin}"
            );
            let ask = user.post_json(form.path()).with("origin", origin);
            let answer = stage.send_with(&ask, question.clone());
            assert_eq!(answer.status, 403, "{origin}: {answer:?}");
        }
        assert!(script.calls().is_empty(), "{form:?}: the key was spent");
        let ask = user
            .post_json(form.path())
            .with("origin", &stage.server.url);
        assert_eq!(form.text(&stage.send_with(&ask, question)), "Yes.");
    }
}
