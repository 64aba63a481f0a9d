//! Faults beneath SQLite: a full disk, errors of the disk. The server is a
//! process of its own, this program again, whose SQLite works through a shim
//! ([`shim`]) that fails when it is told to; so it has its own log, can be
//! killed, and nothing of it is pretended but the fault.
//!
//! Why not `LD_PRELOAD` under the binary: that is one system's, and what it
//! would have to fail is SQLite's choice of system calls. The shim sits where
//! SQLite defines what a file is.
#![allow(missing_docs)]

mod cases;
mod faulty;
mod server;
mod shim;
mod soak;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// The argument that makes this program the server.
const SERVE: &str = "--serve-with-faults";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        return match server::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("syncline: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let trials = cases::ALL
        .iter()
        .map(|(name, case)| {
            Trial::test(*name, move || {
                case();
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
