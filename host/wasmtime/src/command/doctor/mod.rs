//! `syncline doctor`: looks at a configuration, without starting a server, or
//! at a server that runs, as an operator would, and says what is wrong and
//! what to do. Each file here is named after what it checks.

mod codes;
mod configuration;
mod disk;
mod exchange;
mod files;
mod frames;
mod http;
mod machine;
mod over_http;
mod report;
mod secrets;
mod server;
mod socket;
mod storage;
mod target;
mod token;
mod variables;

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::report::Report;
use self::target::Target;
use super::serve::Serve;

/// What `syncline doctor --help` ends with.
pub const HELP: &str = "\
Exit codes: 0, no check failed (there may be warnings, but with --strict); 1, a check failed;
2, the checks could not be run. Each check is a line on stdout: `ok`, `warn` or `fail`, what
was found, and what to do. No secret and no token is ever shown.";

/// The exit code when nothing could be checked.
const NOT_RUN: u8 = 2;

/// The longest token that is read, in bytes: no server takes a longer one in
/// its URL.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// The flags of `syncline doctor`, beside those of `syncline serve`.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    serve: Serve,
    /// Check the server at this address, and not a configuration:
    /// `https://sync.example`, with the path that clients are given, if any
    #[arg(long, conflicts_with_all = [
        "listen", "storage", "component", "claims_versions", "images", "assets", "llm_tools",
    ])]
    url: Option<String>,
    /// A client's token, to check against the clock and the configuration, or
    /// to connect with; `-` reads it from stdin, where `ps` does not show it
    #[arg(long, value_name = "T|-")]
    token: Option<String>,
    /// The store to push to and to pull from, of the doctor's own: nothing is
    /// pushed where an app's events are. Without it a fresh one, if the token
    /// allows that
    #[arg(long, value_name = "S")]
    store: Option<String>,
    /// How long a server may take for each answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How long a socket is left silent, to see whether anything between
    /// closes it: clients send something every 10 s. `0s` does not look
    #[arg(long, value_name = "DURATION", default_value = "12s", value_parser = humantime::parse_duration)]
    idle_for: Duration,
    /// Write JSON, for scripts
    #[arg(long)]
    json: bool,
    /// Warnings count as failures
    #[arg(long)]
    strict: bool,
}

/// What of the flags concerns a server that runs.
struct Visit<'a> {
    token: Option<&'a str>,
    store: Option<&'a str>,
    idle_for: Duration,
}

/// Runs the checks.
#[must_use]
pub fn run(doctor: &Doctor) -> ExitCode {
    match examine(doctor) {
        Ok(report) => report.end(doctor.strict),
        Err(words) => {
            let _ = writeln!(io::stderr(), "syncline: {words}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn examine(doctor: &Doctor) -> Result<Report, String> {
    let token = match doctor.token.as_deref() {
        Some("-") => Some(read_token()?),
        token => token.map(|it| it.trim().to_owned()),
    };
    let token = token.as_deref();
    let mut report = Report::new(doctor.json);
    if let Some(token) = token {
        report.hide(token);
        // What a part of it is quoted by, too: claims are nobody's to read.
        token.split('.').for_each(|part| report.hide(part));
    }
    match &doctor.url {
        Some(url) => {
            let target = Target::parse(url, doctor.timeout)?;
            let visit = Visit {
                token,
                store: doctor.store.as_deref(),
                idle_for: doctor.idle_for,
            };
            server::check(&target, &visit, &mut report)?;
        }
        None => configured(&doctor.serve, token, doctor.store.as_deref(), &mut report),
    }
    Ok(report)
}

/// Looks at what `syncline serve` would be started with.
fn configured(serve: &Serve, token: Option<&str>, store: Option<&str>, report: &mut Report) {
    let configuration = configuration::check(serve, report);
    if let Some(configuration) = &configuration {
        secrets::check(configuration, report);
        variables::check(&configuration.variables, &configuration.env, report);
    }
    let is_production = configuration
        .as_ref()
        .is_some_and(configuration::Configuration::is_production);
    files::check(serve, is_production, report);
    machine::check(serve, report);
    disk::check(&serve.storage, report);
    storage::check(&serve.storage, report);
    if let Some(token) = token {
        let claims = token::check_clock(token, report);
        if let Some(configuration) = &configuration {
            token::check_admission(configuration, token, claims.as_ref(), store, report);
        }
    }
}

fn read_token() -> Result<String, String> {
    let mut text = String::new();
    io::stdin()
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| format!("--token -: stdin cannot be read: {error}"))?;
    match text.trim() {
        "" => Err("--token -: stdin is empty".to_owned()),
        token => Ok(token.to_owned()),
    }
}
