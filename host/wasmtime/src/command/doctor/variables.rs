//! Variables that nobody reads: typing errors, as a rule, and a secret that is
//! believed to be set.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use super::report::Report;
use crate::command::config::{DEV_VARS, PROCESS_VARIABLES, names_in_dev_vars};
use crate::contract::Variable;

const CHECK: &str = "variables";

/// So many letters apart is a typing error.
const DISTANCE_MAX: usize = 2;

/// Names shorter than this are near to everything.
const NAME_BYTES_MIN: usize = 6;

/// `.dev.vars` is wrangler's file too: what a Worker reads of it.
const WORKERS: [&str; 1] = ["STORAGE"];

/// What the object store's library reads.
const BUCKETS: &str = "AWS_";

/// Whether a variable is one that the server sets itself.
#[must_use]
pub fn is_set_by_host(variables: &[Variable], name: &str) -> bool {
    let known = variables.iter().find(|it| it.name == name);
    known.is_some_and(|it| it.help.is_none())
}

/// Looks at the names of the environment and of `.dev.vars`.
pub fn check(variables: &[Variable], given: &BTreeMap<String, String>, report: &mut Report) {
    let known: Vec<&str> = variables
        .iter()
        .filter(|it| it.help.is_some())
        .map(|it| it.name.as_str())
        .chain(PROCESS_VARIABLES.iter().map(|it| it.name))
        .collect();
    // What is empty counts as unset, and so it does not matter. Names that are
    // no text are no typing errors.
    let in_process = env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok());
    let mut found = false;
    for name in in_process {
        if is_set_by_host(variables, &name) {
            found = true;
            of_host(&name, "the environment", report);
        } else if !known.contains(&name.as_str())
            && let Some(near) = nearest(&known, &name)
        {
            found = true;
            unknown(&name, "the environment", Some(near), report);
        }
    }
    let is_read = given
        .get("ENVIRONMENT")
        .is_some_and(|it| it == "development");
    // A file that cannot be read is said with the configuration.
    for name in names_in_dev_vars(Path::new(".")).unwrap_or_default() {
        if !is_read || WORKERS.contains(&name.as_str()) {
            continue;
        }
        let is_process =
            PROCESS_VARIABLES.iter().any(|it| it.name == name) || name.starts_with(BUCKETS);
        if is_process {
            found = true;
            report.warn(
                CHECK,
                format!("{name} in {DEV_VARS} has no effect: it is the process's"),
                "Set it in the environment",
            );
        } else if is_set_by_host(variables, &name) {
            found = true;
            of_host(&name, DEV_VARS, report);
        } else if !known.contains(&name.as_str()) {
            found = true;
            unknown(&name, DEV_VARS, nearest(&known, &name), report);
        }
    }
    if !found {
        let set: Vec<&str> = given
            .keys()
            .map(String::as_str)
            .filter(|name| !is_set_by_host(variables, name))
            .collect();
        report.ok(CHECK, format!("set: {}", set.join(", ")));
    }
}

fn unknown(name: &str, place: &str, near: Option<&str>, report: &mut Report) {
    let to_do = match near {
        Some(near) => format!("Is {near} meant?"),
        None => "Take it out: `syncline serve --help` lists what is read".to_owned(),
    };
    report.warn(CHECK, format!("nobody reads {name} in {place}"), to_do);
}

fn of_host(name: &str, place: &str, report: &mut Report) {
    report.warn(
        CHECK,
        format!("{name} in {place} has no effect: the server sets it by itself"),
        "Take it out",
    );
}

/// The known name that is nearest, if it is near.
fn nearest<'a>(known: &[&'a str], name: &str) -> Option<&'a str> {
    if name.len() < NAME_BYTES_MIN {
        return None;
    }
    let plain = name.to_ascii_uppercase().replace('-', "_");
    known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(it, &plain), *it))
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .min()
        .map(|(_, it)| it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_near_and_another_programs_variable_is_not() {
        let known = [
            "JWT_SECRET",
            "REQUIRE_AUTH",
            "LLM_MODELS",
            "ALLOWED_ORIGINS",
        ];
        for (name, near) in [
            ("JWT_SECERT", Some("JWT_SECRET")),
            ("jwt_secret", Some("JWT_SECRET")),
            ("JWTSECRET", Some("JWT_SECRET")),
            ("LLM_MODEL", Some("LLM_MODELS")),
            ("ALLOWED-ORIGIN", Some("ALLOWED_ORIGINS")),
            ("REQUIRE", None),
            ("HOME", None),
            ("PATH", None),
            ("CLIENT_SECRET", None),
        ] {
            assert_eq!(nearest(&known, name), near, "{name}");
        }
    }
}
