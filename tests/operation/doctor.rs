//! `syncline doctor`: each check is seen to pass, and to find what is wrong.

mod configuration;
mod logs;
mod strangers;
mod visits;

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use syncline_tests::server::Syncline;

/// A secret as `openssl rand -base64 48` makes them.
const STRONG: &str = "q3T0y5rUo1pVf8zJk2mW9xC7bN4dL6hG0sAeYtQiRuEoPwKj";

/// Limits that every machine has enough for.
const SMALL: [&str; 8] = [
    "--connections-max",
    "100",
    "--rooms-awake-max",
    "100",
    "--input-bytes-max",
    "16777216",
    "--output-bytes-max",
    "16777216",
];

/// What the doctor has said.
#[derive(Debug)]
struct Outcome {
    code: i32,
    findings: Vec<Value>,
}

impl Outcome {
    /// The findings of a check.
    fn of(&self, check: &str) -> Vec<&Value> {
        let all = self.findings.iter();
        all.filter(|it| it["check"] == check).collect()
    }

    /// Sees that a check went so, in these words, and says what to do if it is
    /// not well.
    #[track_caller]
    fn expect(&self, status: &str, check: &str, words: &[&str]) {
        let found = self.of(check).into_iter().find(|it| {
            let text = it.to_string();
            it["status"] == status && words.iter().all(|part| text.contains(part))
        });
        assert!(found.is_some(), "{status} {check} {words:?}: {self:#?}");
    }

    /// Sees that a check found nothing.
    #[track_caller]
    fn well(&self, check: &str) {
        let of_it = self.of(check);
        let is_well = !of_it.is_empty() && of_it.iter().all(|it| it["status"] == "ok");
        assert!(is_well, "{check}: {self:#?}");
    }
}

/// Sees that no secret and no colour is in what was said.
fn check_output(syncline: &Syncline, arguments: &[&str], output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(!said.contains('\u{1b}'), "colours in a pipe: {said}");
    let variables = syncline.variables.iter();
    let secrets = variables.filter(|(name, _)| name.contains("SECRET") || name.contains("TOKEN"));
    let tokens = arguments.iter().zip(arguments.iter().skip(1));
    let tokens = tokens.filter(|(flag, _)| **flag == "--token");
    let hidden = secrets
        .map(|(_, value)| value.as_str())
        .chain(tokens.flat_map(|(_, token)| token.split('.')));
    for secret in hidden.filter(|it| it.len() > 5) {
        assert!(!said.contains(secret), "{secret} is shown: {said}");
    }
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs `syncline doctor` in a directory.
fn doctor(syncline: &Syncline, dir: &Path, arguments: &[&str]) -> Outcome {
    let all = [&["doctor", "--json"][..], arguments].concat();
    outcome(syncline, arguments, &syncline.run(dir, &all).unwrap())
}

fn outcome(syncline: &Syncline, arguments: &[&str], output: &Output) -> Outcome {
    let said = check_output(syncline, arguments, output);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| {
        let words = String::from_utf8_lossy(&output.stderr);
        panic!("no report ({error}): {said}{words}")
    });
    let findings = report["checks"].as_array().unwrap().clone();
    for finding in &findings {
        let has_words = finding["what"].as_str().is_some_and(|it| !it.is_empty());
        assert!(has_words, "{finding}");
    }
    let count = |status| findings.iter().filter(|it| it["status"] == status).count();
    assert_eq!(report["ok"], count("ok"));
    assert_eq!(report["warnings"], count("warn"));
    assert_eq!(report["failures"], count("fail"));
    let code = output.status.code().unwrap();
    let is_failed = count("fail") > 0;
    let is_strict = arguments.contains(&"--strict") && count("warn") > 0;
    assert_eq!(code, i32::from(is_failed || is_strict), "{report:#}");
    Outcome { code, findings }
}

#[test]
fn the_exit_codes_are_for_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let syncline = Syncline::with_variables(&[]);
        let output = syncline.run(dir.path(), arguments).unwrap();
        let said = check_output(&syncline, arguments, &output);
        (output.status.code().unwrap(), said)
    };
    // Development without tokens is worth a word, and no failure.
    let (code, said) = run(&["doctor", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 0, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let (summary, checks) = lines.split_last().unwrap();
    assert!(summary.contains("to look at"), "{said}");
    for line in checks {
        let word = line.split_whitespace().next().unwrap();
        assert!(["ok", "warn", "fail"].contains(&word), "{line}");
    }
    assert_eq!(run(&["doctor", "--listen", "127.0.0.1:0", "--strict"]).0, 1);
    assert_eq!(run(&["doctor", "--claims-versions", "nowhere.json"]).0, 1);
    // Not run at all.
    for wrong in [
        &["doctor", "--url", "nonsense"][..],
        &["doctor", "--no-such-flag"],
        &[
            "doctor",
            "--url",
            "http://127.0.0.1:1",
            "--storage",
            "memory",
        ],
        &["doctor", "--url", "http://user:hidden-word@127.0.0.1:1"],
    ] {
        assert_eq!(run(wrong).0, 2, "{wrong:?}");
    }
    // It has made nothing.
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn help_says_what_the_exit_codes_are() {
    let dir = tempfile::tempdir().unwrap();
    let syncline = Syncline::with_variables(&[]);
    let output = syncline.run(dir.path(), &["doctor", "--help"]).unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains("Exit codes: 0") && help.contains("--url"),
        "{help}"
    );
}
