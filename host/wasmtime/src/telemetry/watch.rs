//! Whether the server does what it is there for: its shards turn, input comes
//! in, pushes become durable. `/readyz` says no while it does not, and the log
//! says why.

use std::sync::{Arc, Mutex, PoisonError};
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

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the shard of this number.
    fn complaint(&self, number: usize, stuck_after: Duration) -> Option<String> {
        let state = self.lock();
        let still = state.beat.elapsed();
        if still >= stuck_after {
            return Some(format!(
                "shard {number} has not turned for {} s: its stores' clients wait. If this lasts, look what the process waits for (a disk that hangs?), and restart it",
                still.as_secs()
            ));
        }
        let trouble = state.trouble.as_ref()?;
        Some(format!("pushes are refused: {trouble}"))
    }
}

/// The watch over a server.
pub struct Watch {
    pulses: Vec<Arc<Pulse>>,
    intakes: Vec<(&'static str, Arc<Intake>)>,
    complaint: Mutex<Option<String>>,
}

impl Watch {
    /// A watch over these shards, and this input by its name.
    #[must_use]
    pub fn new(pulses: &[Arc<Pulse>], intakes: Vec<(&'static str, Arc<Intake>)>) -> Self {
        Self {
            pulses: pulses.to_vec(),
            intakes,
            complaint: Mutex::default(),
        }
    }

    /// Why the server is not ready, if it is not.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        self.complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks for as long as it is polled, and tells the log what changes.
    pub async fn keep(&self) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            self.look(STUCK_AFTER);
        }
    }

    fn look(&self, stuck_after: Duration) {
        let shards = self.pulses.iter().enumerate();
        let of_shards = shards
            .filter_map(|(number, pulse)| pulse.complaint(number, stuck_after))
            .next();
        let complaint = of_shards.or_else(|| {
            let starved = self.intakes.iter().find(|(_, intake)| intake.is_starved());
            starved.map(|(name, _)| {
                format!("{name} have waited for memory for too long: clients hold all that there is for them (--input-bytes-max), or turns do not end")
            })
        });
        let mut last = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (&*last, &complaint) {
            (None, Some(words)) => error!(event = "not_ready", "not ready: {words}"),
            (Some(_), None) => info!(event = "ready", "ready again"),
            _ => {}
        }
        *last = complaint;
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
}
