//! `syncline token`: a JWT for development, as the auth service would issue.

use std::fmt;
use std::str::FromStr;

use jwt_simple::prelude::{Claims, Duration, HS256Key, MACLike};
use serde::Serialize;
use thiserror::Error;

/// `--workspace W[:role]`: the role is what follows the last colon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workspace {
    id: String,
    role: String,
}

/// The role where none is named.
const ROLE_DEFAULT: &str = "member";

impl FromStr for Workspace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, role) = text.rsplit_once(':').unwrap_or((text, ROLE_DEFAULT));
        if id.is_empty() || role.is_empty() {
            return Err("use W or W:role".to_owned());
        }
        Ok(Self {
            id: id.to_owned(),
            role: role.to_owned(),
        })
    }
}

/// What was understood: a workspace whose id has a colon needs its role said.
impl fmt::Display for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workspace {:?} with role {:?}", self.id, self.role)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenClaims<'a> {
    user_id: &'a str,
    workspaces: &'a [Workspace],
    workspace_claims_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_instance_id: Option<&'a str>,
}

/// The secret is none that a token can be signed with.
#[derive(Debug, Error)]
#[error("JWT_SECRET cannot sign: use at least 12 bytes, and 32 in production")]
pub struct TokenError(#[source] jwt_simple::Error);

/// Mints a token.
///
/// # Errors
/// When it cannot be encoded.
pub fn mint(
    secret: &str,
    user: &str,
    workspaces: &[Workspace],
    claims_version: u64,
    ttl: std::time::Duration,
) -> Result<String, TokenError> {
    let claims = TokenClaims {
        user_id: user,
        workspaces,
        workspace_claims_version: claims_version,
        default_instance_id: workspaces.first().map(|workspace| workspace.id.as_str()),
    };
    let claims = Claims::with_custom_claims(claims, Duration::from_secs(ttl.as_secs()));
    HS256Key::from_bytes(secret.as_bytes())
        .authenticate(claims)
        .map_err(TokenError)
}
