//! The services beside sync (images, the LLM proxy, the app) over HTTP, on
//! both hosts: `cargo test -p syncline-tests --test services`. `SYNCLINE_CELLS`
//! chooses hosts, by the names of `tests/src/cell.rs`.

mod app;
mod app_files;
mod callers;
mod clients;
mod direct;
mod flood;
mod images;
mod memory;
mod picture;
mod relay;
mod stage;
mod traces;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use syncline_tests::cell::Cell;

use crate::stage::{Host, Profile, Stage};

/// Scenarios at once, where `--test-threads` does not say.
const THREADS: usize = 6;

/// A test for both hosts.
pub struct Scenario {
    /// Behaviour.
    name: &'static str,
    /// The configuration that it needs.
    profile: Profile,
    /// The test: panics when the server is wrong.
    run: fn(&Stage),
}

/// A list of scenarios, each named after its function:
/// `scenarios![Tokens: a, b; Open: c]`.
#[macro_export]
macro_rules! scenarios {
    ($($profile:ident: $($name:ident),+ $(,)?);+ $(;)?) => {
        vec![$($($crate::Scenario {
            name: stringify!($name),
            profile: $crate::stage::Profile::$profile,
            run: $name,
        }),+),+]
    };
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // Most of them wait most of the time.
    arguments.test_threads.get_or_insert(THREADS);
    let cells = Cell::selected()?;
    let mut trials = Vec::new();
    for (cell, host) in cells
        .into_iter()
        .filter_map(|cell| Some((cell, Host::of(cell)?)))
    {
        let mut scenarios = vec![
            // The slow ones first, so that they do not end alone.
            memory::scenarios(),
            images::scenarios(),
            relay::scenarios(),
            clients::scenarios(),
            app::scenarios(),
            flood::scenarios(),
        ];
        if host == Host::Wasmtime {
            scenarios.extend([
                images::of_wasmtime(),
                relay::of_wasmtime(),
                traces::of_wasmtime(),
            ]);
        }
        for Scenario { name, profile, run } in scenarios.into_iter().flatten() {
            trials.push(Trial::test(format!("{}::{name}", cell.name()), move || {
                let stage = stage::stage(host, profile).map_err(|error| format!("{error:#}"))?;
                run(&stage);
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    stage::stop_all()?;
    Ok(conclusion.exit_code())
}
