//! The same over HTTP, as a 0.4 client with `makeHttpSync` asks.

use serde_json::Value;

use super::Visit;
use super::codes;
use super::frames::{self, Answer, Place};
use super::http::Http;
use super::report::Report;
use super::server::millis;
use super::target::Target;

const CHECK: &str = "http";

/// What came of a request.
struct Called {
    status: u16,
    answers: Vec<Answer>,
    /// The beginning of what is no RPC answer.
    body: String,
    took: String,
}

fn call(
    target: &Target,
    http: &Http,
    store: &str,
    token: Option<&str>,
    message: &Value,
) -> Result<Called, String> {
    let answer = http.post(target.rpc(store, token), message.to_string())?;
    let frames: Option<Vec<Value>> = serde_json::from_str(&answer.body).ok();
    Ok(Called {
        status: answer.status,
        answers: frames.iter().flatten().map(frames::read).collect(),
        body: answer.body,
        took: millis(answer.took),
    })
}

/// Asks without a token. `is_open` is what the WebSocket has shown.
pub fn knock(target: &Target, http: &Http, store: &str, is_open: bool, report: &mut Report) {
    let message = frames::ping_over_http("1", store);
    match call(target, http, store, None, &message) {
        Err(why) => unanswered(&why, report),
        Ok(called) => match called.answers.as_slice() {
            [Answer::Success] if is_open => {
                report.ok(
                    CHECK,
                    format!("it answers RPC over HTTP, after {}", called.took),
                );
            }
            [Answer::Success] => report.fail(
                CHECK,
                "without a token it answers over HTTP, and not over WebSocket",
                "See what is between: both have to be the same server",
            ),
            [Answer::Failure(code, _)] if code == "TOKEN_MISSING" => report.ok(
                CHECK,
                format!(
                    "without a token it refuses over HTTP, with {} {code}",
                    called.status
                ),
            ),
            _ => unexpected("a ping without a token", &called, report),
        },
    }
}

/// Asks with the token, and for no event: a pull would bring an app's whole
/// log.
pub fn ping(target: &Target, http: &Http, visit: &Visit<'_>, store: &str, report: &mut Report) {
    let message = frames::ping_over_http("1", store);
    match call(target, http, store, visit.token, &message) {
        Err(why) => unanswered(&why, report),
        Ok(called) => match called.answers.as_slice() {
            [Answer::Success] => report.ok(
                CHECK,
                format!("a ping over HTTP, answered after {}", called.took),
            ),
            _ => unexpected("a ping", &called, report),
        },
    }
}

/// Pushes an event, and pulls it.
pub fn exchange(
    target: &Target,
    http: &Http,
    visit: &Visit<'_>,
    store: &str,
    place: Place,
    mark: &str,
    report: &mut Report,
) {
    // Another than over WebSocket.
    let mark = format!("{mark}-http");
    let message = frames::push("1", "SyncHttpRpc.Push", store, &place, &mark);
    match call(target, http, store, visit.token, &message) {
        Err(why) => return unanswered(&why, report),
        Ok(called) => match called.answers.as_slice() {
            [Answer::Success] => report.ok(
                CHECK,
                format!(
                    "a push over HTTP, acknowledged after {}: event {} of store {store:?} was written",
                    called.took,
                    place.head + 1
                ),
            ),
            _ => return unexpected("a push", &called, report),
        },
    }
    let message = frames::pull_over_http("2", store, Some(&place));
    match call(target, http, store, visit.token, &message) {
        Err(why) => unanswered(&why, report),
        Ok(called) => {
            let is_there = called.answers.iter().any(|answer| match answer {
                Answer::Chunk(chunk) => chunk
                    .events
                    .iter()
                    .any(|(_, _, it)| it.as_deref() == Some(mark.as_str())),
                _ => false,
            });
            if is_there && called.answers.last() == Some(&Answer::Success) {
                report.ok(
                    CHECK,
                    format!("a pull over HTTP has it, after {}", called.took),
                );
            } else {
                unexpected("a pull of what was pushed", &called, report);
            }
        }
    }
}

fn unanswered(why: &str, report: &mut Report) {
    report.fail(
        CHECK,
        format!("no answer over HTTP: {why}"),
        "See the server's log, and what is between",
    );
}

fn unexpected(what: &str, called: &Called, report: &mut Report) {
    let failure = called.answers.iter().find_map(|answer| match answer {
        Answer::Failure(code, message) => Some((code, message)),
        _ => None,
    });
    match failure {
        Some((code, message)) => report.fail(
            CHECK,
            format!(
                "{what} over HTTP was refused with {} {code}: {message}",
                called.status
            ),
            codes::meaning(code).to_do,
        ),
        None => {
            // The beginning says what it is: a proxy's page, as a rule.
            let body: String = called.body.chars().take(200).collect();
            report.fail(
                CHECK,
                format!(
                    "{what} over HTTP was not answered as one: {} {body}",
                    called.status
                ),
                "See what answers there: a proxy has to pass POST requests and their bodies on",
            );
        }
    }
}
