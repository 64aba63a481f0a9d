//! Configuration, read from the environment. Names as in the worker that
//! Syncline replaces; see README's table.

use thiserror::Error;

use crate::imports::System;
use crate::limits::{CONNECTION_REQUESTS_PER_SECOND, PRINCIPAL_REQUESTS_PER_SECOND};
use crate::room::pace::Rates;

/// Secrets in production have at least this many bytes: an HS256 key shorter
/// than its hash can be searched for.
const SECRET_BYTES_MIN: usize = 32;

/// HS256 keys shorter than this are not taken at all, by the JWT library.
const JWT_SECRET_BYTES_MIN: usize = 12;

/// How the example files' secrets begin.
const DEFAULT_SECRET_PREFIX: &str = "dev-";

/// `GRACE_PERIOD_SECONDS` when it is unset: a day, for clients that come back.
const GRACE_PERIOD_SECONDS_DEFAULT: u64 = 86_400;

/// The longest grace: ten years. Beyond it, a typing error is likelier.
const GRACE_PERIOD_SECONDS_MAX: u64 = 315_360_000;

/// The highest rate: beyond it, 0 is meant.
const RATE_MAX: u32 = 1_000_000;

/// Set by a host that cannot work with its own configuration (a binding that
/// is missing): then nobody is served, in the forms that clients understand.
const HOST_MISCONFIGURED: &str = "HOST_MISCONFIGURED";

/// A variable that cannot be worked with. The text says what to do and never
/// holds the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// What the host found wrong with its own configuration, in its words.
    #[error("{0}")]
    Host(String),
    /// A variable that is not a truth value.
    #[error("{name} is `{value}`: set it to `true` or `false`")]
    Boolean {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// `GRACE_PERIOD_SECONDS` is no usable number.
    #[error(
        "GRACE_PERIOD_SECONDS is `{0}`: set it to a whole number of seconds, at most 315360000"
    )]
    GracePeriod(String),
    /// A rate that is no usable number.
    #[error(
        "{name} is `{value}`: set it to a whole number of requests, at most 1000000, or 0 for any"
    )]
    Rate {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// A secret that is needed is absent.
    #[error(
        "JWT_SECRET is not set, but tokens are required (REQUIRE_AUTH is true, or ENVIRONMENT is not `development`): set it to the secret of the service that issues them"
    )]
    SecretMissing,
    /// A secret that the JWT library does not take.
    #[error("JWT_SECRET is too short: use at least 12 bytes, and 32 in production")]
    JwtSecretShort,
    /// A secret that must not be used in production.
    #[error("{0} still has its default value (`dev-…`): set a secret of your own for production")]
    SecretDefault(&'static str),
    /// A secret that is too short for production.
    #[error("{0} is too short for production: use at least 32 random bytes")]
    SecretShort(&'static str),
}

/// Where the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// On a developer's machine: tokens only where `REQUIRE_AUTH` says so.
    Development,
    /// Everywhere else: tokens always.
    Production,
}

impl Environment {
    /// As `ENVIRONMENT` spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
        }
    }
}

/// The configuration, checked.
#[derive(Clone)]
pub struct Config {
    /// `ENVIRONMENT`; unset or unknown means production, so that forgetting
    /// it is safe.
    pub environment: Environment,
    /// What `ENVIRONMENT` holds, if it is neither of the two.
    pub environment_unknown: Option<String>,
    /// Whether a token is required: `REQUIRE_AUTH`, and production always.
    pub auth_required: bool,
    /// `JWT_SECRET`: present whenever tokens are required.
    pub jwt_secret: Option<String>,
    /// `GRACE_PERIOD_SECONDS`: how long after `exp` a token still serves.
    pub grace_period_seconds: u64,
    /// `SERVER_BYPASS_TOKEN`; `None` means no bypass.
    pub server_bypass_token: Option<String>,
    /// `ADMIN_SECRET`; `None` means no administration.
    pub admin_secret: Option<String>,
    /// `DO_RPC_CLIENTS`: Durable Object bindings whose objects may subscribe,
    /// comma-separated.
    pub do_rpc_clients: Vec<String>,
    /// `CONNECTION_REQUESTS_PER_SECOND`, `PRINCIPAL_REQUESTS_PER_SECOND`: 0 is
    /// any number.
    pub rates: Rates,
    /// `ALLOWED_ORIGINS`: web origins, comma-separated; `*` is any.
    pub allowed_origins: Vec<String>,
}

impl Config {
    /// Reads and checks the environment.
    ///
    /// # Errors
    /// The first variable that cannot be worked with.
    pub fn read(system: &mut impl System) -> Result<Self, ConfigError> {
        if let Some(words) = system.env(HOST_MISCONFIGURED) {
            return Err(ConfigError::Host(words));
        }
        let named = system.env("ENVIRONMENT");
        let environment = match named.as_deref() {
            Some("development") => Environment::Development,
            // Unknown ones too: a typing error must not open the door.
            _ => Environment::Production,
        };
        let environment_unknown =
            named.filter(|name| !matches!(name.as_str(), "development" | "production"));
        let production = environment == Environment::Production;
        let auth_required = boolean(system, "REQUIRE_AUTH")? || production;
        let grace_period_seconds = match system.env("GRACE_PERIOD_SECONDS") {
            None => GRACE_PERIOD_SECONDS_DEFAULT,
            Some(text) => match text.trim().parse() {
                Ok(seconds) if seconds <= GRACE_PERIOD_SECONDS_MAX => seconds,
                _ => return Err(ConfigError::GracePeriod(text)),
            },
        };
        let jwt_secret = secret(system, "JWT_SECRET", production)?;
        match &jwt_secret {
            None if auth_required => return Err(ConfigError::SecretMissing),
            Some(secret) if auth_required && secret.len() < JWT_SECRET_BYTES_MIN => {
                return Err(ConfigError::JwtSecretShort);
            }
            _ => {}
        }
        Ok(Self {
            environment,
            environment_unknown,
            auth_required,
            jwt_secret,
            grace_period_seconds,
            server_bypass_token: secret(system, "SERVER_BYPASS_TOKEN", production)?,
            admin_secret: secret(system, "ADMIN_SECRET", production)?,
            do_rpc_clients: list(system, "DO_RPC_CLIENTS"),
            rates: Rates {
                connection: rate(
                    system,
                    "CONNECTION_REQUESTS_PER_SECOND",
                    CONNECTION_REQUESTS_PER_SECOND,
                )?,
                principal: rate(
                    system,
                    "PRINCIPAL_REQUESTS_PER_SECOND",
                    PRINCIPAL_REQUESTS_PER_SECOND,
                )?,
            },
            allowed_origins: list(system, "ALLOWED_ORIGINS")
                .iter()
                .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase())
                .collect(),
        })
    }

    /// One line for the operator: how clients authenticate.
    #[must_use]
    pub fn authentication(&self) -> String {
        if !self.auth_required {
            return "no authentication (development)".to_owned();
        }
        let bypass = if self.server_bypass_token.is_some() {
            ", server bypass token"
        } else {
            ""
        };
        format!("JWT (HS256), grace {} s{bypass}", self.grace_period_seconds)
    }

    /// What the operator should know before trusting this set-up.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(name) = &self.environment_unknown {
            warnings.push(format!(
                "ENVIRONMENT is `{name}`, which is neither `development` nor `production`: taken for `production`."
            ));
        }
        if self.environment == Environment::Development {
            warnings.push(
                "ENVIRONMENT is `development`: do not serve real users with it. Set ENVIRONMENT=production and JWT_SECRET for that."
                    .to_owned(),
            );
        }
        if !self.auth_required {
            warnings.push(
                "No authentication: whoever can connect may read and write every store.".to_owned(),
            );
        }
        warnings
    }
}

fn boolean(system: &mut impl System, name: &'static str) -> Result<bool, ConfigError> {
    match system.env(name).as_deref().map(str::trim) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(value) => Err(ConfigError::Boolean {
            name,
            value: value.to_owned(),
        }),
    }
}

/// A rate; 0 stands for any.
fn rate(
    system: &mut impl System,
    name: &'static str,
    default: u32,
) -> Result<Option<u32>, ConfigError> {
    match system.env(name) {
        None => Ok(Some(default)),
        Some(text) => match text.trim().parse() {
            Ok(0) => Ok(None),
            Ok(rate) if rate <= RATE_MAX => Ok(Some(rate)),
            _ => Err(ConfigError::Rate { name, value: text }),
        },
    }
}

/// The items of a comma-separated list.
fn list(system: &mut impl System, name: &str) -> Vec<String> {
    let text = system.env(name).unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn secret(
    system: &mut impl System,
    name: &'static str,
    production: bool,
) -> Result<Option<String>, ConfigError> {
    let Some(secret) = system.env(name) else {
        return Ok(None);
    };
    let is_default = secret
        .trim()
        .get(..DEFAULT_SECRET_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(DEFAULT_SECRET_PREFIX));
    if production && is_default {
        return Err(ConfigError::SecretDefault(name));
    }
    if production && secret.trim().len() < SECRET_BYTES_MIN {
        return Err(ConfigError::SecretShort(name));
    }
    Ok(Some(secret))
}
