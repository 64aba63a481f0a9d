//! The wire: what clients' frames mean and how answers are written. Pure
//! functions over bytes; what to answer is the room's business.
//!
//! A version of LiveStore is a [`Dialect`]: its codec turns frames into neutral
//! [`Message`]s and neutral [`Reply`]s into frames. Nobody outside of this
//! module knows versions.

pub mod chunk;
mod dialect;
pub mod do_rpc;
pub mod event;
mod message;
mod next;
mod reply;
pub mod rpc;
mod speech;
pub mod strict;
mod trace;
mod v3;
mod v4;

pub use self::dialect::{Codec, Dialect, keep_alive};
pub use self::message::{
    Call, CallError, Caller, Cursor, DecodeError, Decoded, Message, Ping, Pull, Push, RequestId,
};
pub use self::reply::{PageInfo, Reply, Why};
pub use self::speech::{Carrier, Speech, Voice};
pub use self::trace::Trace;
