//! Syncline's local host: a small Durable Objects runtime around the sync
//! component, on wasmtime. It knows I/O and no protocol: the guest decides,
//! and this gives it storage, sockets and time (`wit/`).
#![deny(missing_docs, unsafe_code)]

pub mod arrival;
pub mod asked;
pub mod asking;
pub mod boundary;
pub mod component;
pub mod config;
pub mod deliveries;
pub mod gateway;
pub mod heap;
pub mod http;
pub mod intake;
pub mod life;
pub mod limits;
pub mod listen;
pub mod listener;
pub mod machine;
pub mod operator;
pub mod outbox;
pub mod output;
pub mod patience;
pub mod peer;
pub mod refusals;
pub mod room;
pub mod server;
pub mod shard;
pub mod shards;
pub mod socket;
pub mod storage;
pub mod taken;
pub mod timers;
pub mod token;
mod turn;
pub mod turns;
pub mod unsent;
pub mod watch;
pub mod websocket;
