//! Running `syncline` as an operator does: starting, refusing to start,
//! stopping, being killed, and what is left on disk.
#![allow(missing_docs)]

mod command_line;
mod configuration;
mod directory;
mod doctor;
mod durability;
mod files;
mod hostile;
mod killed;
mod limits;
mod needles;
mod ops;
mod overload;
mod refusals;
mod stores;
mod telemetry;
mod wire;
