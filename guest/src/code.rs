//! What clients, logs and closes name when something is refused or fails: the
//! codes of PROTOCOL.md ("Refusals", "Close codes", "Error codes", "Codes of
//! services"), for admission, rooms and services alike.

use std::fmt;

use crate::limits::RETRY_AFTER_MS;

/// The close code of a server that failed at something (RFC 6455).
const CLOSE_FAULT: u16 = 1011;

/// Makes the enum and its texts of one list, so that none is forgotten.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why something is refused or failed, in one word. Part of the
        /// protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Each of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As clients and logs see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// No payload, token or `instanceId`.
    TokenMissing = "TOKEN_MISSING",
    /// The token cannot be trusted, or lacks what it must hold.
    TokenInvalid = "TOKEN_INVALID",
    /// The user's workspace claims have changed since the token was issued.
    TokenVersionStale = "TOKEN_VERSION_STALE",
    /// Expired, and the grace period too.
    GracePeriodExpired = "GRACE_PERIOD_EXPIRED",
    /// The token is good, but not for this; or the Origin, or the calling
    /// object, is not allowed.
    Forbidden = "FORBIDDEN",
    /// The claims lookup or the configuration failed: nobody can be admitted.
    AuthServiceError = "AUTH_SERVICE_ERROR",
    /// The URL's parameters, or a message, make no sense.
    InvalidRequest = "INVALID_REQUEST",
    /// Nothing is here.
    NotFound = "NOT_FOUND",
    /// Not with this method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// Only as a WebSocket.
    UpgradeRequired = "UPGRADE_REQUIRED",
    /// No such procedure on this transport.
    UnknownRpc = "UNKNOWN_RPC",
    /// Another store than the connection's.
    StoreMismatch = "STORE_MISMATCH",
    /// The batch is no chain, or leaves the range of sequence numbers.
    InvalidEvents = "INVALID_EVENTS",
    /// An event, or a text of it, is longer than can be stored.
    EventTooLarge = "EVENT_TOO_LARGE",
    /// Too many events in a push.
    BatchTooLarge = "BATCH_TOO_LARGE",
    /// Too many pulls on a connection.
    TooManyPulls = "TOO_MANY_PULLS",
    /// The client, or its user, asks too often.
    TooManyRequests = "TOO_MANY_REQUESTS",
    /// Storage has no space left.
    StorageFull = "STORAGE_FULL",
    /// Storage failed.
    StorageUnavailable = "STORAGE_UNAVAILABLE",
    /// Another writer was first.
    StorageConflict = "STORAGE_CONFLICT",
    /// The server's clock shows no time that can be.
    ClockWrong = "CLOCK_WRONG",
    /// Gateway and room, or the room and what is kept of a connection, are of
    /// different versions.
    VersionUnknown = "VERSION_UNKNOWN",
    /// What is kept of a connection cannot be read.
    Internal = "INTERNAL",
    /// A 0.4 socket that should have pulled, and did not.
    NeverPulled = "NEVER_PULLED",
    /// A subscriber of a log that was emptied.
    Reset = "RESET",
    /// A room's turn or commit failed (`host_fault.rs`).
    Unavailable = "UNAVAILABLE",
    /// Too much waits for the store, or the host (`host_fault.rs`).
    Overloaded = "OVERLOADED",
    /// As many sockets as there may be (`host_fault.rs`).
    TooManyConnections = "TOO_MANY_CONNECTIONS",
    /// A body that is not of the type that is read here.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// A body that is larger than is read.
    BodyTooLarge = "BODY_TOO_LARGE",
    /// A body that did not arrive in time.
    BodyTimeout = "BODY_TIMEOUT",
    /// An upload without a file.
    NoFile = "NO_FILE",
    /// A file that is no image, or an upload that cannot be read.
    InvalidFile = "INVALID_FILE",
    /// A file that is larger than may be uploaded.
    FileTooLarge = "FILE_TOO_LARGE",
    /// The object store failed to take a file.
    UploadFailed = "UPLOAD_FAILED",
    /// A model that is not among those that may be asked.
    ModelNotAllowed = "MODEL_NOT_ALLOWED",
    /// A user has used as much as it may.
    QuotaExceeded = "QUOTA_EXCEEDED",
    /// The upstream's answer is none that can be passed on.
    UpstreamError = "UPSTREAM_ERROR",
    /// No connection to the upstream.
    UpstreamUnreachable = "UPSTREAM_UNREACHABLE",
    /// The upstream did not answer, or go on, in time.
    UpstreamTimeout = "UPSTREAM_TIMEOUT",
    /// The upstream takes no more, or fails, for now.
    UpstreamBusy = "UPSTREAM_BUSY",
}

impl Code {
    /// The HTTP status of a request that is refused with it. 200 where it is
    /// an Exit in an answer, as upstream has it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TokenMissing
            | Self::TokenInvalid
            | Self::TokenVersionStale
            | Self::GracePeriodExpired => 401,
            Self::Forbidden => 403,
            Self::AuthServiceError
            | Self::VersionUnknown
            | Self::Unavailable
            | Self::Overloaded
            | Self::TooManyConnections
            | Self::UploadFailed
            | Self::UpstreamBusy => 503,
            Self::InvalidRequest | Self::NoFile | Self::InvalidFile | Self::ModelNotAllowed => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::UpgradeRequired => 426,
            Self::TooManyRequests | Self::QuotaExceeded => 429,
            Self::BodyTimeout => 408,
            Self::BodyTooLarge | Self::FileTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::UpstreamError | Self::UpstreamUnreachable => 502,
            Self::UpstreamTimeout => 504,
            Self::UnknownRpc
            | Self::StoreMismatch
            | Self::InvalidEvents
            | Self::EventTooLarge
            | Self::BatchTooLarge
            | Self::TooManyPulls
            | Self::StorageFull
            | Self::StorageUnavailable
            | Self::StorageConflict
            | Self::ClockWrong
            | Self::Internal
            | Self::NeverPulled
            | Self::Reset => 200,
        }
    }

    /// When it is worth another try, if it is, in milliseconds. Who asks too
    /// often is told by its pace instead (`room/pace.rs`).
    #[must_use]
    pub fn retry_after_ms(self) -> Option<u64> {
        match self {
            Self::AuthServiceError
            | Self::TooManyRequests
            | Self::StorageFull
            | Self::StorageUnavailable
            | Self::StorageConflict
            | Self::ClockWrong
            | Self::VersionUnknown
            | Self::Internal
            | Self::Unavailable
            | Self::Overloaded
            | Self::TooManyConnections
            | Self::UploadFailed
            | Self::UpstreamBusy
            | Self::QuotaExceeded => Some(RETRY_AFTER_MS),
            _ => None,
        }
    }

    /// The code of a WebSocket's close with it: of RFC 6455, or of its private
    /// range. `None` where the answer says it all.
    #[must_use]
    pub fn close_code(self) -> Option<u16> {
        match self {
            Self::TokenMissing
            | Self::TokenInvalid
            | Self::TokenVersionStale
            | Self::GracePeriodExpired => Some(4401),
            Self::Forbidden | Self::StoreMismatch => Some(4403),
            Self::NeverPulled => Some(4409),
            Self::AuthServiceError
            | Self::TooManyPulls
            | Self::TooManyRequests
            | Self::Unavailable
            | Self::Overloaded
            | Self::TooManyConnections => Some(1013),
            Self::StorageFull
            | Self::StorageUnavailable
            | Self::StorageConflict
            | Self::VersionUnknown
            | Self::Internal
            | Self::Reset => Some(1011),
            Self::InvalidRequest
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::UpgradeRequired
            | Self::UnknownRpc
            | Self::InvalidEvents
            | Self::EventTooLarge
            | Self::BatchTooLarge
            | Self::ClockWrong
            | Self::UnsupportedMediaType
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::NoFile
            | Self::InvalidFile
            | Self::FileTooLarge
            | Self::UploadFailed
            | Self::ModelNotAllowed
            | Self::QuotaExceeded
            | Self::UpstreamError
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout
            | Self::UpstreamBusy => None,
        }
    }

    /// The same where there is no answer that could say it, only a close: what
    /// closes nothing elsewhere is a fault of the server's then, and its
    /// client has to come again.
    #[must_use]
    pub fn close_code_or_fault(self) -> u16 {
        self.close_code().unwrap_or(CLOSE_FAULT)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
