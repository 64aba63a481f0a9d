//! SIGKILL at random moments, under load: what clients were told is compared
//! with what the next server finds on the same files.
//!
//! `SYNCLINE_KILLS` says how often (200), `SYNCLINE_KILL_SEED` repeats the
//! choices of a run; where exactly the kill strikes the server is new each
//! time.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use syncline_tests::process::Process;
use syncline_tests::profile::Profile;
use syncline_tests::server::{Server, Syncline};
use syncline_tests::soak::{self, Life, Store, Tally};

/// Kills in one directory. Then the next campaign begins with nothing, so
/// that the creation of files is killed too.
const KILLS_PER_CAMPAIGN: usize = 20;

/// Campaigns at a time: one compiles the component while others push.
const LANES: usize = 3;

/// Stores that clients are on at a time.
const STORES_BUSY: usize = 4;

/// How long a server may take until its clients have what a kill waits for.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(120);

#[test]
fn i1_i2_i3_i8_sigkill_at_any_moment_loses_nothing_that_a_client_was_told() {
    let seed =
        soak::number_from_environment("SYNCLINE_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let kills = soak::number_from_environment("SYNCLINE_KILLS").unwrap_or(200);
    let kills = usize::try_from(kills).unwrap();
    // Past the test harness, which keeps what a test prints until it ends.
    let mut stderr = std::io::stderr();
    let _ = writeln!(
        stderr,
        "{kills} kills; to repeat: SYNCLINE_KILL_SEED={seed}"
    );
    let begun = Instant::now();

    let mut rng = Rng::with_seed(seed);
    let campaigns: Vec<(usize, Rng)> = (0..kills)
        .step_by(KILLS_PER_CAMPAIGN)
        .map(|done| (KILLS_PER_CAMPAIGN.min(kills - done), rng.fork()))
        .collect();
    let next = AtomicUsize::new(0);
    let tallies = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some((kills, rng)) = campaigns.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let tally = Campaign::new(rng.clone()).run(*kills);
                    let mut tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
                    tallies.extend(tally);
                }
            });
        }
    });

    let tallies = tallies.into_inner().unwrap();
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let acknowledged = sum(|tally| tally.acknowledged);
    let server_ahead = sum(|tally| tally.server_ahead);
    let _ = writeln!(
        stderr,
        "{kills} kills in {:?}: {acknowledged} pushes acknowledged, {server_ahead} from behind the \
         head; without an answer {} had landed and {} had not",
        begun.elapsed(),
        sum(|tally| tally.landed_unanswered),
        sum(|tally| tally.lost_unanswered),
    );
    let is_tested = acknowledged >= kills && server_ahead > 0;
    assert!(
        is_tested || kills < KILLS_PER_CAMPAIGN,
        "so few pushes that nothing was tested"
    );
}

/// One directory, and the servers that live and die on it.
struct Campaign {
    dir: tempfile::TempDir,
    syncline: Syncline,
    rng: Rng,
    stores: Vec<Store>,
    /// How long a start takes here.
    start: Duration,
}

impl Campaign {
    fn new(mut rng: Rng) -> Self {
        let mut syncline = Syncline::new("sqlite:data", Profile::Open);
        if rng.u8(..4) == 0 {
            // Every turn has a commit of its own, and every room wakes anew.
            syncline.arguments = vec!["--room-idle".to_owned(), "0s".to_owned()];
        }
        let mut campaign = Self {
            dir: tempfile::tempdir().unwrap(),
            syncline,
            rng,
            stores: Vec::new(),
            start: Duration::from_secs(1),
        };
        for _ in 0..STORES_BUSY {
            campaign.add_store();
        }
        campaign
    }

    fn run(mut self, kills: usize) -> Vec<Tally> {
        for life in 0..kills {
            // The first one creates the files.
            let kind = if life == 0 { 0 } else { self.rng.u8(..100) };
            match kind {
                0..15 => self.kill_while_it_starts(),
                15..45 => {
                    let (acknowledged, millis) = (self.rng.usize(..3), self.rng.u64(..15));
                    let (process, server) = self.serve();
                    self.load(
                        process,
                        &server,
                        acknowledged,
                        Duration::from_millis(millis),
                    );
                }
                _ => {
                    let (acknowledged, millis) = (self.rng.usize(1..80), self.rng.u64(..10));
                    let (process, server) = self.serve();
                    self.check(&server);
                    self.load(
                        process,
                        &server,
                        acknowledged,
                        Duration::from_millis(millis),
                    );
                }
            }
            if self.rng.bool() {
                self.add_store();
            }
        }
        let (mut process, server) = self.serve();
        self.check(&server);
        process.kill().unwrap();
        self.check_files();
        let clients = self.stores.iter().flat_map(|store| &store.clients);
        clients.map(|client| client.tally).collect()
    }

    fn add_store(&mut self) {
        self.stores.push(Store::new("killed", &mut self.rng));
    }

    fn serve(&mut self) -> (Process, Server) {
        let begun = Instant::now();
        let mut server = self.syncline.start_in(self.dir.path()).unwrap();
        self.start = begun.elapsed();
        (server.process.take().unwrap(), server)
    }

    fn kill_while_it_starts(&mut self) {
        // What touches files comes at the end of a start.
        let part = 0.5 + 0.7 * self.rng.f32();
        let mut command = self.syncline.command(self.dir.path()).unwrap();
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--storage", "sqlite:data"])
            .stderr(std::process::Stdio::null());
        let mut process = Process::start(command).unwrap();
        thread::sleep(self.start.mul_f32(part));
        process.kill().unwrap();
    }

    /// Lets the clients of the newest stores live with the server until it is
    /// killed: after so many acknowledgements and a while.
    fn load(
        &mut self,
        mut process: Process,
        server: &Server,
        acknowledged: usize,
        delay: Duration,
    ) {
        let life = Life::default();
        let busy = self.stores.len().saturating_sub(STORES_BUSY);
        thread::scope(|scope| {
            let clients = self.stores[busy..]
                .iter_mut()
                .flat_map(|store| &mut store.clients);
            let clients: Vec<_> = clients
                .map(|client| scope.spawn(|| client.live(server, &life)))
                .collect();
            let deadline = Instant::now() + PROGRESS_TIMEOUT;
            let mut in_time = true;
            while in_time && life.acknowledged.load(Ordering::SeqCst) < acknowledged {
                if clients.iter().any(thread::ScopedJoinHandle::is_finished) {
                    // It says why when it is joined.
                    break;
                }
                thread::sleep(Duration::from_micros(200));
                in_time = Instant::now() < deadline;
            }
            thread::sleep(delay);
            life.killed.store(true, Ordering::SeqCst);
            process.kill().unwrap();
            assert!(in_time, "no {acknowledged} pushes in {PROGRESS_TIMEOUT:?}");
        });
    }

    fn check(&mut self, server: &Server) {
        for store in &mut self.stores {
            store.check(server);
        }
    }

    /// What the files themselves say, once nobody has them open.
    fn check_files(&self) {
        let stores: usize = (0..4)
            .map(|number| check_file(&self.dir.path().join(format!("data/shard-{number}.db"))))
            .sum();
        // A store is there from its first event on.
        assert!(stores <= self.stores.len(), "{stores} stores");
    }
}

/// Returns how many stores the file holds.
fn check_file(file: &Path) -> usize {
    let connection = rusqlite::Connection::open(file).unwrap();
    let integrity: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(integrity, "ok", "{}", file.display());
    // Of each log: its first event, its last, and how many there are.
    let mut select = connection
        .prepare(
            r#"SELECT "storeId", min("seqNum"), max("seqNum"), count("id") FROM "syncline_logs"
               LEFT JOIN "syncline_events" ON "id" >> 32 = "number" GROUP BY "number""#,
        )
        .unwrap();
    let rows: Vec<(String, i64, i64, i64)> = select
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (store, first, last, count) in &rows {
        assert_eq!((*first, *last), (1, *count), "{store}");
    }
    rows.len()
}
