//! Unmodified LiveStore clients against Syncline: `cargo test -p
//! syncline-tests --test real_clients`. Every scenario expands over the
//! servers and the clients that it names; `SYNCLINE_CELLS` and `SYNCLINE_URL`
//! choose servers (`tests/src/cell.rs`), `SYNCLINE_TEST_VERBOSE` shows what
//! servers and clients log.

mod authentication;
mod client;
mod fleet;
mod live;
mod outages;
mod store;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use syncline_tests::cell::{self, Cell};

use crate::fleet::Fleet;

/// A test for every fleet on every cell.
pub struct Scenario {
    /// Behaviour.
    name: &'static str,
    /// The servers it is run against.
    cells: &'static [Cell],
    /// The clients it is run with.
    fleets: &'static [Fleet],
    /// The test: panics when the server is wrong.
    run: fn(Cell, Fleet),
}

/// A list of scenarios, each named after its function:
/// `scenarios![CELLS, FLEETS => a, b; …]`.
#[macro_export]
macro_rules! scenarios {
    ($($cells:expr, $fleets:expr => $($name:ident),+ $(,)?);+ $(;)?) => {
        vec![$($($crate::Scenario {
            name: stringify!($name),
            cells: $cells,
            fleets: $fleets,
            run: $name,
        }),+),+]
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cells = match Cell::selected() {
        Ok(cells) => cells,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let scenarios = [
        // The slow ones first, so that they do not end alone.
        outages::scenarios(),
        live::scenarios(),
        authentication::scenarios(),
    ];
    let mut trials = Vec::new();
    for scenario in scenarios.into_iter().flatten() {
        for &cell in scenario.cells.iter().filter(|cell| cells.contains(cell)) {
            for &fleet in scenario.fleets {
                if fleet.is_served_by(cell) {
                    let name = format!("{}::{}::{}", cell.name(), fleet.name, scenario.name);
                    let run = scenario.run;
                    trials.push(Trial::test(name, move || {
                        run(cell, fleet);
                        Ok(())
                    }));
                }
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    cell::stop_all();
    conclusion.exit_code()
}
