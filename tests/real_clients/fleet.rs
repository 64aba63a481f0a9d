//! The clients that a scenario is run with.

use crate::client::Kind::{self, Http040, HttpNext, Ws031, Ws040, WsNext};

/// Which kind each of a store's clients is, in the order they are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    pub name: &'static str,
    kinds: &'static [Kind],
}

pub const WS_040: Fleet = Fleet {
    name: "0.4.0-ws",
    kinds: &[Ws040],
};
pub const HTTP_040: Fleet = Fleet {
    name: "0.4.0-http",
    kinds: &[Http040],
};
pub const WS_031: Fleet = Fleet {
    name: "0.3.1-ws",
    kinds: &[Ws031],
};
/// One of each on one store.
pub const MIXED: Fleet = Fleet {
    name: "mixed",
    kinds: &[Ws031, Http040, Ws040],
};

pub const WS_NEXT: Fleet = Fleet {
    name: "next-ws",
    kinds: &[WsNext],
};
pub const HTTP_NEXT: Fleet = Fleet {
    name: "next-http",
    kinds: &[HttpNext],
};
/// What somebody has who upgrades one client at a time.
pub const WITH_NEXT: Fleet = Fleet {
    name: "with-next",
    kinds: &[Ws040, WsNext, Ws031, HttpNext, Http040],
};

/// Clients of one kind among themselves.
pub const UNMIXED: &[Fleet] = &[WS_040, HTTP_040, WS_031];
/// All of them.
pub const ALL: &[Fleet] = &[WS_040, HTTP_040, WS_031, MIXED];

impl Fleet {
    /// The kind of the client that is opened as number `number`.
    pub fn kind(self, number: usize) -> Kind {
        self.kinds[number % self.kinds.len()]
    }
}
