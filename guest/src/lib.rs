//! The LiveStore sync protocol as one deterministic state machine: admission
//! ([`admission`]), the codecs ([`protocol`]), ordering and subscriptions
//! ([`room`]); and the services beside it ([`services`]). It does no I/O of its own; what it needs it asks its host for
//! ([`imports`]).
//!
//! Built for `wasm32-wasip2` it is the component of `wit/`; built natively it
//! is a library, for tests and simulation.
#![deny(missing_docs)]

pub mod admission;
pub mod clock;
pub mod code;
#[cfg(target_family = "wasm")]
pub mod component;
pub mod config;
pub mod contract;
pub mod host_fault;
pub mod imports;
pub mod limits;
pub mod principal;
pub mod protocol;
pub mod room;
pub mod services;
