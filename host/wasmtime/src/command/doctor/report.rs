//! What the doctor has found: a line for each check, a summary, an exit code.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

/// Shorter texts are not looked for in what is said: they would be found in
/// words. No secret that short is worth the name.
const HIDDEN_BYTES_MIN: usize = 6;

/// A finding's text is cut here, in characters: a server may answer anything.
const WORDS_MAX: usize = 1_000;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and may not always, or not for everybody.
    Warn,
    /// It does not work, or must not be left so.
    Fail,
}

impl Status {
    /// The word at a line's beginning, with its colour for terminals.
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "\u{1b}[32mok  \u{1b}[0m",
            Self::Warn => "\u{1b}[33mwarn\u{1b}[0m",
            Self::Fail => "\u{1b}[31mfail\u{1b}[0m",
        }
    }
}

/// One check's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked: a word.
    pub check: &'static str,
    /// How it went.
    pub status: Status,
    /// What was found.
    pub what: String,
    /// What to do about it.
    #[serde(rename = "toDo", skip_serializing_if = "Option::is_none")]
    pub to_do: Option<String>,
}

/// All of it, as a script gets it.
#[derive(Serialize)]
struct Summary<'a> {
    status: Status,
    ok: usize,
    warnings: usize,
    failures: usize,
    checks: &'a [Finding],
}

/// The findings so far. In text each is written at once: some checks take
/// their time.
pub struct Report {
    findings: Vec<Finding>,
    hidden: Vec<String>,
    is_json: bool,
}

impl Report {
    /// Nothing found yet.
    #[must_use]
    pub fn new(is_json: bool) -> Self {
        Self {
            findings: Vec::new(),
            hidden: Vec::new(),
            is_json,
        }
    }

    /// From now on this is not shown, whoever quotes it.
    pub fn hide(&mut self, secret: &str) {
        if secret.len() >= HIDDEN_BYTES_MIN {
            self.hidden.push(secret.to_owned());
        }
    }

    /// All is well.
    pub fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Status::Ok, what.into(), None);
    }

    /// Something should be looked at.
    pub fn warn(&mut self, check: &'static str, what: impl Into<String>, to_do: impl Into<String>) {
        self.add(check, Status::Warn, what.into(), Some(to_do.into()));
    }

    /// Something has to be mended.
    pub fn fail(&mut self, check: &'static str, what: impl Into<String>, to_do: impl Into<String>) {
        self.add(check, Status::Fail, what.into(), Some(to_do.into()));
    }

    /// One of the above.
    pub fn add(
        &mut self,
        check: &'static str,
        status: Status,
        what: String,
        to_do: Option<String>,
    ) {
        let finding = Finding {
            check,
            status,
            what: self.shown(&what),
            to_do: to_do.map(|it| self.shown(&it)).filter(|it| !it.is_empty()),
        };
        if !self.is_json {
            // Colours are taken out where nobody sees them.
            let mut stdout = anstream::stdout().lock();
            let _ = writeln!(stdout, "{}", line(&finding));
            let _ = stdout.flush();
        }
        self.findings.push(finding);
    }

    /// A text without secrets, and without what could drive a terminal.
    fn shown(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.hidden {
            text = text.replace(secret.as_str(), "[hidden]");
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut short: String = text
            .chars()
            .map(|it| if it.is_control() { '\u{fffd}' } else { it })
            .take(WORDS_MAX)
            .collect();
        if short.len() < text.len() && text.chars().count() > WORDS_MAX {
            short.push('…');
        }
        short
    }

    /// All findings, a line each, without colours.
    #[cfg(test)]
    #[must_use]
    pub fn words(&self) -> String {
        let lines: Vec<String> = self.findings.iter().map(line).collect();
        anstream::adapter::strip_str(&lines.join("\n")).to_string()
    }

    /// How many went so.
    fn count(&self, status: Status) -> usize {
        self.findings
            .iter()
            .filter(|it| it.status == status)
            .count()
    }

    /// Writes the summary. 0 without a failure, 1 with one; `is_strict` counts
    /// warnings as failures.
    #[must_use]
    pub fn end(self, is_strict: bool) -> ExitCode {
        let (ok, warnings, failures) = (
            self.count(Status::Ok),
            self.count(Status::Warn),
            self.count(Status::Fail),
        );
        let status = match (warnings, failures) {
            (0, 0) => Status::Ok,
            (_, 0) => Status::Warn,
            _ => Status::Fail,
        };
        let mut stdout = anstream::stdout().lock();
        if self.is_json {
            let summary = Summary {
                status,
                ok,
                warnings,
                failures,
                checks: &self.findings,
            };
            let text = serde_json::to_string_pretty(&summary).unwrap_or_default();
            let _ = writeln!(stdout, "{text}");
        } else {
            let _ = writeln!(stdout, "{ok} ok, {warnings} to look at, {failures} failed");
        }
        match status {
            Status::Fail => ExitCode::from(1),
            Status::Warn if is_strict => ExitCode::from(1),
            _ => ExitCode::SUCCESS,
        }
    }
}

/// A finding's line.
fn line(finding: &Finding) -> String {
    let Finding {
        check,
        status,
        what,
        to_do,
    } = finding;
    let to_do = to_do.as_ref().map(|it| format!(" → {it}"));
    let to_do = to_do.unwrap_or_default();
    format!("{}  {check:<13}  {what}{to_do}", status.word())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(report: &Report) -> String {
        line(report.findings.last().unwrap())
    }

    #[test]
    fn no_secret_is_shown_whoever_quotes_it() {
        let mut report = Report::new(true);
        report.hide("s3cret-of-mine");
        report.fail("server", "it says: s3cret-of-mine!", "not s3cret-of-mine");
        let line = found(&report);
        assert!(!line.contains("s3cret"), "{line}");
        assert_eq!(line.matches("[hidden]").count(), 2, "{line}");
    }

    #[test]
    fn a_server_that_answers_anything_drives_no_terminal_and_fills_none() {
        let mut report = Report::new(true);
        let words = format!("\u{1b}[2Jgone\n\n  {}", "x".repeat(5_000));
        report.fail("server", words, "");
        let what = &report.findings.last().unwrap().what;
        assert!(!what.contains(['\u{1b}', '\n']), "{what:?}");
        assert!(what.chars().count() <= WORDS_MAX + 1, "{}", what.len());
        assert!(!found(&report).contains('→'), "nothing is to be done");
    }

    #[test]
    fn a_check_is_one_line() {
        let mut report = Report::new(true);
        report.warn("disk", "little is left", "free some");
        assert!(found(&report).ends_with("disk           little is left → free some"));
    }
}
