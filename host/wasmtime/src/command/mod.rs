//! What the command line does, beside to serve: the environment, tokens, and
//! an operator's work on a data directory.

pub mod config;
pub mod doctor;
pub mod operator;
pub mod serve;
pub mod token;
