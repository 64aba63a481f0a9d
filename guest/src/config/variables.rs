//! The environment variables, as hosts offer them and operators are told of
//! them.

use crate::services::settings;

/// Set by a host that cannot work with its own configuration (a binding that
/// is missing): then nobody is served, in the forms that clients understand.
pub const HOST_MISCONFIGURED: &str = "HOST_MISCONFIGURED";

/// Set by a host that knows who can connect: `loopback` is this machine alone,
/// `network` others too. On Workers nobody knows: it is unset.
pub const HOST_REACH: &str = "HOST_REACH";

/// Set to `1` by a host that keeps metrics or traces (`wit/telemetry.wit`).
pub const HOST_TELEMETRY: &str = "HOST_TELEMETRY";

/// An environment variable (`wit/gateway.wit`).
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// One line for the operator; `None` of what hosts set.
    pub help: Option<&'static str>,
}

/// One that an operator may set.
#[must_use]
pub const fn variable(name: &'static str, help: &'static str) -> Variable {
    Variable {
        name,
        help: Some(help),
    }
}

/// One that hosts set.
#[must_use]
pub const fn of_host(name: &'static str) -> Variable {
    Variable { name, help: None }
}

/// The variables that [`super::Config::read`] asks for. Hosts offer no other.
pub fn variables() -> impl Iterator<Item = Variable> {
    VARIABLES.into_iter().chain(settings::VARIABLES)
}

/// Those of sync.
const VARIABLES: [Variable; 14] = [
    variable(
        "ENVIRONMENT",
        "`development` (the default) or `production`; any other is production too",
    ),
    variable("REQUIRE_AUTH", "`true` requires tokens in development too"),
    variable(
        "JWT_SECRET",
        "the secret that tokens are signed with (HS256); 32 bytes or more in production",
    ),
    variable(
        "GRACE_PERIOD_SECONDS",
        "how long after its `exp` a token still serves; 86400",
    ),
    variable(
        "SERVER_BYPASS_TOKEN",
        "what internal services present instead of a token",
    ),
    variable("ADMIN_SECRET", "lets 0.3 clients administer a store"),
    variable(
        "ALLOWED_ORIGINS",
        "web origins that may connect, comma-separated",
    ),
    variable(
        "HTTP_RESPONSE_HEADERS",
        "headers for the answers of sync over HTTP, a JSON object",
    ),
    variable(
        "CONNECTION_REQUESTS_PER_SECOND",
        "requests a second of one connection, 0 for any number; 1000",
    ),
    variable(
        "PRINCIPAL_REQUESTS_PER_SECOND",
        "requests a second of one user in a store, 0 for any number; 2000",
    ),
    variable(
        "DO_RPC_CLIENTS",
        "Cloudflare: Durable Object bindings whose objects may subscribe, comma-separated",
    ),
    of_host(HOST_MISCONFIGURED),
    of_host(HOST_REACH),
    of_host(HOST_TELEMETRY),
];
