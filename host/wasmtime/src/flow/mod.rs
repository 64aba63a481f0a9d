//! What is in memory between the network and the rooms: messages on their way
//! in, frames on their way out, and the bounds of both.

pub mod deliveries;
pub mod intake;
pub mod outbox;
pub mod output;
