//! Streams: piece by piece, with an end that can be told from breaking off.

use serde_json::json;
use syncline_tests::exchange::{Ask, Next};
use syncline_tests::upstream::{Head, Piece, Reply, event};

use super::{FORMS, Form, events, stream, told};
use crate::direct;
use crate::stage::{Host, Profile, Stage, TOOL, upstream};
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        Tokens:
            a_stream_comes_piece_by_piece,
            a_stream_has_an_end,
            usage_is_asked_for_and_shown_to_who_wants_it,
            a_stream_calls_tools,
            events_are_read_wherever_they_are_cut,
            who_hangs_up_ends_the_call_of_the_upstream,
            who_hangs_up_before_the_answer_ends_the_call_too,
            a_stream_that_breaks_off_is_an_error,
            a_client_that_reads_nothing_holds_the_upstream_back;
        Open:
            an_upstream_that_falls_silent_is_given_up,
            i9_who_only_closes_before_the_answer_gives_the_place_back_in_time,
    ]
}

fn a_stream_comes_piece_by_piece(stage: &Stage) {
    let user = stage.user("pieces");
    for form in FORMS {
        let mut pieces = Reply::begun(&["first"]);
        pieces.push(Piece::Hold);
        pieces.extend(Reply::begun(&["second"]));
        pieces.push(Piece::Hold);
        pieces.extend(Reply::ended("stop", 5));
        let script = upstream().script([Reply::events(pieces)]);
        let mut exchange = stream(stage, &user, form, &script);
        assert_eq!(exchange.status(), Some(200));
        // The upstream goes on when the client has had it.
        exchange.read_until("first");
        script.release();
        exchange.read_until("second");
        script.release();
        exchange.read_until(if form == Form::Api {
            "event: done"
        } else {
            "[DONE]"
        });
    }
}

fn a_stream_has_an_end(stage: &Stage) {
    let user = stage.user("end");
    for form in FORMS {
        let script = upstream().script([Reply::stream(&["Hel", "lo ", "🙂\n\"x\""], 7)]);
        let events = events(stream(stage, &user, form, &script));
        let (text, end) = told(form, &events);
        assert_eq!((&*text, end), ("Hello 🙂\n\"x\"", Ok(())), "{form:?}");
        if form == Form::Api {
            let done = events.last().expect("an end").json();
            assert_eq!(done, json!({"toolCalls": [], "finishReason": "stop"}));
        }
        let body = script.call().body;
        assert_eq!(body["stream"], true);
    }
}

fn usage_is_asked_for_and_shown_to_who_wants_it(stage: &Stage) {
    let user = stage.user("usage");
    for wants in [false, true] {
        let script = upstream().script([Reply::stream(&["x"], 7)]);
        let mut question = Form::OpenAi.question(&script.marker, true);
        if wants {
            question["stream_options"] = json!({"include_usage": true});
        }
        let ask = user.post_json(Form::OpenAi.path());
        let events = events(stage.begin_with(&ask, question.to_string()));
        assert_eq!(script.call().body["stream_options"]["include_usage"], true);
        let shows = |event: &super::Event| event.data.contains("\"total_tokens\":7");
        assert_eq!(events.iter().any(shows), wants, "{events:?}");
        assert_eq!(told(Form::OpenAi, &events), ("x".to_owned(), Ok(())));
    }
}

fn a_stream_calls_tools(stage: &Stage) {
    let user = stage.user("tools");
    let parts = ["{\"ti", "tle\":", "\"milk\"}"];
    let script = upstream().script([Reply::tool_stream("call-1", TOOL, &parts)]);
    let done = events(stream(stage, &user, Form::Api, &script));
    let call = json!({"id": "call-1", "name": TOOL, "arguments": {"title": "milk"}});
    let end = json!({"toolCalls": [call], "finishReason": "tool_calls"});
    assert_eq!(done.last().expect("an end").json(), end);
    let chunks = events(stream(stage, &user, Form::OpenAi, &script));
    let arguments: String = chunks
        .iter()
        .filter(|event| event.data != "[DONE]")
        .map(|event| {
            let call = &event.json()["choices"][0]["delta"]["tool_calls"][0];
            call["function"]["arguments"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(arguments, parts.concat());
    // Half a call is none.
    let script = upstream().script([Reply::tool_stream("call-2", TOOL, &parts[..2])]);
    let (_, end) = told(Form::Api, &events(stream(stage, &user, Form::Api, &script)));
    assert_eq!(end, Err("UPSTREAM_ERROR".to_owned()));
}

fn events_are_read_wherever_they_are_cut(stage: &Stage) {
    let user = stage.user("cut");
    let whole = format!(
        ": a comment\r\n\r\nid: 7\r\nevent: message\r\ndata: {}\r\n\r\ndata:{}\n\ndata: [DONE]\n\n",
        json!({"choices": [{"index": 0, "delta": {"content": "é🙂"}}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    );
    let bytes = whole
        .as_bytes()
        .chunks(3)
        .map(|part| Piece::Bytes(part.to_vec().into()));
    let script = upstream().script([Reply::events(bytes.collect::<Vec<_>>())]);
    for form in FORMS {
        let events = events(stream(stage, &user, form, &script));
        assert_eq!(told(form, &events), ("é🙂".to_owned(), Ok(())), "{form:?}");
    }
}

fn who_hangs_up_ends_the_call_of_the_upstream(stage: &Stage) {
    let user = stage.user("hang-up");
    for form in FORMS {
        let mut pieces = Reply::begun(&["first"]);
        pieces.push(Piece::Hold);
        let script = upstream().script([Reply::events(pieces)]);
        let mut exchange = stream(stage, &user, form, &script);
        exchange.read_until("first");
        script.wait_until_held(1);
        assert_eq!(script.progress().gone, 0);
        drop(exchange);
        script.wait_until_gone(1);
    }
}

fn who_hangs_up_before_the_answer_ends_the_call_too(stage: &Stage) {
    let user = stage.user("early");
    let url = direct::url(stage);
    // workerd takes a connection that is only closed for one whose client has
    // nothing more to send.
    let ways: &[bool] = match stage.host {
        Host::Wasmtime => &[false, true],
        Host::Workerd => &[true],
    };
    for &resets in ways {
        for (form, is_stream) in [(Form::OpenAi, true), (Form::Api, false)] {
            let script = upstream().script([Reply::completion("late", 1).when(Head::Held)]);
            let question = form.question(&script.marker, is_stream);
            let ask = user.post_json(form.path());
            let ask = if resets { ask.resetting() } else { ask };
            let exchange = ask.begin_with(&url, question.to_string());
            script.wait_until_held(1);
            assert_eq!(script.progress().gone, 0);
            drop(exchange);
            script.wait_until_gone(1);
        }
    }
}

fn i9_who_only_closes_before_the_answer_gives_the_place_back_in_time(stage: &Stage) {
    // One call at once, and an upstream that is given up when it says nothing.
    let dir = tempfile::tempdir().expect("a directory");
    let variables = Profile::Open.variables_but(&upstream().url(), "LLM_STREAMS_MAX", "1");
    let server = stage.host.start(&variables, dir.path()).expect("a server");
    let url = direct::url_of(stage.host, &server);
    let asking = |words: &str, is_stream: bool| {
        let mut question = Form::OpenAi.question(words, is_stream);
        question["model"] = json!("any");
        let ask = Ask::new("POST", Form::OpenAi.path()).with("content-type", "application/json");
        ask.begin_with(&url, question.to_string())
    };
    let script = upstream().script([Reply::completion("late", 1).when(Head::Held)]);
    let closed = asking(&script.marker, true);
    script.wait_until_held(1);
    drop(closed);
    script.wait_until_gone(1);
    // The place is free a moment later.
    let next = upstream().script([Reply::completion("Yes.", 1)]);
    loop {
        let answer = asking(&next.marker, false).answer();
        if answer.status != 429 {
            assert_eq!(Form::OpenAi.text(&answer), "Yes.");
            break;
        }
    }
}

fn a_stream_that_breaks_off_is_an_error(stage: &Stage) {
    let user = stage.user("breaks");
    let begun = || Reply::begun(&["first"]);
    let and = |more: &[Piece]| [begun(), more.to_vec()].concat();
    let bytes = |text: &'static str| Piece::Bytes(text.into());
    for (what, pieces) in [
        ("the connection breaks", and(&[Piece::Break])),
        ("it ends", begun()),
        (
            "it ends within an event",
            and(&[bytes("data: {\"choices\":[{\"del")]),
        ),
        ("junk", and(&[bytes("data: junk\n\n")])),
        ("no object", and(&[bytes("data: 7\n\n")])),
        ("no choices", and(&[bytes("data: {}\n\n")])),
        ("HTML", and(&[bytes("<html>502</html>\n\ndata: x\n\n")])),
        (
            "no UTF-8",
            and(&[Piece::Bytes(
                vec![b'd', b'a', b't', b'a', b':', 0xff, 10, 10].into(),
            )]),
        ),
        (
            "an error",
            and(&[event(
                &json!({"error": {"message": "overloaded", "code": 503}}),
            )]),
        ),
        (
            "an event without end",
            and(&[bytes("data: "), Piece::Fill(50_000_000)]),
        ),
    ] {
        for form in FORMS {
            // Quotas of calls are not what this is about.
            let user = stage.user(&user.id);
            let script = upstream().script([Reply::events(pieces.clone())]);
            let events = events(stream(stage, &user, form, &script));
            let (text, end) = told(form, &events);
            assert_eq!(text, "first", "{what}, {form:?}");
            assert_eq!(end, Err("UPSTREAM_ERROR".to_owned()), "{what}, {form:?}");
            // Nothing is asked again once the client has had some of it.
            assert_eq!(script.calls().len(), 1, "{what}");
        }
    }
}

fn a_client_that_reads_nothing_holds_the_upstream_back(stage: &Stage) {
    let user = stage.user("slow-reader");
    // 30 MB, of which nothing is read.
    let text = "x".repeat(10_000);
    let mut pieces = Reply::begun(&["first"]);
    pieces.extend(Reply::begun(&vec![text.as_str(); 3_000]));
    pieces.extend(Reply::ended("stop", 5));
    let script = upstream().script([Reply::events(pieces)]);
    let mut exchange = stream(stage, &user, Form::OpenAi, &script);
    exchange.read_until("first");
    // Somebody else is answered meanwhile.
    let other = upstream().script([Reply::stream(&["meanwhile"], 5)]);
    let others = events(stream(stage, &stage.user("other"), Form::OpenAi, &other));
    assert_eq!(told(Form::OpenAi, &others).0, "meanwhile");
    assert_eq!(script.progress().complete, 0, "all of it was taken in");
    // It gets all of it, when it reads.
    let mut read = 0;
    let end = loop {
        match exchange.next_piece() {
            Next::Piece(piece) => read += piece.len(),
            end => break end,
        }
    };
    assert_eq!(end, Next::End);
    assert!(read > 30_000_000, "{read}");
    script.wait_until("the end", |progress| progress.complete == 1);
}

fn an_upstream_that_falls_silent_is_given_up(stage: &Stage) {
    let user = stage.user("silent");
    for form in FORMS {
        let mut pieces = Reply::begun(&["first"]);
        pieces.push(Piece::Hold);
        let script = upstream().script([Reply::events(pieces)]);
        let mut question = form.question(&script.marker, true);
        question["model"] = json!("any");
        let ask = user.post_json(form.path());
        let events = events(stage.begin_with(&ask, question.to_string()));
        let (text, end) = told(form, &events);
        assert_eq!((&*text, end), ("first", Err("UPSTREAM_TIMEOUT".to_owned())));
        script.wait_until_gone(1);
        // The same where nothing has come.
        let script = upstream().script([Reply::completion("late", 1).when(Head::Held)]);
        let mut question = form.question(&script.marker, false);
        question["model"] = json!("any");
        let answer = super::ask(stage, &user, form.path(), &question);
        form.refused(&answer, 504, "UPSTREAM_TIMEOUT");
        script.wait_until_gone(1);
        assert_eq!(script.calls().len(), 1, "it may be at work still");
    }
}
