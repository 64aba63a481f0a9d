//! Whether the server does what it is there for: its shards turn, input comes
//! in, pushes become durable. `/readyz` says no while it does not, and the log
//! says why.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::interval;
use tracing::{error, info};

use crate::flow::intake::Intake;
use crate::process::patience::Moment;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// From when on a shard counts as stuck: the longest turn, and the longest
/// wait for a lock on its file, are over by then.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What a shard tells of itself.
pub struct Pulse(Mutex<State>);

struct State {
    beat: Moment,
    trouble: Option<String>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self(Mutex::new(State {
            beat: Moment::now(),
            trouble: None,
        }))
    }
}

impl Pulse {
    /// The shard looks for turns.
    pub fn beat(&self) {
        self.lock().beat = Moment::now();
    }

    /// How long it has not looked for turns.
    #[must_use]
    pub fn still(&self) -> Duration {
        self.lock().beat.elapsed()
    }

    /// Why its pushes are refused, if they are.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the shard of this number.
    fn complaints(&self, number: usize, stuck_after: Duration) -> Vec<Complaint> {
        let state = self.lock();
        let still = state.beat.elapsed();
        let is_stuck = still >= stuck_after;
        let stuck = is_stuck.then(|| Complaint {
            about: About::Shard(number),
            words: format!(
                "shard {number} has not turned for {} s: its stores' clients wait. If this lasts, look what the process waits for (a disk that hangs?), and restart it",
                still.as_secs()
            ),
        });
        let refuses = state.trouble.as_ref().map(|trouble| Complaint {
            about: About::Commits,
            words: format!("pushes are refused: {trouble}"),
        });
        stuck.into_iter().chain(refuses).collect()
    }
}

/// What can be wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// This shard does not turn.
    Shard(usize),
    /// Commits fail.
    Commits,
    /// This input waits.
    Input(&'static str),
}

/// Something is wrong.
struct Complaint {
    about: About,
    words: String,
}

/// The watch over a server.
pub struct Watch {
    pulses: Vec<Arc<Pulse>>,
    intakes: Vec<(&'static str, Arc<Intake>)>,
    complaints: Mutex<Vec<Complaint>>,
}

impl Watch {
    /// A watch over these shards, and this input by its name.
    #[must_use]
    pub fn new(pulses: &[Arc<Pulse>], intakes: Vec<(&'static str, Arc<Intake>)>) -> Self {
        Self {
            pulses: pulses.to_vec(),
            intakes,
            complaints: Mutex::default(),
        }
    }

    /// Why the server is not ready, if it is not: a line for each reason.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let complaints = self.lock();
        let lines: Vec<_> = complaints.iter().map(|it| it.words.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Complaint>> {
        self.complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for as long as it is polled, and tells the log what changes.
    pub async fn keep(&self) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            self.look(STUCK_AFTER);
        }
    }

    /// Looks. A reason is told when it begins, not while it lasts.
    fn look(&self, stuck_after: Duration) {
        let mut found: Vec<Complaint> = Vec::new();
        let shards = self.pulses.iter().enumerate();
        let of_shards = shards.flat_map(|(number, pulse)| pulse.complaints(number, stuck_after));
        let starved = self
            .intakes
            .iter()
            .filter(|(_, intake)| intake.is_starved());
        let of_input = starved.map(|(name, _)| Complaint {
            about: About::Input(name),
            words: format!("{name} have waited for memory for too long: clients hold all that there is for them (--input-bytes-max), or turns do not end"),
        });
        for complaint in of_shards.chain(of_input) {
            // One disk is all shards': its first file stands for it.
            if !found.iter().any(|it| it.about == complaint.about) {
                found.push(complaint);
            }
        }
        let mut last = self.lock();
        for Complaint { about, words } in &found {
            if !last.iter().any(|it| it.about == *about) {
                error!(event = "not_ready", "not ready: {words}");
            }
        }
        if found.is_empty() && !last.is_empty() {
            info!(event = "ready", "ready again");
        }
        *last = found;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_complains_of_what_is_wrong_and_only_then() {
        let pulse = Arc::new(Pulse::default());
        let watch = Watch::new(&[Arc::clone(&pulse)], Vec::new());
        watch.look(STUCK_AFTER);
        assert_eq!(watch.complaint(), None);
        pulse.set_trouble(Some("shard-0.db: the disk is full".to_owned()));
        watch.look(STUCK_AFTER);
        assert!(watch.complaint().unwrap().contains("the disk is full"));
        pulse.set_trouble(None);
        watch.look(STUCK_AFTER);
        assert_eq!(watch.complaint(), None);
        watch.look(Duration::ZERO);
        assert!(watch.complaint().unwrap().contains("shard 0"));
        pulse.beat();
        watch.look(STUCK_AFTER);
        assert_eq!(watch.complaint(), None);
    }

    #[test]
    fn it_says_all_that_is_wrong_and_a_disk_once() {
        let pulses = [(); 2].map(|()| Arc::new(Pulse::default()));
        let watch = Watch::new(&pulses, Vec::new());
        for (number, pulse) in pulses.iter().enumerate() {
            pulse.set_trouble(Some(format!("shard-{number}.db: the disk is full")));
        }
        watch.look(Duration::ZERO);
        let words = watch.complaint().unwrap();
        let lines: Vec<_> = words.lines().collect();
        assert_eq!(lines.len(), 3, "{words}");
        for (line, part) in lines.iter().zip(["shard 0", "shard-0.db", "shard 1"]) {
            assert!(line.contains(part), "{words}");
        }
    }
}
