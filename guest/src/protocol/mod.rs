//! The wire: what clients' frames mean and how answers are written. Pure
//! functions over bytes; what to answer is the room's business.

pub mod chunk;
pub mod do_rpc;
pub mod event;
pub mod strict;
pub mod v3;
pub mod v4;

/// How a client speaks; fixed for the whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// LiveStore 0.4, Effect RPC over WebSocket.
    WsV4,
    /// LiveStore 0.4, Effect RPC over HTTP POST.
    HttpV4,
    /// LiveStore 0.3 messages over WebSocket.
    WsV3,
    /// LiveStore 0.4, Effect RPC between Durable Objects.
    DoRpc,
}

/// A frame that could not be understood, in words for its sender.
pub type DecodeError = String;
