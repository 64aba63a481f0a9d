//! Syncline on workerd, where it is Cloudflare's and nobody else's: rooms
//! that are evicted while their sockets stay open, faults below the room, and
//! what a Worker does before any object is touched. The Worker under test is
//! the product's, wrapped by `tests/node/probe`.

mod admission;
mod configuration;
mod d1;
mod eviction;
mod faults;
mod load;
mod peer;
mod points;
mod refusals;
mod rooms;
mod telemetry;
mod token;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use syncline_tests::cell::Cell;
use syncline_tests::workerd::Storage;

use crate::rooms::Rooms;

/// A test of both storages, or of D1's own faults.
type Scenario = (&'static str, fn(&Rooms));

/// `scenarios![a, b]`: each is named after its function.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => { vec![$((stringify!($name), $name as fn(&$crate::rooms::Rooms))),+] };
}
pub(crate) use scenarios;

/// Trials that wait most of their time, so all of them run side by side.
const THREADS: usize = 48;

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let cells = Cell::selected()?;
    let mut trials = Vec::new();
    for (cell, storage) in [
        (Cell::CloudflareSqlite, Storage::ObjectSqlite),
        (Cell::CloudflareD1, Storage::D1),
    ] {
        if !cells.contains(&cell) {
            continue;
        }
        let mut scenarios = [
            eviction::scenarios(),
            faults::scenarios(),
            admission::scenarios(),
            load::scenarios(),
        ]
        .concat();
        if storage == Storage::D1 {
            scenarios.extend(faults::d1_scenarios());
            scenarios.extend(d1::scenarios());
            scenarios.extend(load::d1_scenarios());
        }
        for (name, run) in scenarios {
            trials.push(Trial::test(format!("{}::{name}", cell.name()), move || {
                run(&*Rooms::shared(storage).map_err(|error| format!("{error:#}"))?);
                Ok(())
            }));
        }
    }
    if !trials.is_empty() {
        trials.push(Trial::test("the_probe_is_typed", the_probe_is_typed));
        for (name, run) in configuration::scenarios() {
            trials.push(Trial::test(format!("configuration::{name}"), move || {
                run();
                Ok(())
            }));
        }
        for (name, run) in telemetry::scenarios() {
            trials.push(Trial::test(format!("telemetry::{name}"), move || {
                run();
                Ok(())
            }));
        }
        for (name, run) in refusals::scenarios() {
            trials.push(Trial::test(format!("refusals::{name}"), move || {
                run();
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    rooms::stop_all();
    Ok(conclusion.exit_code())
}

/// The probe reaches into the product: types say when it misses.
fn the_probe_is_typed() -> Result<(), Failed> {
    let package = rooms::product_package().map_err(|error| format!("{error:#}"))?;
    let output = Command::new("node")
        .arg(package.join("node_modules/typescript/bin/tsc"))
        .arg("--noEmit")
        .arg("--project")
        .arg(rooms::probe_directory())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stdout).into_owned().into())
}
