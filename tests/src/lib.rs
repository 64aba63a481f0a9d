//! What the suites share: servers to test (cells), clients that speak raw
//! frames, and what is expected of them. A test that fails panics; that is
//! what a test is for.
#![deny(missing_docs)]

pub mod bucket;
pub mod cell;
pub mod collector;
pub mod exchange;
pub mod http;
pub mod npm;
pub mod process;
pub mod profile;
pub mod promql;
pub mod replay;
pub mod rpc;
pub mod server;
pub mod soak;
pub mod socket;
pub mod suite;
pub mod token;
pub mod upstream;
pub mod vocabulary;
pub mod workerd;
