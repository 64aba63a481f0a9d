//! What a user may use: requests a minute, tokens a day, calls at once.

use std::time::{Duration, Instant};

use syncline_tests::server::Server;
use syncline_tests::upstream::{Piece, Reply};

use super::{FORMS, Form, ask_for, events, stream, told};
use crate::callers::User;
use crate::stage::{
    Profile, REQUESTS_PER_MINUTE, STREAMS_MAX, Stage, TOKENS_PER_DAY, seen, upstream,
};
use crate::{Scenario, scenarios};

/// How long a place may take to be free again.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Tokens:
        tokens_a_day_outlive_the_server,
        requests_a_minute_are_counted,
        tokens_a_day_are_the_upstreams_figures,
        a_stream_without_figures_costs_what_it_is_long,
        calls_at_once_are_counted_and_given_back,
        calls_that_fail_give_their_place_back,
    ]
}

/// Sees a quota used up.
#[track_caller]
fn is_used_up(form: Form, answer: &syncline_tests::exchange::Answer) -> u64 {
    form.refused(answer, 429, "QUOTA_EXCEEDED");
    let after = answer.header("retry-after").expect("when to come again");
    after.parse().expect("seconds")
}

fn requests_a_minute_are_counted(stage: &Stage) {
    for form in FORMS {
        let user = stage.user("requests");
        let script = upstream().script([Reply::completion("Yes.", 1)]);
        let mut served = 0;
        // Where the machine is so slow that the minute ends meanwhile, another
        // one begins.
        let refused = loop {
            let answer = ask_for(stage, &user, form, &script);
            if answer.status != 200 {
                break answer;
            }
            served += 1;
            assert!(served <= 5 * REQUESTS_PER_MINUTE, "nobody counts");
        };
        assert_eq!(served % REQUESTS_PER_MINUTE, 0);
        assert!(served >= REQUESTS_PER_MINUTE);
        let after = is_used_up(form, &refused);
        assert!((1..=60).contains(&after), "{after}");
        assert_eq!(script.calls().len(), served, "the upstream is not asked");
        // Others are none the worse.
        let other = stage.user("other");
        assert_eq!(form.text(&ask_for(stage, &other, form, &script)), "Yes.");
    }
}

fn tokens_a_day_are_the_upstreams_figures(stage: &Stage) {
    for form in FORMS {
        for is_stream in [false, true] {
            let user = stage.user("tokens");
            let spend = |tokens: u64| {
                if is_stream {
                    let script = upstream().script([Reply::stream(&["x"], tokens)]);
                    let events = events(stream(stage, &user, form, &script));
                    assert_eq!(told(form, &events).1, Ok(()));
                } else {
                    let script = upstream().script([Reply::completion("x", tokens)]);
                    assert_eq!(form.text(&ask_for(stage, &user, form, &script)), "x");
                }
            };
            spend(TOKENS_PER_DAY - 1);
            // There is one left: what it then costs, nobody knows before.
            spend(5_000);
            let script = upstream().script([Reply::completion("x", 1)]);
            let after = is_used_up(form, &ask_for(stage, &user, form, &script));
            assert!((60..=86_400).contains(&after), "{after}");
            assert!(script.calls().is_empty());
        }
    }
}

fn a_stream_without_figures_costs_what_it_is_long(stage: &Stage) {
    let user = stage.user("estimate");
    let long = "word ".repeat(20_000);
    let mut pieces = Reply::begun(&[&long]);
    pieces.push(Piece::Hold);
    let script = upstream().script([Reply::events(pieces)]);
    // Who hangs up has had it none the less.
    let mut exchange = stream(stage, &user, Form::OpenAi, &script);
    exchange.read_until("word word");
    script.wait_until_held(1);
    drop(exchange);
    script.wait_until_gone(1);
    let script = upstream().script([Reply::completion("x", 1)]);
    until("the tokens are counted", || {
        ask_for(stage, &user, Form::OpenAi, &script).status == 429
    });
}

/// Asks again until it is so; the requests a minute last for a while.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(50);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(4));
    }
}

fn calls_at_once_are_counted_and_given_back(stage: &Stage) {
    for form in FORMS {
        let user = stage.user("streams");
        let mut pieces = Reply::begun(&["first"]);
        pieces.push(Piece::Hold);
        let held = upstream().script([Reply::events(pieces)]);
        let mut exchanges: Vec<_> = (0..STREAMS_MAX)
            .map(|_| {
                let mut exchange = stream(stage, &user, form, &held);
                exchange.read_until("first");
                exchange
            })
            .collect();
        let script = upstream().script([Reply::completion("Yes.", 1)]);
        let after = is_used_up(form, &ask_for(stage, &user, form, &script));
        assert!(
            (1..=10).contains(&after),
            "{after}: it is worth another try soon"
        );
        let answer = seen(stream(stage, &user, form, &script).answer());
        is_used_up(form, &answer);
        assert!(script.calls().is_empty());
        // Others are none the worse.
        let other = stage.user("other");
        assert_eq!(form.text(&ask_for(stage, &other, form, &script)), "Yes.");
        // Who hangs up has a place again.
        drop(exchanges.pop());
        held.wait_until_gone(1);
        until("a place is free", || {
            ask_for(stage, &user, form, &script).status == 200
        });
        drop(exchanges);
        held.wait_until_gone(STREAMS_MAX);
    }
}

fn calls_that_fail_give_their_place_back(stage: &Stage) {
    let user = stage.user("failing");
    let begun = [Reply::begun(&["x"]), vec![Piece::Break]].concat();
    for round in 0..=STREAMS_MAX {
        let form = FORMS[round % 2];
        let script = upstream().script([Reply::of("application/json", "junk")]);
        form.refused(&ask_for(stage, &user, form, &script), 502, "UPSTREAM_ERROR");
        let script = upstream().script([Reply::refusal(400, "no")]);
        form.refused(
            &ask_for(stage, &user, form, &script),
            400,
            "INVALID_REQUEST",
        );
        let script = upstream().script([Reply::events(begun.clone())]);
        let events = events(stream(stage, &user, form, &script));
        assert_eq!(told(form, &events).1, Err("UPSTREAM_ERROR".to_owned()));
    }
}

/// In servers of its own, one after the other, on one state.
fn tokens_a_day_outlive_the_server(stage: &Stage) {
    let dir = tempfile::tempdir().expect("a directory");
    let user = stage.user("restart");
    let variables = Profile::Tokens.variables(&upstream().url());
    let asked = |server: &Server, user: &User, tokens: u64| {
        let script = upstream().script([Reply::completion("x", tokens)]);
        let question = Form::OpenAi.question(&script.marker, false).to_string();
        let ask = user.post_json(Form::OpenAi.path());
        seen(ask.send_with(&server.url, question))
    };
    let mut server = stage.host.start(&variables, dir.path()).expect("a server");
    assert_eq!(asked(&server, &user, TOKENS_PER_DAY + 1).status, 200);
    is_used_up(Form::OpenAi, &asked(&server, &user, 1));
    let process = server.process.as_mut().expect("a process");
    // A crash, and all that it has started with it.
    process.kill_group().expect("it is gone");
    drop(server);
    let server = stage.host.start(&variables, dir.path()).expect("a server");
    is_used_up(Form::OpenAi, &asked(&server, &user, 1));
    assert_eq!(asked(&server, &stage.user("other"), 1).status, 200);
}
