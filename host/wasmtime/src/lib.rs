//! Syncline's local host: a small Durable Objects runtime around the sync
//! component, on wasmtime. It knows I/O and no protocol: the guest decides,
//! and this gives it storage, sockets and time (`wit/`).
//!
//! To serve: a [`Runtime`] has the component, a [`Gateway`] admits, [`Shards`]
//! have the rooms, and an [`App`] serves both on [`Listeners`].
#![deny(missing_docs, unsafe_code)]

mod app;
pub mod command;
mod component;
mod contract;
mod exchange;
mod flow;
mod limits;
mod net;
mod process;
mod rooms;
mod server;
mod services;
mod storage;
mod telemetry;

pub use app::App;
pub use component::gateway::Gateway;
pub use component::{ClaimsFile, ComponentError, Runtime, Terms};
pub use contract::{Summary, Variable};
pub use limits::Limits;
pub use net::listen::{Listen, ListenError, Listeners};
pub use net::places::OTHERS_MAX;
pub use process::machine;
pub use rooms::shards::{Shards, StartError};
pub use services::Equipment;
pub use services::assets::{Assets, AssetsError};
pub use services::objects::{ObjectPlace, Objects, ObjectsError};
pub use storage::Location;
pub use storage::quotas::Quotas;
pub use storage::sqlite::directory::create as create_directory;
pub use storage::sqlite::open_error::OpenError;
