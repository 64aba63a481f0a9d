//! Who calls a service: the bearer of a token, by the same rules as a client
//! that syncs (`admission/token.rs`), but for no workspace in particular.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::admission::Request;
use crate::admission::refusal::Refused;
use crate::admission::token::{self, Workspace};
use crate::code::Code;
use crate::config::Config;
use crate::imports::Imports;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    /// A token's user, with what it covers: ids and roles.
    User {
        /// The token's `userId`.
        id: String,
        /// The workspaces, with the role in each.
        workspaces: Vec<(String, Option<String>)>,
    },
    /// Whoever has `SERVER_BYPASS_TOKEN`.
    Server,
    /// Anybody, where no tokens are required.
    Anonymous,
}

impl Caller {
    /// The caller by the request's `Authorization`.
    ///
    /// # Errors
    /// Why it may not call.
    pub fn of(
        imports: &mut impl Imports,
        config: &Config,
        request: &Request,
    ) -> Result<Self, Refused> {
        if !config.auth_required {
            return Ok(Self::Anonymous);
        }
        let Some(header) = request.header("authorization") else {
            return Err(Refused::new(
                Code::TokenMissing,
                "The request has no `Authorization: Bearer <token>`.",
            ));
        };
        let token = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => {
                return Err(Refused::new(
                    Code::TokenInvalid,
                    "The request's `Authorization` is not `Bearer <token>`.",
                ));
            }
        };
        if let Some(bypass) = &config.server_bypass_token
            && bool::from(token.as_bytes().ct_eq(bypass.as_bytes()))
        {
            return Ok(Self::Server);
        }
        let Some(secret) = config.jwt_secret.as_deref() else {
            return Err(Refused::new(
                Code::AuthServiceError,
                "Tokens cannot be checked.",
            ));
        };
        let now = token::now(imports)?;
        let grace = config.grace_period_seconds;
        let (id, workspaces) = token::check_for_any(imports, secret, grace, token, now.seconds())?;
        Ok(Self::User {
            id,
            workspaces: workspaces
                .into_iter()
                .map(|Workspace { id, role }| (id, role))
                .collect(),
        })
    }

    /// Whose quotas it uses, and whose images it has.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User { id, .. } => id,
            Self::Server => "(server)",
            Self::Anonymous => "(anonymous)",
        }
    }

    /// The role in a workspace: `None` if it has none of it, `Some(None)` if
    /// it has no role there.
    #[must_use]
    pub fn role_in(&self, workspace: &str) -> Option<Option<&str>> {
        match self {
            Self::User { workspaces, .. } => workspaces
                .iter()
                .find(|(id, _)| id == workspace)
                .map(|(_, role)| role.as_deref()),
            Self::Server | Self::Anonymous => None,
        }
    }
}
