//! Syncline's local host: a small Durable Objects runtime around the sync
//! component, on wasmtime. It knows I/O and no protocol: the guest decides,
//! and this gives it storage, sockets and time (`wit/`).
#![deny(missing_docs)]

pub mod arrival;
pub mod boundary;
pub mod budget;
pub mod component;
pub mod config;
pub mod deliveries;
pub mod gateway;
pub mod heap;
pub mod http;
pub mod limits;
pub mod listener;
pub mod operator;
pub mod outbox;
pub mod room;
pub mod server;
pub mod shard;
pub mod socket;
pub mod storage;
pub mod token;
pub mod websocket;
