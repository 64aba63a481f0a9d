//! The environment as the guest gets it: the process's, and in development
//! `.dev.vars` beside it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use thiserror::Error;

use crate::contract::Variable;

/// A variable of the process's own, and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct ProcessVariable {
    /// Its name.
    pub name: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
}

/// The variables that are the process's own. `.dev.vars` does not set them.
pub const PROCESS_VARIABLES: [ProcessVariable; 5] = [
    ProcessVariable {
        name: "RUST_LOG",
        help: "what is logged, to stderr: `warn`, `info` (the default), `debug`",
    },
    ProcessVariable {
        name: "NO_COLOR",
        help: "anything: no colours, on a terminal too",
    },
    ProcessVariable {
        name: "OTEL_EXPORTER_OTLP_ENDPOINT",
        help: "a collector for metrics and traces, over HTTP: `http://localhost:4318`; the other OTEL_… as OpenTelemetry has them",
    },
    ProcessVariable {
        name: "OTEL_TRACES_SAMPLER",
        help: "which traces are kept whose client does not say: `parentbased_always_on` (the default), `parentbased_traceidratio` with OTEL_TRACES_SAMPLER_ARG, …",
    },
    ProcessVariable {
        name: "TELEMETRY_HASH_IDS",
        help: "`true`: stores are named by a hash of their id, in logs and traces",
    },
];

/// What `--help` says of the environment of a component that reads these.
#[must_use]
pub fn help(variables: &[Variable]) -> String {
    let mut text = format!(
        "Environment variables (in development also from {DEV_VARS} in the working directory, \
         but the environment wins; README.md, “Configuration”):\n"
    );
    let of_operator = variables.iter().filter_map(|it| {
        let help = it.help.as_deref()?;
        Some((it.name.as_str(), help, ""))
    });
    let of_process = PROCESS_VARIABLES
        .iter()
        .map(|it| (it.name, it.help, " (environment only)"));
    for (name, help, note) in of_operator.chain(of_process) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<30}  {help}{note}");
    }
    text
}

/// Where development keeps its variables, as wrangler does.
pub const DEV_VARS: &str = ".dev.vars";

/// How the guest is told who can reach the server (`guest/src/config.rs`):
/// only the host knows where it listens.
const HOST_REACH: (&str, &str, &str) = ("HOST_REACH", "loopback", "network");

/// How the guest is told what there is for its services
/// (`guest/src/services/settings.rs`).
const HOST_IMAGES: &str = "HOST_IMAGES";
const HOST_ASSETS: &str = "HOST_ASSETS";

/// How the guest is told that there are metrics or traces
/// (`guest/src/config.rs`).
const HOST_TELEMETRY: &str = "HOST_TELEMETRY";

/// Why the environment cannot be read.
#[derive(Debug, Error)]
pub enum EnvError {
    /// A variable is not UTF-8.
    #[error("the environment variable {0} is not valid UTF-8")]
    NotUnicode(String),
    /// The file is there and cannot be read.
    #[error("{DEV_VARS} cannot be read: {0}")]
    Unreadable(io::Error),
    /// A line of `.dev.vars` is none of `NAME=value`. The library's message
    /// would quote the line, which may hold a secret.
    #[error(
        "line {0} of {DEV_VARS} cannot be read: each line has to be NAME=value, empty, or a comment that begins with #; a value with spaces, $, # or quotes goes in single quotes"
    )]
    Line(usize),
    /// `.dev.vars` asks for production.
    #[error(
        "{DEV_VARS} sets ENVIRONMENT to something else than `development`, which means production; but production ignores {DEV_VARS}: set it in the process environment, with the secrets"
    )]
    ProductionInDevVars,
}

/// The variables for a component that reads these, as far as they are set;
/// those that hosts set are not looked for. The process environment wins over
/// `.dev.vars`, which production ignores; `ENVIRONMENT` is `development`
/// unless something is said.
///
/// # Errors
/// What cannot be read.
pub fn environment(
    directory: &Path,
    read: &[Variable],
) -> Result<BTreeMap<String, String>, EnvError> {
    let of_operator = read.iter().filter(|it| it.help.is_some());
    // Whether `.dev.vars` counts depends on it, whoever reads it.
    let names: BTreeSet<&str> = of_operator
        .map(|it| it.name.as_str())
        .chain(["ENVIRONMENT"])
        .collect();
    let mut variables = BTreeMap::new();
    for &name in &names {
        match env::var(name) {
            Ok(value) if !value.is_empty() => drop(variables.insert(name.to_owned(), value)),
            Ok(_) | Err(env::VarError::NotPresent) => {}
            Err(env::VarError::NotUnicode(_)) => {
                return Err(EnvError::NotUnicode(name.to_owned()));
            }
        }
    }
    let in_process = variables.get("ENVIRONMENT").cloned();
    // The guest takes whatever is not `development` for production.
    if matches!(in_process.as_deref(), None | Some("development")) {
        for (name, value) in dev_vars(&directory.join(DEV_VARS))? {
            if name == "ENVIRONMENT" && value != "development" && in_process.is_none() {
                return Err(EnvError::ProductionInDevVars);
            }
            if names.contains(name.as_str()) {
                variables.entry(name).or_insert(value);
            }
        }
    }
    variables
        .entry("ENVIRONMENT".to_owned())
        .or_insert_with(|| "development".to_owned());
    Ok(variables)
}

/// The names that `.dev.vars` in a directory sets, in its order.
///
/// # Errors
/// When it is there and cannot be read.
pub fn names_in_dev_vars(directory: &Path) -> Result<Vec<String>, EnvError> {
    let pairs = dev_vars(&directory.join(DEV_VARS))?;
    Ok(pairs.into_iter().map(|(name, _)| name).collect())
}

/// Tells the guest whether others than this machine can connect.
pub fn set_reach(variables: &mut BTreeMap<String, String>, loopback_only: bool) {
    let (name, loopback, network) = HOST_REACH;
    let reach = if loopback_only { loopback } else { network };
    variables.insert(name.to_owned(), reach.to_owned());
}

/// Tells the guest whether there is an object store, and whether there are the
/// app's files.
pub fn set_services(variables: &mut BTreeMap<String, String>, has_images: bool, has_assets: bool) {
    for (name, is_there) in [(HOST_IMAGES, has_images), (HOST_ASSETS, has_assets)] {
        if is_there {
            variables.insert(name.to_owned(), "1".to_owned());
        }
    }
}

/// Tells the guest that there are metrics or traces, which it has to tell of
/// (`wit/telemetry.wit`).
pub fn set_telemetry(variables: &mut BTreeMap<String, String>, is_on: bool) {
    if is_on {
        variables.insert(HOST_TELEMETRY.to_owned(), "1".to_owned());
    }
}

fn dev_vars(file: &Path) -> Result<Vec<(String, String)>, EnvError> {
    match fs::read(file) {
        Ok(bytes) => parse(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(EnvError::Unreadable(error)),
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, EnvError> {
    // Editors of Windows put one there; the library's iterator does not mind
    // it only where it sets the process's environment.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let begun = Rc::new(Cell::new(0));
    let lines = Lines {
        rest: bytes,
        begun: Rc::clone(&begun),
        is_within: false,
    };
    dotenvy::Iter::new(lines)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            // A value in quotes may span lines: then the first is named.
            let lines = match error {
                dotenvy::Error::LineParse(text, _) => text.lines().count(),
                _ => 1,
            };
            EnvError::Line((begun.get() + 1).saturating_sub(lines.max(1)))
        })
}

/// Gives its reader one line at a time, and counts those begun: the library
/// does not say which line it fails at.
struct Lines<'a> {
    rest: &'a [u8],
    begun: Rc<Cell<usize>>,
    is_within: bool,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.split_inclusive(|byte| *byte == b'\n').next();
        let mut line = line.unwrap_or_default();
        if !self.is_within && !line.is_empty() {
            self.begun.set(self.begun.get() + 1);
        }
        let bytes = line.read(buffer)?;
        self.is_within = !line.is_empty();
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        Ok(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::{EnvError, parse};

    fn fails_at(text: &str) -> Option<usize> {
        match parse(text.as_bytes()) {
            Ok(_) => None,
            Err(EnvError::Line(number)) => Some(number),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_bad_line_is_named_with_its_number() {
        let long = format!("A={}\nB=b\nwhat is this\n", "x".repeat(20_000));
        for (text, number) in [
            ("what is this", 1),
            ("\n\n# comment\nA=a\nwhat is this\nB=b\n", 5),
            ("A=a\r\nwhat is this\r\nB=b\r\n", 2),
            ("A='one\ntwo'\nwhat is this\n", 3),
            // Named by where it begins.
            ("A=a\nB='never\nclosed\n", 2),
            ("A=a\nB='one\ntwo'x what\nC=c\n", 2),
            ("A=a\nB=b what # comment\nC=c\n", 2),
            ("\u{feff}A=a\nwhat is this\n", 2),
            (&long, 3),
        ] {
            assert_eq!(fails_at(text), Some(number), "{text:?}");
        }
        assert_eq!(
            parse(b"A=a\nB=\xff\n")
                .unwrap_err()
                .to_string()
                .find("line 2"),
            Some(0)
        );
        assert_eq!(fails_at("A=a\n\n# b\nB='one\ntwo'\nC=\"c\" # d\n"), None);
        assert_eq!(fails_at("\u{feff}A=a\n"), None);
    }
}
