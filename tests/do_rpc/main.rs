//! LiveStore clients in Durable Objects, which sync by calls between objects
//! (`SyncDoRpc`): real ones and raw ones, in a worker of their own beside the
//! server's, with Syncline and with the original.

mod objects;
mod raw;
mod real;
mod subscriptions;
mod survival;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use syncline_tests::cell::Cell;
use syncline_tests::server::Server;
use syncline_tests::suite::expect_failure;
use syncline_tests::workerd::{Storage, Worker};

use crate::objects::Clients;

/// A test of every server.
type Scenario = (&'static str, fn(&Clients));

/// `scenarios![a, b]`: each is named after its function.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        vec![$((stringify!($name), $name as fn(&$crate::objects::Clients))),+]
    };
}
pub(crate) use scenarios;

/// Scenarios that the original fails.
const FAULTS: &[&str] = &[
    // LiveStore has it after 0.4.0.
    "a_call_names_its_store",
    "an_object_of_next_is_called_with_bytes_and_one_of_0_4_with_a_message",
    // It checks the first parent only, writes `args` anew, and ignores a
    // message's store.
    "i2_a_push_that_is_no_chain_stores_nothing",
    "absent_args_stay_absent",
    "i5_a_pull_of_another_store_is_refused",
    "i5_a_push_to_another_store_is_refused",
    "i6_a_refused_call_stores_nothing",
    "i5_a_live_pull_of_another_store_subscribes_nobody",
    // It throws, dies or is silent where a request is not as it should be.
    "an_unknown_procedure_is_refused",
    "a_procedure_of_another_transport_is_refused",
    "a_pull_beside_other_requests_is_refused",
    "i7_a_call_of_too_many_requests_is_refused",
    "requests_in_lists_of_any_depth_that_clients_send_are_taken",
    "i9_a_request_that_does_not_fit_its_schema_is_an_exit",
    "i2_a_push_that_does_not_fit_its_schema_stores_nothing",
    "a_binding_that_may_not_subscribe_is_forbidden",
    "a_binding_that_is_none_is_refused",
    "an_object_id_that_is_none_is_refused",
    // It has one subscription a store: whoever pulled last.
    "several_subscribers_are_called",
    "thirty_subscribers_are_called",
    "i3_concurrent_pushes_reach_a_subscriber_in_their_order",
    "i3_two_real_clients_see_each_others_commits",
    "i3_three_real_clients_see_each_others_commits",
    "a_commit_of_250_events_reaches_the_others",
    "i3_concurrent_commits_are_rebased",
    "events_without_args_stay_their_clients_own",
    "large_events_reach_the_others",
    "i4_a_client_that_shut_down_goes_on_from_its_cursor",
    "i4_a_client_that_was_evicted_goes_on_from_its_cursor",
    // A push waits for the calls that it causes, and one that fails is not made
    // again.
    "i3_a_call_that_fails_is_made_again",
    "a_subscriber_that_keeps_failing_is_let_go_until_it_pulls_again",
    "i9_a_call_that_hangs_holds_up_nobody_else",
    "i3_a_slow_subscriber_gets_everything_later",
    "i7_a_subscriber_far_behind_gets_everything_later",
    "i3_a_live_pull_begins_anew_though_a_call_hangs",
];

/// Scenarios at a time: they wait more than they work.
const THREADS: usize = 12;

/// Generous: it is there so that what does not come is a failure and not a
/// hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known not to come is not waited for as long.
const PATIENCE_WITH_FAULTS: Duration = Duration::from_secs(5);

const CELLS: [Cell; 3] = [
    Cell::CloudflareSqlite,
    Cell::CloudflareD1,
    Cell::Original040,
];

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let cells = Cell::selected()?;
    let scenarios = [
        raw::scenarios(),
        subscriptions::scenarios(),
        real::scenarios(),
    ]
    .concat();
    for fault in FAULTS {
        let is_known = scenarios.iter().any(|(name, _)| name == fault);
        assert!(is_known, "a fault that no scenario shows: {fault}");
    }
    let mut trials = Vec::new();
    // What takes longest begins first.
    for (cell, storage) in [
        (Cell::CloudflareSqlite, Storage::ObjectSqlite),
        (Cell::CloudflareD1, Storage::D1),
    ] {
        for (name, run) in survival::alone() {
            if cells.contains(&cell) {
                trials.push(Trial::test(format!("{}::{name}", cell.name()), move || {
                    run(storage);
                    Ok(())
                }));
            }
        }
    }
    let own = [survival::scenarios(), real::races()].concat();
    for &(name, run) in own.iter().chain(scenarios.iter().rev()) {
        let is_own = own.iter().any(|(own, _)| *own == name);
        let asked = |cell: &Cell| cells.contains(cell) && !(is_own && *cell == Cell::Original040);
        trials.extend(
            CELLS
                .into_iter()
                .filter(asked)
                .map(|cell| trial(cell, name, run)),
        );
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for slot in &SERVERS {
        lock(slot).take();
    }
    Ok(conclusion.exit_code())
}

fn trial(cell: Cell, name: &'static str, run: fn(&Clients)) -> Trial {
    let is_fault = cell == Cell::Original040 && FAULTS.contains(&name);
    let suffix = if is_fault {
        " (fault of the original)"
    } else {
        ""
    };
    Trial::test(format!("{}::{name}{suffix}", cell.name()), move || {
        let clients = Clients {
            server: server(cell).map_err(|error| format!("{error:#}"))?,
            patience: if is_fault {
                PATIENCE_WITH_FAULTS
            } else {
                PATIENCE
            },
        };
        if is_fault {
            return expect_failure(|| run(&clients));
        }
        run(&clients);
        Ok(())
    })
}

type Slot = Mutex<Option<Arc<Server>>>;

static SERVERS: [Slot; CELLS.len()] = [const { Mutex::new(None) }; CELLS.len()];

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Arc<Server>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cell's server, started by whoever needs it first.
fn server(cell: Cell) -> Result<Arc<Server>> {
    let index = CELLS.iter().position(|it| *it == cell).unwrap_or_default();
    let mut slot = lock(&SERVERS[index]);
    if let Some(server) = &*slot {
        return Ok(Arc::clone(server));
    }
    let worker = match cell {
        Cell::CloudflareSqlite => Worker::syncline_with_clients(Storage::ObjectSqlite)?,
        Cell::CloudflareD1 => Worker::syncline_with_clients(Storage::D1)?,
        _ => Worker::original_with_clients()?,
    };
    Ok(Arc::clone(slot.insert(Arc::new(worker.start()?))))
}
