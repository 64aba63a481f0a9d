//! Unmodified LiveStore clients against Syncline: `cargo test -p
//! syncline-tests --test real_clients`. Every scenario expands over the
//! servers and the clients that it names; `SYNCLINE_CELLS` and `SYNCLINE_URL`
//! choose servers (`tests/src/cell.rs`), `LIVESTORE_GIT` adds clients of
//! LiveStore's main branch (`next.rs`), `SYNCLINE_TEST_VERBOSE` shows what
//! servers and clients log.

mod authentication;
mod client;
mod contention;
mod fleet;
mod live;
mod next;
mod outages;
mod pace;
mod restored;
mod store;
mod traces;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use syncline_tests::cell::{self, Cell};

use crate::fleet::Fleet;

/// Servers, each with the fleets that a scenario is run with there.
pub type Matrix = &'static [(Cell, &'static [Fleet])];

/// A test for everything in its matrix.
pub struct Scenario {
    /// Behaviour.
    name: &'static str,
    /// What it is run with.
    matrix: Matrix,
    /// The test: panics when the server is wrong.
    run: fn(Cell, Fleet),
}

/// A list of scenarios, each named after its function:
/// `scenarios![MATRIX => a, b; …]`.
#[macro_export]
macro_rules! scenarios {
    ($($matrix:expr => $($name:ident),+ $(,)?);+ $(;)?) => {
        vec![$($($crate::Scenario {
            name: stringify!($name),
            matrix: $matrix,
            run: $name,
        }),+),+]
    };
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::from_args();
    let cells = Cell::selected()?;
    let together = [
        // The slow ones first, so that they do not end alone.
        outages::scenarios(),
        restored::scenarios(),
        pace::scenarios(),
        live::scenarios(),
        authentication::scenarios(),
        traces::scenarios(),
        next::scenarios(),
    ];
    let together = trials(&cells, together.into_iter().flatten());
    let alone = trials(&cells, contention::scenarios());

    let mut one_thread = arguments.clone();
    one_thread.test_threads = Some(1);
    // An end of its own: what they found is told, whatever comes after it.
    let alone = libtest_mimic::run(&one_thread, alone);
    let together = libtest_mimic::run(&arguments, together);
    cell::stop_all();
    if alone.has_failed() {
        return Ok(alone.exit_code());
    }
    Ok(together.exit_code())
}

/// Scenarios, each for everything in its matrix that is selected.
fn trials(cells: &[Cell], scenarios: impl IntoIterator<Item = Scenario>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for scenario in scenarios {
        let selected = scenario.matrix.iter();
        for &(cell, fleets) in selected.filter(|(cell, _)| cells.contains(cell)) {
            for &fleet in fleets {
                let name = format!("{}::{}::{}", cell.name(), fleet.name, scenario.name);
                let run = scenario.run;
                trials.push(Trial::test(name, move || {
                    run(cell, fleet);
                    Ok(())
                }));
            }
        }
    }
    trials
}
