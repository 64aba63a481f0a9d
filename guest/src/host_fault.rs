//! What clients are told of something that went wrong in the host
//! (`wit/gateway.wit`, `faults`). Hosts know when, and nothing of how it is
//! said.

use crate::code::Code;

/// What went wrong, in the clients' terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFault {
    /// Why, and the reason of a close; it knows the close's code, and when it
    /// is worth another try.
    pub code: Code,
    /// The HTTP status: of an answer as a whole, where the code's own may be
    /// that of an Exit in one.
    pub status: u16,
    /// What happened and what to do.
    pub message: &'static str,
}

/// A room's turn or commit failed. What it stored before may be stored: D1
/// commits before the turn ends, and so does a disk that fails.
pub const UNAVAILABLE: HostFault = HostFault {
    code: Code::Unavailable,
    status: 503,
    message: "The server failed at this request; a push may have landed or not. Try again.",
};

/// The same, for the room's sockets: they come back, and pull.
pub const INTERNAL: HostFault = HostFault {
    code: Code::Internal,
    status: 500,
    message: "The server failed. Its log says more.",
};

/// Too much waits for the store, or the host.
pub const OVERLOADED: HostFault = HostFault {
    code: Code::Overloaded,
    status: 503,
    message: "Too much waits for this store, or the server; nothing was stored. Try again.",
};

/// The store, or the host, has as many sockets as it may.
pub const TOO_MANY_CONNECTIONS: HostFault = HostFault {
    code: Code::TooManyConnections,
    status: 503,
    message: "The store, or the server, has as many connections as it may. Try again later.",
};

/// A call means another store than the object's that was called.
pub const STORE_MISMATCH: HostFault = HostFault {
    code: Code::StoreMismatch,
    status: 403,
    message: "The `storeId` is not the one of the object that was called.",
};

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_has_every_close_and_code() {
        let protocol = include_str!("../../PROTOCOL.md");
        for fault in [
            UNAVAILABLE,
            INTERNAL,
            OVERLOADED,
            TOO_MANY_CONNECTIONS,
            STORE_MISMATCH,
        ] {
            let code = fault.code;
            let close_code = code.close_code().expect("a host closes with it");
            let close = format!("| {close_code} | `{code}` |");
            assert!(protocol.contains(&close), "{close}");
        }
    }
}
