//! How components are compiled: what the build script compiles ahead and what
//! a running server loads has to agree, so both take it from here (`build.rs`
//! has this file as a module of its own).

use wasmtime::Config;

/// The configuration of every engine.
pub fn config() -> Config {
    let mut config = Config::new();
    // A call that hangs is ended at its deadline.
    config.epoch_interruption(true);
    config
}
