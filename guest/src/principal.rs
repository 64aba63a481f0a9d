//! Who was admitted, in the notation that the gateway writes and rooms read.
//! It outlives both: it is in attachments, and gateway and room may be of
//! different versions while a new one is rolled out.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of the notation that is written here.
const VERSION: u32 = 1;

/// Who was admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Principal {
    /// By a token.
    User(User),
    /// By `SERVER_BYPASS_TOKEN`.
    Server,
    /// Where no authentication is required.
    Anonymous,
    /// Another Durable Object, which holds a binding.
    Object,
}

impl Principal {
    /// As JSON, with its version.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Versioned<'a> {
            v: u32,
            #[serde(flatten)]
            principal: &'a Principal,
        }
        serde_json::to_string(&Versioned {
            v: VERSION,
            principal: self,
        })
        .unwrap_or_default()
    }
}

/// Who a token admits, as kept with the connection: what is needed to check
/// the admission again later, and no more (attachments are small).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The token's `userId`.
    #[serde(rename = "userId")]
    pub user_id: String,
    /// The role in this workspace, as the token has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The token's `exp`, seconds since 1970.
    pub exp: u64,
    /// The token's `workspaceClaimsVersion`.
    #[serde(rename = "claimsVersion")]
    pub claims_version: u64,
}

/// A principal that cannot be worked with.
#[derive(Debug, Error)]
pub enum PrincipalError {
    /// It is none.
    #[error("it is no principal: {0}")]
    NotOurs(#[from] serde_json::Error),
    /// Another version of Syncline wrote it.
    #[error("the principal has version {0}, and {VERSION} is known here")]
    UnknownVersion(u32),
    /// Another version of Syncline admitted it, to speak in a way that is not
    /// known here.
    #[error("it was admitted to speak in a way that is not known here")]
    UnknownSpeech,
}

/// The user of a principal; `None` for the server's own, and for everybody
/// where there is no authentication. One without a version is of the time
/// before there were versions.
///
/// # Errors
/// When it is none, or of a version that is not known here.
pub fn user_id(principal: &str) -> Result<Option<Box<str>>, PrincipalError> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        v: Option<u32>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        User,
        Server,
        Anonymous,
        Object,
    }
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "kind")]
        _kind: Kind,
        #[serde(rename = "userId", default)]
        user_id: Option<Box<str>>,
    }
    // The version first: of another one nothing else is known.
    match serde_json::from_str::<Head>(principal)?.v {
        None | Some(VERSION) => {}
        Some(other) => return Err(PrincipalError::UnknownVersion(other)),
    }
    Ok(serde_json::from_str::<Body>(principal)?.user_id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_users_are_users() {
        let user = Principal::User(User {
            user_id: "u".to_owned(),
            role: None,
            exp: 1,
            claims_version: 2,
        });
        let text = r#"{"v":1,"kind":"user","userId":"u","exp":1,"claimsVersion":2}"#;
        assert_eq!(user.to_json(), text);
        assert_eq!(user_id(text).unwrap().as_deref(), Some("u"));
        for other in [Principal::Server, Principal::Anonymous, Principal::Object] {
            assert_eq!(user_id(&other.to_json()).unwrap(), None);
        }
        // Of the time before.
        let text = r#"{"kind":"user","userId":"u","exp":1}"#;
        assert_eq!(user_id(text).unwrap().as_deref(), Some("u"));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for text in [
            "null",
            "{}",
            "",
            r#"{"v":2,"kind":"user","userId":"u"}"#,
            r#"{"v":2}"#,
            r#"{"v":0,"kind":"server"}"#,
            r#"{"v":"1","kind":"server"}"#,
            r#"{"v":1}"#,
            r#"{"v":1,"kind":"robot"}"#,
        ] {
            assert!(user_id(text).is_err(), "{text}");
        }
    }
}
