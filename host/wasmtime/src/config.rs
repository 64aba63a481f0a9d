//! The environment as the guest gets it: the process's, and in development
//! `.dev.vars` beside it.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use thiserror::Error;

/// The variables that a component may read. Others stay with the process.
const VARIABLES: [&str; 9] = [
    "ENVIRONMENT",
    "REQUIRE_AUTH",
    "JWT_SECRET",
    "GRACE_PERIOD_SECONDS",
    "SERVER_BYPASS_TOKEN",
    "ADMIN_SECRET",
    "ALLOWED_ORIGINS",
    "CONNECTION_REQUESTS_PER_SECOND",
    "PRINCIPAL_REQUESTS_PER_SECOND",
];

/// Where development keeps its variables, as wrangler does.
const DEV_VARS: &str = ".dev.vars";

/// Why the environment cannot be read.
#[derive(Debug, Error)]
pub enum EnvError {
    /// A variable is not UTF-8.
    #[error("the environment variable {0} is not valid UTF-8")]
    NotUnicode(&'static str),
    /// `.dev.vars` is no file of `NAME=value` lines. The library's message
    /// would quote the line, which may hold a secret.
    #[error("{DEV_VARS} cannot be read: it has to hold lines of NAME=value")]
    DevVars,
    /// `.dev.vars` asks for production.
    #[error(
        "{DEV_VARS} sets ENVIRONMENT to something else than `development`, which means production; but production ignores {DEV_VARS}: set it in the process environment, with the secrets"
    )]
    ProductionInDevVars,
}

/// The variables for the guest. The process environment wins over
/// `.dev.vars`, which production ignores; `ENVIRONMENT` is `development`
/// unless something is said.
///
/// # Errors
/// What cannot be read.
pub fn environment(directory: &Path) -> Result<BTreeMap<String, String>, EnvError> {
    let mut variables = BTreeMap::new();
    for name in VARIABLES {
        match env::var(name) {
            Ok(value) if !value.is_empty() => drop(variables.insert(name.to_owned(), value)),
            Ok(_) | Err(env::VarError::NotPresent) => {}
            Err(env::VarError::NotUnicode(_)) => return Err(EnvError::NotUnicode(name)),
        }
    }
    let in_process = variables.get("ENVIRONMENT").cloned();
    // The guest takes whatever is not `development` for production.
    if matches!(in_process.as_deref(), None | Some("development")) {
        for (name, value) in dev_vars(&directory.join(DEV_VARS))? {
            if name == "ENVIRONMENT" && value != "development" && in_process.is_none() {
                return Err(EnvError::ProductionInDevVars);
            }
            if VARIABLES.contains(&name.as_str()) {
                variables.entry(name).or_insert(value);
            }
        }
    }
    variables
        .entry("ENVIRONMENT".to_owned())
        .or_insert_with(|| "development".to_owned());
    Ok(variables)
}

fn dev_vars(file: &Path) -> Result<Vec<(String, String)>, EnvError> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    dotenvy::from_path_iter(file)
        .and_then(Iterator::collect)
        .map_err(|_| EnvError::DevVars)
}
