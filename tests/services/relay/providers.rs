//! The upstream as it is configured: Braintrust, tools in a file, TLS.

use std::fs;

use serde_json::{Value, json};
use syncline_tests::exchange::{Answer, Ask};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::upstream::{Identity, Reply, Upstream};

use super::Form;
use crate::stage::{CANARY_KEY, Stage, seen, upstream};
use crate::{Scenario, scenarios};

/// A model, so that none has to be named.
const MODEL: (&str, &str) = ("LLM_MODELS", "some-model");

/// On both hosts.
pub fn scenarios() -> Vec<Scenario> {
    scenarios![Open: braintrust_is_asked_as_it_wants_to_be, a_server_that_is_named_goes_before_braintrust]
}

/// Of what wasmtime alone has: files, and the machine's trust.
pub fn of_wasmtime() -> Vec<Scenario> {
    scenarios![Open: tools_come_from_a_file, an_upstream_in_tls_has_to_be_trusted]
}

fn variables(own: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let all = [("ENVIRONMENT", "development"), MODEL];
    let all = all.iter().chain(own);
    all.map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

fn asked(server: &Server, form: Form, question: &Value) -> Answer {
    let ask = Ask::new("POST", form.path()).with("content-type", "application/json");
    seen(ask.send_with(&server.url, question.to_string()))
}

fn braintrust_is_asked_as_it_wants_to_be(stage: &Stage) {
    let upstream = upstream();
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("{}/", upstream.url());
    let server = stage.host.start(
        &variables(&[
            ("BRAINTRUST_API_KEY", CANARY_KEY),
            ("BRAINTRUST_PROJECT_ID", "project-1"),
            ("BRAINTRUST_BASE_URL", &url),
        ]),
        dir.path(),
    );
    let server = server.expect("a server");
    for form in super::FORMS {
        let script = upstream.script([Reply::completion("Yes.", 1)]);
        let answer = asked(&server, form, &form.question(&script.marker, false));
        assert_eq!(form.text(&answer), "Yes.");
        let call = script.call();
        assert_eq!(call.target, "/v1/chat/completions");
        assert_eq!(call.header("x-bt-parent"), Some("project_id:project-1"));
        let key = format!("Bearer {CANARY_KEY}");
        assert_eq!(call.header("authorization"), Some(&*key));
        assert_eq!(call.body["model"], MODEL.1);
    }
    // A client says nothing of it.
    let script = upstream.script([Reply::completion("Yes.", 1)]);
    let question = Form::OpenAi.question(&script.marker, false).to_string();
    let ask = Ask::new("POST", Form::OpenAi.path())
        .with("content-type", "application/json")
        .with("x-bt-parent", "project_id:another");
    let answer = seen(ask.send_with(&server.url, question));
    assert_eq!(Form::OpenAi.text(&answer), "Yes.");
    let parent = script.call();
    assert_eq!(parent.header("x-bt-parent"), Some("project_id:project-1"));
}

fn a_server_that_is_named_goes_before_braintrust(stage: &Stage) {
    let upstream = upstream();
    let dir = tempfile::tempdir().expect("a directory");
    let trap = upstream.trap_url();
    let server = stage.host.start(
        &variables(&[
            ("LLM_BASE_URL", &upstream.url()),
            ("BRAINTRUST_API_KEY", CANARY_KEY),
            ("BRAINTRUST_PROJECT_ID", "project-1"),
            ("BRAINTRUST_BASE_URL", &trap),
        ]),
        dir.path(),
    );
    let server = server.expect("a server");
    let script = upstream.script([Reply::completion("Yes.", 1)]);
    let question = Form::Api.question(&script.marker, false);
    assert_eq!(
        Form::Api.text(&asked(&server, Form::Api, &question)),
        "Yes."
    );
    let call = script.call();
    assert_eq!(call.header("x-bt-parent"), None);
    assert_eq!(call.header("authorization"), None, "the key is another's");
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
}

fn tools_come_from_a_file(_: &Stage) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tools.json");
    let url = upstream().url();
    let in_variable = json!([tool("of_the_variable")]).to_string();
    let syncline = Syncline {
        storage: "memory".to_owned(),
        arguments: vec!["--llm-tools".to_owned(), "tools.json".to_owned()],
        variables: variables(&[("LLM_BASE_URL", &url), ("LLM_TOOLS", &in_variable)]),
        log: None,
    };
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--llm-tools",
        "tools.json",
    ];
    for (content, why) in [
        (None, "--llm-tools"),
        (Some("no JSON"), "LLM_TOOLS"),
        (Some("{}"), "LLM_TOOLS"),
        (Some("[{\"type\": \"function\"}]"), "LLM_TOOLS"),
    ] {
        if let Some(content) = content {
            fs::write(&file, content).expect("a file");
        }
        let output = syncline.run(dir.path(), &serve).expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{content:?}: {said}");
        assert!(said.contains(why), "{content:?}: {said}");
    }
    let ours = [tool("of_the_file"), tool("another")];
    fs::write(&file, json!(ours).to_string()).expect("a file");
    let server = syncline.start_in(dir.path()).expect("a server");
    // The client's of the same name is its own.
    let script = upstream().script([Reply::completion("Yes.", 1)]);
    let mut question = Form::OpenAi.question(&script.marker, false);
    question["tools"] = json!([tool("of_the_client")]);
    let answer = asked(&server, Form::OpenAi, &question);
    assert_eq!(Form::OpenAi.text(&answer), "Yes.");
    let sent = script.call().body["tools"].clone();
    let names = sent.as_array().expect("a list").iter();
    let mut names: Vec<_> = names
        .map(|it| it["function"]["name"].as_str().expect("a name"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["another", "of_the_client", "of_the_file"]);
    let script = upstream().script([Reply::completion("Yes.", 1)]);
    let question = Form::Api.question(&script.marker, false);
    assert_eq!(
        Form::Api.text(&asked(&server, Form::Api, &question)),
        "Yes."
    );
    assert_eq!(script.call().body["tools"], json!(ours));
}

fn an_upstream_in_tls_has_to_be_trusted(_: &Stage) {
    let identity = Identity::new().expect("a certificate");
    let dir = tempfile::tempdir().expect("a directory");
    let roots = dir.path().join("roots.pem");
    fs::write(&roots, &identity.pem).expect("a file");
    let roots = roots.to_string_lossy().into_owned();
    let upstream = Upstream::start_in_tls(identity).expect("an upstream");
    let url = upstream.url();
    assert!(url.starts_with("https://"));
    // One whose roots are others'.
    let other = dir.path().join("other.pem");
    let stranger = Identity::new().expect("a certificate");
    fs::write(&other, &stranger.pem).expect("a file");
    let other = other.to_string_lossy().into_owned();
    for (roots, is_trusted) in [(roots, true), (other, false)] {
        let log = dir.path().join(format!("log-{is_trusted}"));
        let own = [
            ("LLM_BASE_URL", &*url),
            ("LLM_API_KEY", CANARY_KEY),
            ("SSL_CERT_FILE", &roots),
        ];
        let syncline = Syncline {
            storage: "memory".to_owned(),
            arguments: vec![],
            variables: variables(&own),
            log: Some(log.clone()),
        };
        let server = syncline.start_in(dir.path()).expect("a server");
        for form in super::FORMS {
            let script = upstream.script([Reply::completion("Yes.", 1)]);
            let answer = asked(&server, form, &form.question(&script.marker, false));
            if is_trusted {
                assert_eq!(form.text(&answer), "Yes.");
                continue;
            }
            form.refused(&answer, 502, "UPSTREAM_UNREACHABLE");
            assert!(script.calls().is_empty(), "the key is told to a stranger");
        }
        drop(server);
        let said = fs::read_to_string(log).expect("a log");
        assert_eq!(said.contains("certificate"), !is_trusted, "{said}");
        assert!(!said.contains(CANARY_KEY), "{said}");
    }
}
