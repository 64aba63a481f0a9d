//! A room between a client and a plain host: what is hard to bring about over
//! the wire. A storage that fails at one moment, a clock that is wrong, what
//! another version has written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "room/answered.rs"]
mod answered;
#[path = "room/dialects.rs"]
mod dialects;
#[path = "room/editing.rs"]
mod editing;
#[path = "room/host.rs"]
mod host;
#[path = "room/leaving.rs"]
mod leaving;
#[path = "room/log.rs"]
mod log;
#[path = "room/objects.rs"]
mod objects;
#[path = "room/origins.rs"]
mod origins;
#[path = "room/pace.rs"]
mod pace;
#[path = "room/stranded.rs"]
mod stranded;
#[path = "room/time.rs"]
mod time;
#[path = "room/trouble.rs"]
mod trouble;
#[path = "room/versions.rs"]
mod versions;
