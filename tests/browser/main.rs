//! The example app in a browser, on both hosts, with tokens:
//! `cargo test -p syncline-tests --test app`. It needs Chromium (Debian:
//! `apt-get install chromium`), or its path in `CHROMIUM`. What a scenario does
//! in the browser is in `app/browser/scenarios.mjs`; here are its servers.
//! `SYNCLINE_CELLS` chooses hosts, by the names of `tests/src/cell.rs`.

mod deployment;
mod site;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use syncline_tests::cell::Cell;
use syncline_tests::process::Process;
use syncline_tests::profile::JWT_SECRET;
use syncline_tests::rpc::new_store;
use syncline_tests::token::{now, sign};
use syncline_tests::upstream::{Piece, Reply, Script};

use crate::site::{Place, Site};

/// Scenarios at once, where `--test-threads` does not say: each is one or two
/// browsers, which wait most of the time.
const THREADS: usize = 4;

/// How long a scenario may take from one line to the next. It gives up by
/// itself before that.
const PATIENCE: Duration = Duration::from_secs(600);

/// What happens in the browser.
const SCENARIOS: [&str; 5] = ["offline", "converge", "refused", "image", "assistant"];

/// The same, where the server is killed meanwhile.
const KILLING: [&str; 2] = ["restart", "reset"];

/// The assistant's answer: each part comes when the one before is on the page.
const ANSWER: [&str; 3] = ["You could ", "buy ", "milk."];

/// What the assistant adds to the list.
const TODO: &str = "Buy milk";

/// How the answer begins that breaks off.
const BEGUN: &str = "It depends on";

/// A scenario, and the server that it runs against.
struct Act<'a> {
    name: &'static str,
    arguments: Vec<String>,
    script: Option<&'a Script>,
}

impl Act<'_> {
    /// Runs it in a browser. `answer` does to the server what it asks for.
    fn run(&self, site_url: &str, mut answer: impl FnMut(&str) -> Result<()>) -> Result<Value> {
        let store = new_store(self.name);
        let token = sign(
            &json!({
                "userId": "ada",
                "iat": now(),
                "exp": now() + 3_600,
                "workspaces": [{"id": store, "role": "owner"}],
                "workspaceClaimsVersion": 1,
            }),
            JWT_SECRET,
        );
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("app");
        let scratch = tempfile::tempdir()?;
        let complaints = scratch.path().join("stderr");
        let mut command = Command::new("node");
        command
            .arg(app.join("browser/run.mjs"))
            .args(["--url", site_url, "--scenario", self.name])
            .args(["--store", &store, "--token", &token])
            .args(&self.arguments)
            // Profiles go with it, even if it is killed.
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::piped())
            .stderr(File::create(&complaints)?);
        if let Some(folder) = std::env::var_os("SYNCLINE_SCREENSHOTS") {
            command.arg("--screenshots").arg(folder);
        }
        let mut process = Process::start(command)?;
        let mut stdin = process.take_stdin().context("stdin is piped")?;
        let mut said = Value::Null;
        // The last line comes when its browsers are closed.
        loop {
            let line = process.wait_for(PATIENCE, |line| serde_json::from_str(line).ok());
            let line: Value = line.with_context(|| {
                let complaints = fs::read_to_string(&complaints).unwrap_or_default();
                format!("the browser's program ended:\n{said}\n{complaints}")
            })?;
            if let Some(what) = line["ask"].as_str() {
                answer(what)?;
                writeln!(stdin)?;
            } else if line["sees"].is_string() {
                if let Some(script) = self.script {
                    script.release();
                }
            } else if line["failed"] == 0 {
                return Ok(said);
            } else if line["failed"].is_u64() {
                let complaints = fs::read_to_string(&complaints).unwrap_or_default();
                bail!("{said}\n{complaints}");
            } else {
                said = line;
            }
        }
    }
}

/// A scenario that lets the server live.
fn play(site: &Site, name: &'static str) -> Result<()> {
    let mut act = Act {
        name,
        arguments: Vec::new(),
        script: None,
    };
    let refuse = |what: &str| bail!("nobody may {what} the server of all");
    if name != "assistant" {
        let said = act.run(&site.url, refuse)?;
        if name == "image" {
            let url = said["url"].as_str().unwrap_or_default();
            assert!(
                url.starts_with(&format!("{}/api/images/covers/", site.url)),
                "{url}"
            );
        }
        return Ok(());
    }
    let script = site.upstream.script([whole_answer(), broken_answer()]);
    let option = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    act.arguments = [
        option("--question", &format!("What shall I do? {}", script.marker)),
        option("--answer", &ANSWER.concat()),
        option("--todo", TODO),
        option("--broken", "And then?"),
    ]
    .concat();
    act.script = Some(&script);
    let said = act.run(&site.url, refuse)?;
    assert_eq!(said["steps"], ANSWER.len(), "{said}");
    assert_eq!(said["broken"]["answer"], BEGUN, "{said}");
    // The server's words: not those of a page that saw a stream end.
    let why = said["broken"]["why"].as_str().unwrap_or_default();
    assert!(!why.is_empty() && why != "The answer broke off.", "{said}");
    let calls = script.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    for call in &calls {
        assert_eq!(call.body["tools"][0]["function"]["name"], "add_todo");
        assert_eq!(
            call.header("authorization"),
            Some("Bearer the-key-of-the-upstream")
        );
    }
    // The second question goes on with the conversation.
    let messages = calls[1].body["messages"].to_string();
    assert!(messages.contains(&ANSWER.concat()), "{messages}");
    Ok(())
}

/// Each part but the last waits until the page has shown it.
fn whole_answer() -> Reply {
    let mut pieces = Vec::new();
    for text in ANSWER {
        pieces.extend(Reply::begun(&[text]));
        pieces.push(Piece::Hold);
    }
    let arguments = json!({"title": TODO}).to_string();
    let (first, rest) = arguments.split_at(arguments.len() / 2);
    let call = Reply::tool_stream("call-1", "add_todo", &[first, rest]);
    pieces.extend(call.body);
    Reply::events(pieces)
}

fn broken_answer() -> Reply {
    Reply::events([Reply::begun(&[BEGUN]), vec![Piece::Break]].concat())
}

/// A scenario that kills the server.
fn play_alone(site: &mut Site, name: &'static str) -> Result<()> {
    let act = Act {
        name,
        arguments: Vec::new(),
        script: None,
    };
    let url = site.url.clone();
    let mut deeds = Vec::new();
    act.run(&url, |what| {
        deeds.push(what.to_owned());
        match what {
            "kill" => site.kill(),
            "start" => site.serve(),
            "reset" => site.reset(),
            _ => bail!("it asks for {what}"),
        }
    })?;
    let due: &[&str] = match name {
        "restart" => &["kill", "start"],
        _ => &["reset"],
    };
    assert_eq!(deeds, due);
    Ok(())
}

/// A failure, with the end of the server's log as it is before another
/// scenario has its turn.
fn with_log(site: &Site, done: Result<()>) -> Result<()> {
    done.map_err(|error| {
        let log = site.log();
        let last: Vec<&str> = log.lines().rev().take(30).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        anyhow!("{error:#}\nthe server's log ends:\n{}", last.join("\n"))
    })
}

fn result(done: Result<()>) -> Result<(), Failed> {
    done.map_err(|error| format!("{error:#}").into())
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let cells = Cell::selected()?;
    let hosts = [Cell::WasmtimeSqlite, Cell::CloudflareSqlite];
    let places: Vec<(Cell, Arc<Place>)> = hosts
        .into_iter()
        .filter(|cell| cells.contains(cell))
        .map(|cell| (cell, Arc::new(Place::new(cell))))
        .collect();
    let mut trials = deployment::trials();
    for (cell, place) in &places {
        for name in SCENARIOS {
            let place = Arc::clone(place);
            trials.push(Trial::test(format!("{}::{name}", cell.name()), move || {
                result(place.with(|site| with_log(site, play(site, name))))
            }));
        }
    }
    for name in KILLING {
        for (cell, place) in &places {
            let place = Arc::clone(place);
            trials.push(Trial::test(format!("{}::{name}", cell.name()), move || {
                result(place.with_alone(|site| {
                    let done = play_alone(site, name);
                    with_log(site, done)
                }))
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for (_, place) in &places {
        place.stop();
    }
    Ok(conclusion.exit_code())
}
