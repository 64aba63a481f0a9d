//! Configuration, read from the environment. Names as in the worker that
//! Syncline replaces; see README's table.

use self::response_headers::ResponseHeadersError;
use thiserror::Error;

use crate::imports::System;
use crate::limits::{CONNECTION_REQUESTS_PER_SECOND, PRINCIPAL_REQUESTS_PER_SECOND, Rates};
use crate::services::settings::{Settings, SettingsError};

mod response_headers;
pub mod variables;

use self::variables::{HOST_MISCONFIGURED, HOST_REACH, HOST_TELEMETRY};

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
    /// `HTTP_RESPONSE_HEADERS` cannot be used.
    #[error("HTTP_RESPONSE_HEADERS: {0}")]
    ResponseHeaders(#[from] ResponseHeadersError),
    /// A service's variable.
    #[error(transparent)]
    Service(#[from] SettingsError),
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
    /// A secret that anybody can read, where others can connect.
    #[error(
        "{0} is an example's (`dev-…`), which anybody can read, and others than this machine can connect: set one of your own (`openssl rand -base64 48`), or listen on 127.0.0.1"
    )]
    SecretPublic(&'static str),
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
    /// The first secret that anybody can read, where it is not known who can
    /// connect.
    pub secret_public: Option<&'static str>,
    /// `DO_RPC_CLIENTS`: Durable Object bindings whose objects may subscribe,
    /// comma-separated.
    pub do_rpc_clients: Vec<String>,
    /// `CONNECTION_REQUESTS_PER_SECOND`, `PRINCIPAL_REQUESTS_PER_SECOND`: 0 is
    /// any number.
    pub rates: Rates,
    /// `ALLOWED_ORIGINS`: web origins, comma-separated; `*` is any.
    pub allowed_origins: Vec<String>,
    /// `HTTP_RESPONSE_HEADERS`: what stands in the answers of sync over HTTP.
    pub response_headers: Vec<(String, String)>,
    /// Whether the host wants to be told what turns do.
    pub has_telemetry: bool,
    /// The services beside sync.
    pub services: Settings,
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
        let server_bypass_token = secret(system, "SERVER_BYPASS_TOKEN", production)?;
        let admin_secret = secret(system, "ADMIN_SECRET", production)?;
        let mut secret_public = [
            ("JWT_SECRET", &jwt_secret),
            ("SERVER_BYPASS_TOKEN", &server_bypass_token),
            ("ADMIN_SECRET", &admin_secret),
        ]
        .into_iter()
        .find(|(_, secret)| auth_required && secret.as_deref().is_some_and(is_default))
        .map(|(name, _)| name);
        // In development too: who requires tokens takes the door for locked,
        // and a lock whose key is published is worse than none, of which
        // everybody is warned. On this machine alone it does no harm. Where
        // nobody knows who can connect, a refusal would end `wrangler dev`
        // with the example's secrets, so `warnings` has it.
        match (secret_public, system.env(HOST_REACH).as_deref()) {
            (Some(name), Some("network")) => return Err(ConfigError::SecretPublic(name)),
            (Some(_), Some(_)) => secret_public = None,
            _ => {}
        }
        Ok(Self {
            environment,
            environment_unknown,
            auth_required,
            jwt_secret,
            grace_period_seconds,
            server_bypass_token,
            admin_secret,
            secret_public,
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
            response_headers: match system.env("HTTP_RESPONSE_HEADERS") {
                Some(text) => response_headers::parse(&text)?,
                None => Vec::new(),
            },
            has_telemetry: system.env(HOST_TELEMETRY).as_deref() == Some("1"),
            services: Settings::read(system, !production)?,
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
        if let Some(name) = self.secret_public {
            warnings.push(format!(
                "{name} is an example's (`dev-…`), which anybody can read: whoever can connect may enter every store. Keep this to your machine, or set one of your own (`openssl rand -base64 48`)."
            ));
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
    if production && is_default(&secret) {
        return Err(ConfigError::SecretDefault(name));
    }
    if production && secret.trim().len() < SECRET_BYTES_MIN {
        return Err(ConfigError::SecretShort(name));
    }
    Ok(Some(secret))
}

/// Whether a secret is an example's.
fn is_default(secret: &str) -> bool {
    secret
        .trim()
        .get(..DEFAULT_SECRET_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(DEFAULT_SECRET_PREFIX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use super::variables::variables;
    use super::{Config, ConfigError, HOST_MISCONFIGURED, HOST_REACH, HOST_TELEMETRY};
    use crate::imports::System;
    use crate::services::settings;

    /// An environment that notes what it is asked for.
    #[derive(Default)]
    struct Asked<'a> {
        variables: &'a [(&'a str, &'a str)],
        names: BTreeSet<String>,
    }

    impl System for Asked<'_> {
        fn now(&mut self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn random(&mut self, _bytes: &mut [u8]) {}

        fn env(&mut self, name: &str) -> Option<String> {
            self.names.insert(name.to_owned());
            Environment(self.variables).env(name)
        }
    }

    fn asked(variables: &[(&str, &str)]) -> BTreeSet<String> {
        let mut environment = Asked {
            variables,
            ..Asked::default()
        };
        let _ = Config::read(&mut environment);
        environment.names
    }

    #[test]
    fn the_variables_that_hosts_offer_are_those_that_are_read() {
        let offered: BTreeSet<_> = variables().map(|it| it.name.to_owned()).collect();
        assert_eq!(offered.len(), variables().count(), "one is named twice");
        // Some are of no use without others.
        let images = ("HOST_IMAGES", "1");
        let of_own = asked(&[DEVELOPMENT, images, ("LLM_BASE_URL", "http://127.0.0.1:1")]);
        let of_braintrust = asked(&[DEVELOPMENT, ("BRAINTRUST_API_KEY", "key")]);
        assert_eq!(&of_own | &of_braintrust, offered);
        // Whatever else is set, nothing else is read.
        for variables in [&[][..], &[DEVELOPMENT, AUTH, PUBLIC], &[OWN], &[AUTH, OWN]] {
            assert!(asked(variables).is_subset(&offered), "{variables:?}");
        }
    }

    #[test]
    fn an_operator_is_told_of_every_variable_but_those_of_hosts() {
        let of_hosts: Vec<_> = variables().filter(|it| it.help.is_none()).collect();
        let of_hosts: Vec<_> = of_hosts.iter().map(|it| it.name).collect();
        let services = [settings::HOST_IMAGES, settings::HOST_ASSETS];
        assert_eq!(
            of_hosts,
            [
                &[HOST_MISCONFIGURED, HOST_REACH, HOST_TELEMETRY][..],
                &services
            ]
            .concat()
        );
    }

    struct Environment<'a>(&'a [(&'a str, &'a str)]);

    impl System for Environment<'_> {
        fn now(&mut self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn random(&mut self, _bytes: &mut [u8]) {}

        fn env(&mut self, name: &str) -> Option<String> {
            let (_, value) = self.0.iter().find(|(it, _)| *it == name)?;
            Some((*value).to_owned())
        }
    }

    const DEVELOPMENT: (&str, &str) = ("ENVIRONMENT", "development");
    const AUTH: (&str, &str) = ("REQUIRE_AUTH", "true");
    const OWN: (&str, &str) = ("JWT_SECRET", "a-secret-of-ones-own");
    const PUBLIC: (&str, &str) = ("JWT_SECRET", "dev-jwt-secret");
    const PUBLIC_ADMIN: (&str, &str) = ("ADMIN_SECRET", "dev-admin-secret");

    /// What becomes of these secrets, by who can connect.
    fn verdicts(variables: &[(&str, &str)]) -> [Result<Option<&'static str>, ConfigError>; 3] {
        [None, Some("loopback"), Some("network")].map(|reach| {
            let mut all = variables.to_vec();
            all.extend(reach.map(|reach| (HOST_REACH, reach)));
            Config::read(&mut Environment(&all)).map(|config| {
                let warned = config
                    .secret_public
                    .is_some_and(|name| config.warnings().iter().any(|it| it.contains(name)));
                assert_eq!(warned, config.secret_public.is_some());
                config.secret_public
            })
        })
    }

    #[test]
    fn public_secrets_are_refused_where_others_can_connect() {
        let refused = |name| Err(ConfigError::SecretPublic(name));
        assert_eq!(
            verdicts(&[DEVELOPMENT, AUTH, PUBLIC]),
            [Ok(Some("JWT_SECRET")), Ok(None), refused("JWT_SECRET")]
        );
        assert_eq!(
            verdicts(&[DEVELOPMENT, AUTH, OWN, PUBLIC_ADMIN]),
            [Ok(Some("ADMIN_SECRET")), Ok(None), refused("ADMIN_SECRET")]
        );
        let own = verdicts(&[DEVELOPMENT, AUTH, OWN]);
        assert_eq!(own, [Ok(None), Ok(None), Ok(None)]);
        // Without tokens the door is open, which everybody is told.
        let open = verdicts(&[DEVELOPMENT, PUBLIC, PUBLIC_ADMIN]);
        assert_eq!(open, [Ok(None), Ok(None), Ok(None)]);
        // Production takes none, wherever it is.
        let production = verdicts(&[PUBLIC]);
        assert!(
            production
                .iter()
                .all(|it| *it == Err(ConfigError::SecretDefault("JWT_SECRET"))),
            "{production:?}"
        );
    }
}
