//! What a server's codes mean to an operator, and what to do (README.md, "It
//! does not sync"; PROTOCOL.md, "Refusals").

/// A code's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// What it means.
    pub what: &'static str,
    /// What to do.
    pub to_do: &'static str,
}

/// The meaning of a code, which may have the missing field behind it.
#[must_use]
pub fn meaning(reason: &str) -> Meaning {
    let code = reason.split(' ').next().unwrap_or_default();
    let (what, to_do) = match code {
        "TOKEN_MISSING" => (
            "no token, or none of the fields that belong to it, was sent",
            "Give a token with --token; clients send `syncPayload: { authToken, instanceId: storeId }`",
        ),
        "TOKEN_INVALID" => (
            "the token is not signed with this server's JWT_SECRET, or a claim is missing or of a wrong type",
            "Compare the secret of the service that issues tokens with the server's; the server's log says which claim",
        ),
        "GRACE_PERIOD_EXPIRED" => (
            "the token has expired, and its grace period too",
            "Sign in again for a new token; if it is new, compare the clocks",
        ),
        "TOKEN_VERSION_STALE" => (
            "the user's rights have changed since the token was issued",
            "Get a new token; if it is new, see that the issuer uses the version of --claims-versions, or of KV",
        ),
        "FORBIDDEN" => (
            "the store is none of the token's workspaces, or the origin may not connect",
            "Name a store with --store that the token covers; the server's log says which it is",
        ),
        "STORE_MISMATCH" => (
            "the message means another store than the address",
            "See that nothing between changes the address",
        ),
        "AUTH_SERVICE_ERROR" => (
            "nobody can be admitted: the configuration, the clock or the claims' versions",
            "Look into the server's log, which says which",
        ),
        "STORAGE_FULL" => ("its disk is full", "Free some space on it"),
        "STORAGE_UNAVAILABLE" => (
            "its storage fails",
            "Look into the server's log, which says which file and why",
        ),
        "TOO_MANY_CONNECTIONS" => (
            "the store, or the server, has as many sockets as it may",
            "Raise --store-connections-max or --connections-max, or look who has them all",
        ),
        "TOO_MANY_REQUESTS" => (
            "this user asks too often",
            "Wait a little; PRINCIPAL_REQUESTS_PER_SECOND is the limit",
        ),
        "OVERLOADED" | "UNAVAILABLE" => (
            "the server has too much to do, or failed at it",
            "Try again; look into the server's log if it stays so",
        ),
        "RESTART" => ("the server stops", "Try again when it has started"),
        "INTERNAL" => ("the server failed at it", "Look into the server's log"),
        "INVALID_REQUEST" | "NOT_FOUND" | "METHOD_NOT_ALLOWED" | "UPGRADE_REQUIRED" => (
            "the request is not what it was when it was sent",
            "See what is between: a proxy has to pass the URL, its query and `Upgrade` on",
        ),
        _ => (
            "no code of Syncline's",
            "See what answers at this address: a proxy, or another server",
        ),
    };
    Meaning { what, to_do }
}

/// What a status means that refuses to upgrade to a WebSocket.
#[must_use]
pub fn of_status(status: u16) -> Meaning {
    let (what, to_do) = match status {
        200..=299 => (
            "something answers the upgrade like a page",
            "A proxy between does not pass `Connection: upgrade` and `Upgrade` on: have it do so",
        ),
        300..=399 => (
            "something sends clients elsewhere, which they do not follow",
            "Give clients, and --url, the address that it leads to",
        ),
        401 | 403 => (
            "something in front of the server asks for a sign-in of its own",
            "Let the server's own paths through: it checks tokens itself",
        ),
        400 | 404 | 405 | 426 => (
            "the URL is wrong, or a proxy changes it or takes `Upgrade` out",
            "See that the address is the server's, and that the proxy passes the query and `Upgrade` on",
        ),
        413 | 414 | 431 => (
            "the URL is too long for something on the way",
            "Raise the proxy's limit on a request's head to 16 KiB; make the token smaller",
        ),
        429 | 503 => ("it has too much to do", "Try again; look into its log"),
        500..=599 => (
            "the server, or what is in front of it, fails",
            "Look into the server's log, and the proxy's",
        ),
        _ => ("it is no status of Syncline's", "See what answers there"),
    };
    Meaning { what, to_do }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_protocol_has_a_meaning() {
        let protocol = include_str!("../../../../../PROTOCOL.md");
        let (_, rest) = protocol.split_once("\n### Refusals\n").unwrap();
        let (table, _) = rest.split_once("\n- ").unwrap();
        let codes: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        assert!(codes.len() > 8, "{codes:?}");
        let unknown = meaning("anything else");
        for code in codes {
            assert_ne!(meaning(code), unknown, "{code}");
        }
        assert_eq!(
            meaning("TOKEN_MISSING instanceId"),
            meaning("TOKEN_MISSING")
        );
    }
}
