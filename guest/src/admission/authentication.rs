//! Who asks: the sync payload's token or bypass, and the workspace that it
//! has to name.

use serde_json::Value;
use subtle::ConstantTimeEq;

use super::params::Params;
use super::refusal::Refused;
use super::token;
use crate::code::Code;
use crate::config::Config;
use crate::imports::Imports;
use crate::principal::Principal;

/// Who the request is, by its payload.
///
/// # Errors
/// Why it is nobody who may enter.
pub fn check(
    imports: &mut impl Imports,
    config: &Config,
    params: &Params,
    store_id: &str,
) -> Result<Principal, Refused> {
    let payload = params.payload().map_err(|()| {
        let code = if config.auth_required {
            Code::TokenInvalid
        } else {
            Code::InvalidRequest
        };
        Refused::new(code, "The URL parameter `payload` is not JSON.")
    })?;
    let field = |name: &str| {
        payload
            .as_ref()
            .and_then(|payload| payload.get(name))
            .filter(|value| !value.is_null())
    };
    let instance_id = field("instanceId");
    let matches_store = instance_id.is_none_or(|id| id.as_str() == Some(store_id));
    let other_store = || {
        Refused::new(
            Code::Forbidden,
            "The payload's `instanceId` is not the `storeId` asked for.",
        )
    };
    if !config.auth_required {
        return if matches_store {
            Ok(Principal::Anonymous)
        } else {
            Err(other_store())
        };
    }

    let bypass = config
        .server_bypass_token
        .as_deref()
        .zip(field("serverBypass"));
    let token = field("authToken");
    if bypass.is_none() && token.is_none() {
        let nor = match instance_id {
            Some(_) => "",
            None => ", nor an `instanceId`",
        };
        let message = format!("The sync payload has no `authToken`{nor}.");
        return Err(Refused::new(Code::TokenMissing, message));
    }
    if instance_id.is_none() {
        let message = "The sync payload has no `instanceId`: beside the token it has to name \
                       the store, as the URL's `storeId` does.";
        return Err(Refused::new(Code::TokenMissing, message).of_field("instanceId"));
    }
    if let Some((expected, given)) = bypass {
        return if !secrets_equal(given, expected) {
            Err(Refused::new(
                Code::TokenInvalid,
                "The `serverBypass` token is not the right one.",
            ))
        } else if !matches_store {
            Err(other_store())
        } else {
            Ok(Principal::Server)
        };
    }
    let (Some(secret), Some(token)) = (config.jwt_secret.as_deref(), token.and_then(Value::as_str))
    else {
        return Err(Refused::new(
            Code::TokenInvalid,
            "The payload's `authToken` is not a string.",
        ));
    };
    let now = token::now(imports)?;
    let user = token::check(
        imports,
        secret,
        config.grace_period_seconds,
        token,
        store_id,
        now.seconds(),
    )?;
    if !matches_store {
        return Err(other_store());
    }
    Ok(Principal::User(user))
}

/// Compares in time that does not depend on where they differ.
fn secrets_equal(given: &Value, expected: &str) -> bool {
    given
        .as_str()
        .is_some_and(|given| given.as_bytes().ct_eq(expected.as_bytes()).into())
}
