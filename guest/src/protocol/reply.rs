//! What clients are told, in no version's words.

/// What remains after a Chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageInfo {
    /// This many events, by sequence numbers.
    MoreKnown(u64),
    /// Nothing, as far as the pull's start knew.
    NoMore,
}

/// Why a client is given events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It pulled.
    Pull,
    /// Somebody pushed.
    Push,
}

/// An answer to a request, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To a keep-alive.
    Pong,
    /// Events.
    Chunk {
        /// The items, comma-separated, in the version's form
        /// ([`Codec::item_form`](super::Codec::item_form)).
        items: &'a str,
        /// What remains.
        page_info: PageInfo,
        /// The log's incarnation.
        backend_id: &'a str,
        /// Why.
        why: Why,
    },
    /// A pull has ended well.
    Ended,
    /// A push has landed.
    Pushed,
    /// To a Ping that is a request.
    Pinged,
    /// A pull was interrupted.
    Interrupted,
    /// A push's parent is not the head.
    ServerAhead {
        /// The head.
        minimum_expected: u64,
        /// The push's parent.
        provided: u64,
    },
    /// Another incarnation of the log is meant.
    BackendIdMismatch {
        /// The log's.
        expected: &'a str,
        /// The client's.
        received: &'a str,
    },
    /// The request failed otherwise.
    Failed {
        /// Why, for programs.
        code: &'a str,
        /// What happened and what to do, for people.
        message: &'a str,
        /// When it is worth another try, if it is.
        retry_after_ms: Option<u64>,
    },
    /// Which room this is.
    AdminInfo {
        /// Its name.
        room_id: &'a str,
    },
    /// The log was emptied.
    AdminReset,
}

impl<'a> Reply<'a> {
    /// What begins a pull that has nothing to catch up with.
    #[must_use]
    pub fn nothing(backend_id: &'a str) -> Self {
        Self::Chunk {
            items: "",
            page_info: PageInfo::NoMore,
            backend_id,
            why: Why::Pull,
        }
    }
}
