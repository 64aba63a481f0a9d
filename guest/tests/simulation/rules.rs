//! What the guest is held to that it does not keep yet. Each is a bug that
//! the simulation found; a test of its own, ignored, shows it. Once one is
//! mended, hold every run to it and delete it here.

/// Which of them a run is held to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// I7 to the byte. The guest takes each Ack for an average Chunk, so that
    /// small Chunks in front of a large one free more than was acknowledged.
    pub exact_window: bool,
    /// A push may come between a 0.3 socket's opening and its first pull. The
    /// guest shows it to a socket that opened on an empty log, and again in
    /// answer to the pull.
    pub first_pull_race: bool,
}
