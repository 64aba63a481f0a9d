//! How a server under test is configured.

/// A configuration that scenarios ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// Development, no authentication, an admin secret. The original servers
    /// have this one only.
    Open,
    /// Production: tokens are required.
    Auth,
    /// As open, for clients that ask seldom, with a header in HTTP answers.
    Paced,
}

/// `ADMIN_SECRET` of the open profile, as in the transcripts.
pub const ADMIN_SECRET: &str = "change-me";

/// `JWT_SECRET` of the auth profile.
pub const JWT_SECRET: &str = "conformance-secret-of-more-than-32-bytes";

/// `SERVER_BYPASS_TOKEN` of the auth profile.
pub const BYPASS_TOKEN: &str = "conformance-bypass-of-more-than-32-bytes";

/// `GRACE_PERIOD_SECONDS` of the auth profile.
pub const GRACE_PERIOD_SECONDS: u64 = 3_600;

/// What a connection of the paced profile may ask.
pub const PACED_REQUESTS_PER_SECOND: u32 = 5;

/// The claims versions of the auth profile: this user's is 5.
pub const REVOKED_USER: &str = "revoked-user";

/// What [`REVOKED_USER`]'s tokens have to reach.
pub const REVOKED_VERSION: u64 = 5;

impl Profile {
    /// The environment variables.
    #[must_use]
    pub fn variables(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Open => vec![
                ("ENVIRONMENT", "development".to_owned()),
                ("ADMIN_SECRET", ADMIN_SECRET.to_owned()),
                ("ALLOWED_ORIGINS", "https://app.example.com".to_owned()),
            ],
            Self::Paced => vec![
                ("ENVIRONMENT", "development".to_owned()),
                (
                    "CONNECTION_REQUESTS_PER_SECOND",
                    PACED_REQUESTS_PER_SECOND.to_string(),
                ),
                (
                    "HTTP_RESPONSE_HEADERS",
                    r#"{"X-Custom-Header":"of the operator's"}"#.to_owned(),
                ),
            ],
            Self::Auth => vec![
                ("ENVIRONMENT", "production".to_owned()),
                ("JWT_SECRET", JWT_SECRET.to_owned()),
                ("SERVER_BYPASS_TOKEN", BYPASS_TOKEN.to_owned()),
                ("GRACE_PERIOD_SECONDS", GRACE_PERIOD_SECONDS.to_string()),
            ],
        }
    }
}
