//! The network: from where it listens to a room's events, and from a room's
//! frames to the kernel.

mod answer;
mod arrival;
mod asked;
mod asking;
pub mod boundary;
mod http;
pub mod listen;
pub mod listener;
pub mod metrics;
pub mod places;
mod silence;
mod socket;
mod taken;
mod unsent;
mod websocket;
