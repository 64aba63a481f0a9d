//! Faults that come and go at random, under load from many clients, and a
//! SIGKILL now and then.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use syncline_tests::soak::{Life, Store, Tally, number_from_environment};

use crate::faulty::Faulty;

/// How often the server is killed.
const LIVES: usize = 6;

/// Faults in a life.
const FAULTS: usize = 25;

/// Some in one file: their pushes share commits.
const STORES: usize = 6;

pub fn nothing_that_a_client_was_told_is_lost_however_the_disk_fails() {
    let seed = number_from_environment("SYNCLINE_FAULT_SEED").unwrap_or_else(|| fastrand::u64(..));
    let _ = writeln!(
        std::io::stderr(),
        "faults; to repeat: SYNCLINE_FAULT_SEED={seed}"
    );
    let mut rng = Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut stores: Vec<Store> = (0..STORES)
        .map(|_| Store::new("faulty", &mut rng))
        .collect();
    for _ in 0..LIVES {
        let mut faulty = Faulty::start(dir.path());
        for store in &mut stores {
            store.check(&faulty.server);
        }
        let life = Life {
            is_faulty: true,
            ..Life::default()
        };
        let server = faulty.server();
        thread::scope(|scope| {
            let clients = stores.iter_mut().flat_map(|store| &mut store.clients);
            for client in clients {
                scope.spawn(|| client.live(&server, &life));
            }
            for _ in 0..FAULTS {
                thread::sleep(Duration::from_millis(rng.u64(..40)));
                faulty.set(&fault(&mut rng));
                thread::sleep(Duration::from_millis(rng.u64(..40)));
                // Some follow on one another.
                if rng.u8(..4) > 0 {
                    faulty.set("none");
                }
            }
            // Many are killed while their disk fails.
            life.killed.store(true, Ordering::SeqCst);
            faulty.kill();
        });
    }
    let faulty = Faulty::start(dir.path());
    for store in &mut stores {
        store.check(&faulty.server);
    }
    let clients = || stores.iter().flat_map(|store| &store.clients);
    let sum = |of: fn(&Tally) -> usize| clients().map(|client| of(&client.tally)).sum::<usize>();
    let (acknowledged, refused) = (sum(|it| it.acknowledged), sum(|it| it.refused));
    let _ = writeln!(
        std::io::stderr(),
        "{acknowledged} pushes acknowledged, {refused} refused; without an answer {} had landed \
         and {} had not",
        sum(|it| it.landed_unanswered),
        sum(|it| it.lost_unanswered),
    );
    assert!(
        acknowledged > 0 && refused > 0,
        "nothing was tested: {acknowledged} acknowledged, {refused} refused"
    );
}

fn fault(rng: &mut Rng) -> String {
    let kinds = ["full", "write", "sync", "sync-kept", "read"];
    let kind = kinds[rng.usize(..kinds.len())];
    let bytes = match kind {
        "full" => format!(" {}", rng.u32(..200_000)),
        _ => String::new(),
    };
    let suffix = ["", "", " -wal", " .db"][rng.usize(..4)];
    format!("{kind}{bytes}{suffix}")
}
