//! Tokens: HS256 JWTs issued by the auth service, checked here in full.

use jwt_simple::prelude::{HS256Key, MACLike, NoCustomClaims, UnixTimeStamp, VerificationOptions};
use jwt_simple::reexports::ct_codecs::{Base64UrlSafeNoPadding, Decoder};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::refusal::Refused;
use crate::clock::Time;
use crate::code::Code;
use crate::imports::{Imports, Level};
use crate::limits::{ROLE_BYTES_MAX, USER_ID_BYTES_MAX, WORKSPACE_CLAIMS_WARN_BYTES};
use crate::principal::User;
use crate::protocol::strict::Object;

/// How far a token's `nbf` may lie ahead of this clock, in seconds.
const CLOCK_SKEW_SECONDS: u64 = 60;

/// What a token says; `None` where it does not.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(rename = "userId")]
    user_id: Option<String>,
    #[serde(borrow)]
    exp: Option<&'a RawValue>,
    #[serde(borrow)]
    nbf: Option<&'a RawValue>,
    #[serde(borrow)]
    workspaces: Option<&'a RawValue>,
    #[serde(rename = "workspaceClaimsVersion")]
    workspace_claims_version: Option<u64>,
}

/// A workspace that a token covers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Workspace {
    /// Its id.
    pub id: String,
    /// The user's role there.
    #[serde(default)]
    pub role: Option<String>,
}

/// A token that is good, for whatever it covers.
#[derive(Debug)]
pub struct Token {
    user_id: String,
    exp: u64,
    claims_version: u64,
    workspaces: Vec<Workspace>,
}

/// The time that tokens are checked by.
///
/// # Errors
/// When the clock is wrong: an expired token would look valid.
pub fn now(imports: &mut impl Imports) -> Result<Time, Refused> {
    Time::read(imports).ok_or_else(|| {
        imports.log(
            Level::Error,
            "the clock is not between 1970 and 9999: set it; nobody with a token is admitted",
        );
        Refused::new(
            Code::AuthServiceError,
            "The server's clock is wrong: tokens cannot be checked. Try again.",
        )
    })
}

/// Checks a token for one workspace: signature, time, claims, version.
///
/// # Errors
/// Why it does not admit.
pub fn check(
    imports: &mut impl Imports,
    secret: &str,
    grace_period_seconds: u64,
    token: &str,
    workspace_id: &str,
    now_seconds: u64,
) -> Result<User, Refused> {
    let token = Token::read(imports, secret, grace_period_seconds, token, now_seconds)?;
    let workspace = token
        .workspaces
        .iter()
        .find(|workspace| workspace.id == workspace_id)
        .ok_or_else(|| Refused::new(Code::Forbidden, "The token does not cover this workspace."))?;
    if workspace
        .role
        .as_ref()
        .is_some_and(|role| role.len() > ROLE_BYTES_MAX)
    {
        return Err(invalid("The role in the token is too long."));
    }
    token.check_version(imports)?;
    Ok(User {
        user_id: token.user_id.clone(),
        role: workspace.role.clone(),
        exp: token.exp,
        claims_version: token.claims_version,
    })
}

/// Checks a token that is not for one workspace: signature, time, claims,
/// version. Returns whose it is, and what it covers.
///
/// # Errors
/// Why it does not admit.
pub fn check_for_any(
    imports: &mut impl Imports,
    secret: &str,
    grace_period_seconds: u64,
    token: &str,
    now_seconds: u64,
) -> Result<(String, Vec<Workspace>), Refused> {
    let token = Token::read(imports, secret, grace_period_seconds, token, now_seconds)?;
    token.check_version(imports)?;
    Ok((token.user_id, token.workspaces))
}

fn invalid(message: &str) -> Refused {
    Refused::new(Code::TokenInvalid, message)
}

impl Token {
    fn read(
        imports: &mut impl Imports,
        secret: &str,
        grace_period_seconds: u64,
        token: &str,
        now_seconds: u64,
    ) -> Result<Self, Refused> {
        verify_signature(secret, token).map_err(|()| {
            invalid("The token's signature or format is not valid (HS256 is required).")
        })?;
        let payload = token.split('.').nth(1).unwrap_or_default();
        let payload = Base64UrlSafeNoPadding::decode_to_vec(payload, None)
            .map_err(|_| invalid("The token's claims cannot be decoded."))?;
        let claims: Claims<'_> = serde_json::from_slice(&payload)
            .map_err(|_| invalid("The token's claims have the wrong types."))?;

        let user_id = claims
            .user_id
            .filter(|id| !id.is_empty() && id.len() <= USER_ID_BYTES_MAX)
            .ok_or_else(|| invalid("The token has no usable `userId`."))?;
        let exp = claims
            .exp
            .and_then(seconds)
            .ok_or_else(|| invalid("The token has no usable `exp`."))?;
        let claims_version = claims
            .workspace_claims_version
            .ok_or_else(|| invalid("The token has no `workspaceClaimsVersion`."))?;
        if let Some(nbf) = claims.nbf {
            let nbf = seconds(nbf).ok_or_else(|| invalid("The token's `nbf` is not usable."))?;
            if nbf > now_seconds.saturating_add(CLOCK_SKEW_SECONDS) {
                return Err(invalid("The token is not valid yet."));
            }
        }
        if now_seconds > exp.saturating_add(grace_period_seconds) {
            return Err(Refused::new(
                Code::GracePeriodExpired,
                "The token has expired and so has its grace period. Sign in again.",
            ));
        }
        let workspaces = claims.workspaces.map(RawValue::get).unwrap_or("null");
        report_size(imports, workspaces.len());
        let workspaces: Option<Vec<Object<Workspace>>> = serde_json::from_str(workspaces)
            .map_err(|_| invalid("The token's `workspaces` are not a list of {id, role}."))?;
        Ok(Self {
            user_id,
            exp,
            claims_version,
            workspaces: workspaces.into_iter().flatten().map(|it| it.0).collect(),
        })
    }

    /// Whether its claims are as new as they have to be.
    fn check_version(&self, imports: &mut impl Imports) -> Result<(), Refused> {
        match imports.current_version(&self.user_id) {
            Ok(Some(current)) if self.claims_version < current => Err(Refused::new(
                Code::TokenVersionStale,
                "The workspace claims have changed since the token was issued. Get a new token.",
            )),
            Ok(_) => Ok(()),
            Err(error) => {
                imports.log(Level::Error, &format!("claims lookup failed: {error}"));
                // Whether access was taken away cannot be known: refuse, and let
                // the client try again.
                Err(Refused::new(
                    Code::AuthServiceError,
                    "The workspace claims cannot be looked up right now. Try again.",
                ))
            }
        }
    }
}

/// Checks format, algorithm and signature, and nothing about time: the
/// library counts seconds in 32 bits, so that an `exp` after 2106 would count
/// as long past.
fn verify_signature(secret: &str, token: &str) -> Result<(), ()> {
    let options = VerificationOptions {
        artificial_time: Some(UnixTimeStamp::default()),
        time_tolerance: None,
        accept_future: true,
        ..VerificationOptions::default()
    };
    HS256Key::from_bytes(secret.as_bytes())
        .verify_token::<NoCustomClaims>(token, Some(options))
        .map(|_| ())
        .map_err(|_| ())
}

/// A `NumericDate` (RFC 7519): whole seconds of a number that may have a
/// fraction.
fn seconds(raw: &RawValue) -> Option<u64> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    if let Some(seconds) = value.as_u64() {
        return Some(seconds);
    }
    let seconds = value.as_f64()?;
    // Truncation is the intent: a fraction of a second is of no matter.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (seconds >= 0.0).then_some(seconds as u64)
}

fn report_size(imports: &mut impl Imports, bytes: usize) {
    let (level, advice) = if bytes > WORKSPACE_CLAIMS_WARN_BYTES {
        (
            Level::Warn,
            "; trim them before browsers hit their URL and header limits",
        )
    } else {
        // Every request brings them.
        (Level::Debug, "")
    };
    imports.log(level, &format!("workspace claims: {bytes} bytes{advice}"));
}
