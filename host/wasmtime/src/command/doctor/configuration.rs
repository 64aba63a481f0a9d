//! Whether the component takes the configuration: it is asked, as the server
//! asks it at its start.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::report::Report;
use crate::command::serve::{Serve, Services};
use crate::component::gateway::Gateway;
use crate::component::{ClaimsFile, ComponentError, Runtime};
use crate::contract::{Summary, Variable};
use crate::storage::Location;
use crate::storage::quotas::Quotas;
use crate::telemetry::Telemetry;

const CHECK: &str = "configuration";

/// What `syncline serve` would be started with.
pub struct Configuration {
    /// What the component reads.
    pub variables: Vec<Variable>,
    /// What it would be given.
    pub env: BTreeMap<String, String>,
    /// Admission, if the component takes it.
    pub gateway: Option<Gateway>,
    bare: Arc<Runtime>,
}

impl Configuration {
    /// Whether it is production's, as far as the component was not asked.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.env
            .get("ENVIRONMENT")
            .is_none_or(|it| it != "development")
    }

    /// What the component says of other variables.
    ///
    /// # Errors
    /// Why it refuses them, in its own words.
    pub fn ask(&self, env: BTreeMap<String, String>) -> Result<Summary, String> {
        try_with(&self.bare, env).map(|(_, summary)| summary)
    }
}

fn try_with(bare: &Runtime, env: BTreeMap<String, String>) -> Result<(Gateway, Summary), String> {
    Gateway::new(&bare.with_environment(env)).map_err(|error| match error {
        ComponentError::Configuration(words) => words,
        other => format!("{:#}", anyhow::Error::from(other)),
    })
}

/// Checks it; `None` when the component or the environment cannot be read.
pub fn check(serve: &Serve, report: &mut Report) -> Option<Configuration> {
    let none = |_: &[Variable]| Ok::<_, String>(BTreeMap::new());
    let claims = ClaimsFile::new(serve.claims_versions.clone());
    // Nothing is counted, and no file made.
    let quotas = Quotas::new(&Location::Memory);
    let bare = match Runtime::new(
        serve.component.as_deref(),
        none,
        claims,
        quotas,
        Telemetry::off(),
    ) {
        Ok(bare) => bare,
        Err(error) => {
            report.fail(
                CHECK,
                format!("{:#}", anyhow::Error::from(error)),
                "Name a component of this version with --component, or none",
            );
            return None;
        }
    };
    let variables = bare.terms().variables.clone();
    let services = Services {
        images: serve.images.is_some(),
        assets: serve.assets.is_some(),
    };
    // One that cannot be read is said with the files.
    let tools = serve.read_llm_tools().ok().flatten();
    let env = match serve.environment(&variables, services, tools) {
        Ok(env) => env,
        Err(error) => {
            report.fail(CHECK, error.to_string(), "");
            return None;
        }
    };
    for (name, value) in &env {
        if super::secrets::is_secret(name) {
            report.hide(value);
        }
    }
    let gateway = match try_with(&bare, env.clone()) {
        Ok((gateway, summary)) => {
            say(serve, &summary, report);
            Some(gateway)
        }
        Err(words) => {
            report.fail(CHECK, words, "");
            None
        }
    };
    Some(Configuration {
        variables,
        env,
        gateway,
        bare,
    })
}

fn say(serve: &Serve, summary: &Summary, report: &mut Report) {
    report.ok(
        CHECK,
        format!(
            "{} | storage: {} | auth: {}",
            summary.environment, serve.storage, summary.authentication
        ),
    );
    for service in &summary.services {
        report.ok(CHECK, service.clone());
    }
    for warning in &summary.warnings {
        report.warn(CHECK, warning.clone(), "");
    }
    if !summary.auth_required && !serve.listen.is_loopback() {
        report.warn(
            CHECK,
            "It would listen beyond this machine, without authentication",
            "Set ENVIRONMENT=production and JWT_SECRET, or listen on 127.0.0.1",
        );
    }
    if serve.storage == Location::Memory {
        report.warn(
            CHECK,
            "--storage memory: every event is gone with the process",
            "Use --storage sqlite:DIR",
        );
    }
}
