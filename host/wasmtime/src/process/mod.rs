//! The process itself: its time, its memory, its machine.

pub mod heap;
pub mod machine;
pub mod memory;
pub mod patience;
pub mod tls;
