//! The rooms: a store's sockets and its instance of the component, the threads
//! that they live on, and whose turn it is.

mod done;
pub mod event;
mod room;
mod shard;
pub mod shards;
mod timers;
mod turns;
