//! Clients that commit more often than their server wants to be asked.

use std::time::{Duration, Instant};

use syncline_tests::cell::Cell::{self, WasmtimeSqlite};
use syncline_tests::profile::{PACED_REQUESTS_PER_SECOND, Profile};

use crate::fleet::{self, Fleet};
use crate::store::Store;
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![&[(WasmtimeSqlite, &[fleet::WS_040, fleet::WS_031])] =>
        a_client_that_is_refused_for_asking_too_often_loses_nothing,
    ]
}

/// More than a burst of two seconds' worth.
const COMMITS: u32 = 3 * PACED_REQUESTS_PER_SECOND;

fn a_client_that_is_refused_for_asking_too_often_loses_nothing(cell: Cell, fleet: Fleet) {
    let server = cell.server(Profile::Paced).expect("the server starts");
    let store = Store::new(&server, fleet);
    let mut a = store.open("client-a");
    let begun = Instant::now();
    for n in 0..COMMITS {
        a.commit(&format!("todo-{n}"));
        // Each is pushed on its own.
        store.converge(&mut [&mut a]);
    }
    // Faster it cannot have been, unless nothing was refused.
    assert!(begun.elapsed() > Duration::from_millis(500));
    let mut b = store.open("client-b");
    let log = store.converge(&mut [&mut a, &mut b]);
    assert_eq!(log.len(), usize::try_from(COMMITS).expect("a number"));
}
