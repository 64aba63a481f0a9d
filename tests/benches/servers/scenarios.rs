//! What is measured. Every scenario has stores of its own, ends by count, and
//! on a server too slow for that by time: then what was done counts.

mod cold_pull;
mod idle;
mod pushes;
mod stores;
mod subscribers;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use syncline_tests::rpc::new_store;

use crate::client::Address;
use crate::descriptors;
use crate::meter::{Gauge, Measured};
use subscribers::Crowd;

/// How long a scenario may measure.
const TIME_MAX: Duration = Duration::from_secs(20);

/// How long it goes on where the server is fast: `/proc` counts in hundredths
/// of a second, so less would say little about the server's time.
pub const TIME_MIN: Duration = Duration::from_secs(3);

/// Fast servers do at most so many times what is due in [`TIME_MIN`]: logs
/// stay of comparable length.
const REPEATS_MAX: u64 = 10;

/// How long anything may take, with what comes before it is measured. It only
/// turns a hang into an error.
const HANG_TIMEOUT: Duration = Duration::from_secs(300);

/// Pushes that live subscribers see.
pub const FAN_OUT_PUSHES: u64 = 500;

/// How many clients connect at once.
const CONNECTING_MAX: usize = 64;

/// What can be measured. clap refuses every other name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Pushes of one event, one after another; and the floors below them.
    Single,
    /// Pushes of 10 events, one after another.
    #[value(name = "batch-10")]
    Batch10,
    /// Pushes of 25 events, one after another.
    #[value(name = "batch-25")]
    Batch25,
    /// Pushes of 100 events, one after another.
    #[value(name = "batch-100")]
    Batch100,
    /// A new client pulls a log of 20,000 events.
    ColdPull,
    /// A new client pulls a log of 1,000,000 events.
    #[value(name = "cold-pull-1m")]
    ColdPull1M,
    /// Ten new clients at once pull a log of 1,000,000 events, while pushes
    /// to it go on.
    #[value(name = "cold-pull-1m-x10")]
    ColdPull1MTimes10,
    /// 100 live subscribers see 500 pushes of one event.
    FanOut,
    /// As `fan-out`, half of the subscribers as clients of LiveStore's main
    /// branch, which the original does not understand.
    FanOutMixed,
    /// 1,000 live subscribers see 500 pushes of one event.
    #[value(name = "fan-out-1000")]
    FanOut1000,
    /// The same with 100 of the 1,000 that never read; at last one of them
    /// does.
    SlowConsumers,
    /// 100 stores at once: each with pushes of one event, one after another,
    /// and three subscribers.
    #[value(name = "stores-100")]
    Stores100,
    /// 10,000 connected stores that nobody uses; 100 of them wake with a
    /// push.
    #[value(name = "idle-10k")]
    Idle10K,
}

/// The server that is measured.
pub struct Target<'a> {
    /// Where it listens.
    pub address: &'a Address,
    /// What it costs.
    pub gauge: Gauge,
}

impl Scenario {
    /// Its name on the command line and in reports.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// How many clients are connected at once, at most.
    fn clients(self) -> u64 {
        match self {
            Self::Single
            | Self::Batch10
            | Self::Batch25
            | Self::Batch100
            | Self::ColdPull
            | Self::ColdPull1M => 1,
            Self::ColdPull1MTimes10 => cold_pull::READERS + 1,
            Self::FanOut | Self::FanOutMixed => Crowd::SMALL.clients(),
            Self::FanOut1000 => Crowd::LARGE.clients(),
            Self::SlowConsumers => Crowd::PARTLY_DEAF.clients(),
            Self::Stores100 => stores::CLIENTS,
            Self::Idle10K => idle::STORES,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the server does something wrong.
    pub async fn run(self, target: &Target<'_>) -> Result<Measured> {
        descriptors::ensure_clients(self.clients())?;
        let store = new_store(&format!("bench-{}", self.name()));
        let run = async {
            match self {
                Self::Single => pushes::run(target, &store, 1, 2_000).await,
                Self::Batch10 => pushes::run(target, &store, 10, 500).await,
                Self::Batch25 => pushes::run(target, &store, 25, 300).await,
                Self::Batch100 => pushes::run(target, &store, 100, 150).await,
                Self::ColdPull => cold_pull::run(target, &store, 20_000).await,
                Self::ColdPull1M => cold_pull::run(target, &store, 1_000_000).await,
                Self::ColdPull1MTimes10 => cold_pull::run_at_once(target, &store, 1_000_000).await,
                Self::FanOut => subscribers::run(target, &store, Crowd::SMALL).await,
                Self::FanOutMixed => subscribers::run(target, &store, Crowd::MIXED).await,
                Self::FanOut1000 => subscribers::run(target, &store, Crowd::LARGE).await,
                Self::SlowConsumers => subscribers::run(target, &store, Crowd::PARTLY_DEAF).await,
                Self::Stores100 => stores::run(target, &store).await,
                Self::Idle10K => idle::run(target, &store).await,
            }
        };
        tokio::time::timeout(HANG_TIMEOUT, run)
            .await
            .with_context(|| format!("not done in {HANG_TIMEOUT:?}"))?
    }
}
