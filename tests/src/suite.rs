//! Scenarios and how they expand over cells. A scenario that an original
//! server fails stands in a list of that server's faults, and has to fail
//! there: so the list cannot rot, and the suite is itself tested.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::cell::{self, Cell};
use crate::profile::Profile;
use crate::server::Server;

/// What a scenario speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// 0.4 only.
    V4,
    /// What follows 0.4, as of a commit (`guest/src/protocol/next.rs`), only.
    Next,
    /// 0.3 only.
    V3,
    /// Both, on one store.
    Both,
    /// Nothing but HTTP, of Syncline's own kind.
    OwnHttp,
}

/// A test for every server that speaks what it speaks.
pub struct Scenario {
    /// Behaviour and invariant.
    pub name: &'static str,
    /// What it speaks.
    pub speaks: Speaks,
    /// The configuration it needs.
    pub profile: Profile,
    /// The test: panics when the server is wrong.
    pub run: fn(&Server),
}

impl Scenario {
    /// Whether a cell can be asked this at all.
    fn applies_to(&self, cell: Cell) -> bool {
        match cell {
            Cell::Original040 => self.profile == Profile::Open && self.speaks == Speaks::V4,
            Cell::Original031 => self.profile == Profile::Open && self.speaks == Speaks::V3,
            Cell::Url => self.profile == Profile::Open,
            // It forgets after every turn who has asked how often.
            Cell::WasmtimeDrowsy => self.profile != Profile::Paced,
            Cell::WasmtimeMemory
            | Cell::WasmtimeSqlite
            | Cell::CloudflareSqlite
            | Cell::CloudflareD1 => true,
        }
    }
}

/// Runs scenarios over the selected cells. `faults` are the names of the
/// scenarios that the original servers fail.
///
/// # Errors
/// When `SYNCLINE_CELLS` names none.
pub fn run(scenarios: Vec<Scenario>, faults: &[(Cell, &str)]) -> anyhow::Result<ExitCode> {
    let arguments = Arguments::from_args();
    let cells = Cell::selected()?;
    for (cell, name) in faults {
        let known = scenarios
            .iter()
            .any(|scenario| scenario.name == *name && scenario.applies_to(*cell));
        assert!(
            known,
            "{} is listed with a fault that no scenario shows: {name}",
            cell.name()
        );
    }
    let mut trials = Vec::new();
    for cell in cells {
        for scenario in scenarios
            .iter()
            .filter(|scenario| scenario.applies_to(cell))
        {
            let is_fault = faults.contains(&(cell, scenario.name));
            let suffix = if is_fault {
                " (fault of the original)"
            } else {
                ""
            };
            let name = format!("{}::{}{suffix}", cell.name(), scenario.name);
            let (profile, run) = (scenario.profile, scenario.run);
            trials.push(Trial::test(name, move || {
                let server = cell.server(profile).map_err(|error| format!("{error:#}"))?;
                if is_fault {
                    expect_failure(|| run(&server))
                } else {
                    run(&server);
                    Ok(())
                }
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    cell::stop_all();
    Ok(conclusion.exit_code())
}

/// A fault of an original server: the scenario has to fail.
///
/// # Errors
/// When it passes.
pub fn expect_failure(run: impl FnOnce()) -> Result<(), Failed> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Err(_) => Ok(()),
        Ok(()) => Err("the original passes this: take it off the list of its faults".into()),
    }
}

/// A list of scenarios, each named after its function:
/// `scenarios![V4 Open: a, b; V3 Open: c]`.
#[macro_export]
macro_rules! scenarios {
    ($($speaks:ident $profile:ident: $($name:ident),+ $(,)?);+ $(;)?) => {
        vec![$($($crate::suite::Scenario {
            name: stringify!($name),
            speaks: $crate::suite::Speaks::$speaks,
            profile: $crate::profile::Profile::$profile,
            run: $name,
        }),+),+]
    };
}
