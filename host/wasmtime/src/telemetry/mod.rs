//! What the server tells its operator: who is turned away, how sockets end,
//! whether it does its work.

pub mod life;
pub mod peer;
pub mod refusals;
pub mod watch;
