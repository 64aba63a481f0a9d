//! What must hold of any input. Each target is a function over bytes that
//! panics where it does not hold, and two harnesses call the same ones:
//! cargo-fuzz, which looks at what code an input reaches (`fuzz_targets/`,
//! with a nightly compiler), and a loop over seeded mutations, which is a test
//! like others (`tests/mutations.rs`). Both begin with what real clients said
//! (`transcripts.rs`).
#![deny(missing_docs)]

pub mod admission;
// The file itself, and not the host around it: with a fuzzer's sanitizers
// wasmtime and SQLite would be built anew.
pub mod boundary;
#[path = "../../../host/wasmtime/src/net/boundary.rs"]
#[allow(missing_docs)]
mod boundary_followed;
pub mod calls;
pub mod frames_rpc;
pub mod frames_v3;
#[path = "../../../guest/tests/room/host.rs"]
#[allow(dead_code)]
mod host;
pub mod mutation;
pub mod room;
mod room_answers;
mod texts;
pub mod transcripts;

use transcripts::Transcript;

/// What an input got to, in words: a target that never gets anywhere checks
/// nothing.
pub type Reached = Vec<&'static str>;

/// A target.
pub struct Target {
    /// As cargo-fuzz knows it.
    pub name: &'static str,
    /// Checks one input, of any bytes.
    ///
    /// # Panics
    /// When something does not hold.
    pub check: fn(&[u8]) -> Reached,
    /// The inputs to begin with, made of the transcripts.
    pub corpus: fn(&[Transcript]) -> Vec<Vec<u8>>,
    /// What mutations insert beside what is in the corpus.
    pub words: &'static [&'static str],
    /// What some input has to get to.
    pub reaches: &'static [&'static str],
    /// Mutations that `cargo test` tries: some seconds of them.
    pub runs: u64,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    frames_rpc::TARGET,
    frames_v3::TARGET,
    calls::TARGET,
    room::TARGET,
    admission::TARGET,
    boundary::TARGET,
];
