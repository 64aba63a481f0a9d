//! What was measured, as JSON and, in `table.rs`, for people.

mod table;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::floors::Floor;
use crate::meter::{self, Measured, float};
use crate::scenarios::Scenario;
use crate::servers::Durability;

/// Above this share of one core, what was measured may be the generator.
const GENERATOR_SHARE_MAX: f64 = 0.8;

/// Above this share of one core, others disturb.
const OTHERS_SHARE_MAX: f64 = 0.1;

/// Everything that one run has measured.
#[derive(Default, Serialize)]
pub struct Report {
    /// Of this machine.
    pub cpus: usize,
    /// What no server can be faster than, of the scenarios that have a floor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<FloorReport>,
    /// In the order they were measured: the first is what others are compared
    /// with.
    pub servers: Vec<ServerReport>,
}

/// What was measured of a floor.
#[derive(Serialize)]
pub struct FloorReport {
    #[serde(skip)]
    kind: Floor,
    floor: &'static str,
    /// Of what.
    scenario: String,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What was measured of a server.
#[derive(Serialize)]
pub struct ServerReport {
    /// Its name, or its URL.
    pub server: String,
    durability: Durability,
    /// Why it could not be measured, or not to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// In the order they ran.
    pub scenarios: Vec<ScenarioReport>,
}

/// What became of a scenario.
#[derive(Serialize)]
pub struct ScenarioReport {
    scenario: String,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Numbers, or the reason why there are none.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Measured(Box<Numbers>),
    Failed { error: String },
}

#[derive(Serialize)]
struct Numbers {
    operation: &'static str,
    operations: u64,
    seconds: f64,
    /// Time ran out before everything was done.
    is_cut_short: bool,
    operations_per_second: f64,
    latency: Latency,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    more_latencies: Vec<Latency>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    figures: Vec<Figure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    server_cpu_seconds: Option<f64>,
    server_cpu_seconds_per_thousand: Option<f64>,
    server_memory: Option<Memory>,
    generator_cpu_seconds: Option<f64>,
    others_cpu_seconds: Option<f64>,
    /// To the first server.
    ratios: Option<Ratios>,
    /// Of the median, for single pushes.
    #[serde(skip_serializing_if = "Option::is_none")]
    above_floor_ms: Option<f64>,
}

#[derive(Serialize)]
struct Latency {
    of: &'static str,
    count: u64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

#[derive(Serialize)]
struct Figure {
    what: &'static str,
    value: f64,
    unit: &'static str,
}

#[derive(Serialize)]
struct Memory {
    idle_bytes: u64,
    before_bytes: u64,
    after_bytes: u64,
    peak_bytes: u64,
}

#[derive(Clone, Copy, Serialize)]
struct Ratios {
    operations_per_second: Option<f64>,
    p50: Option<f64>,
    server_cpu: Option<f64>,
    server_peak_memory: Option<f64>,
}

impl Latency {
    fn new(latencies: &meter::Latencies) -> Self {
        let histogram = &latencies.histogram;
        let ms = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e3;
        let quantile = |quantile: f64| ms(histogram.value_at_quantile(quantile));
        Self {
            of: latencies.of,
            count: histogram.len(),
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            max_ms: ms(histogram.max()),
        }
    }

    /// The median, if there is one.
    fn p50(&self) -> Option<f64> {
        (self.count > 0).then_some(self.p50_ms)
    }
}

impl Outcome {
    fn new(result: Result<Measured>) -> Self {
        match result {
            Ok(measured) => Self::Measured(Box::new(Numbers::new(&measured))),
            Err(error) => Self::Failed {
                error: format!("{error:#}"),
            },
        }
    }

    fn numbers(&self) -> Option<&Numbers> {
        match self {
            Self::Measured(numbers) => Some(numbers),
            Self::Failed { .. } => None,
        }
    }

    fn numbers_mut(&mut self) -> Option<&mut Numbers> {
        match self {
            Self::Measured(numbers) => Some(numbers),
            Self::Failed { .. } => None,
        }
    }
}

impl FloorReport {
    /// Of a floor that was measured, or could not be.
    pub fn new(kind: Floor, result: Result<Measured>) -> Self {
        Self {
            kind,
            floor: kind.name(),
            scenario: kind.scenario().name(),
            outcome: Outcome::new(result),
        }
    }
}

impl ServerReport {
    /// Of a server of which nothing is measured yet.
    pub fn new(server: String, durability: Durability) -> Self {
        Self {
            server,
            durability,
            error: None,
            scenarios: Vec::new(),
        }
    }

    fn outcome(&self, scenario: &str) -> Option<&Outcome> {
        self.scenarios
            .iter()
            .find(|it| it.scenario == scenario)
            .map(|it| &it.outcome)
    }
}

impl ScenarioReport {
    /// Of a scenario that has ended, one way or the other.
    pub fn new(scenario: String, result: Result<Measured>) -> Self {
        Self {
            scenario,
            outcome: Outcome::new(result),
        }
    }
}

impl Numbers {
    fn new(measured: &Measured) -> Self {
        let done = &measured.done;
        let operations = float(done.operations);
        let seconds = done.elapsed.as_secs_f64();
        let cpu = measured.server_cpu.map(|it| it.as_secs_f64());
        let figures = measured.figures.iter().map(|it| Figure {
            what: it.what,
            value: it.value,
            unit: it.unit,
        });
        Self {
            operation: done.operation,
            operations: done.operations,
            seconds,
            is_cut_short: done.is_cut_short,
            operations_per_second: operations / seconds,
            latency: Latency::new(&done.latencies),
            more_latencies: measured.more_latencies.iter().map(Latency::new).collect(),
            figures: figures.collect(),
            remarks: measured.remarks.clone(),
            server_cpu_seconds: cpu,
            server_cpu_seconds_per_thousand: cpu.map(|cpu| cpu / operations * 1e3),
            server_memory: measured.memory.map(|it| Memory {
                idle_bytes: it.idle,
                before_bytes: it.before,
                after_bytes: it.after,
                peak_bytes: it.peak,
            }),
            generator_cpu_seconds: measured.generator.map(|it| it.as_secs_f64()),
            others_cpu_seconds: measured.others.map(|it| it.as_secs_f64()),
            ratios: None,
            above_floor_ms: None,
        }
    }

    fn generator_share(&self) -> Option<f64> {
        Some(self.generator_cpu_seconds? / self.seconds)
    }

    fn others_share(&self) -> Option<f64> {
        Some(self.others_cpu_seconds? / self.seconds)
    }

    fn is_limited_by_generator(&self) -> bool {
        self.generator_share()
            .is_some_and(|share| share > GENERATOR_SHARE_MAX)
    }

    fn is_disturbed(&self) -> bool {
        self.others_share()
            .is_some_and(|share| share > OTHERS_SHARE_MAX)
    }

    fn ratios_to(&self, first: &Self) -> Ratios {
        let ratio = |of: fn(&Self) -> Option<f64>| {
            let ratio = of(self)? / of(first)?;
            ratio.is_finite().then_some(ratio)
        };
        Ratios {
            operations_per_second: ratio(|it| Some(it.operations_per_second)),
            p50: ratio(|it| it.latency.p50()),
            server_cpu: ratio(|it| it.server_cpu_seconds_per_thousand),
            server_peak_memory: ratio(|it| Some(float(it.server_memory.as_ref()?.peak_bytes))),
        }
    }
}

impl Report {
    /// Compares servers with the first, and single pushes with their floor,
    /// once all are measured.
    pub fn compare(&mut self) {
        let single = Scenario::Single.name();
        let floor = |kind| {
            let floor = self.floors.iter().find(|it| it.kind == kind)?;
            floor.outcome.numbers()?.latency.p50()
        };
        let (echo, commit_and_echo) = (floor(Floor::Echo), floor(Floor::CommitAndEcho));
        let Some((first, others)) = self.servers.split_first_mut() else {
            return;
        };
        for server in others.iter_mut() {
            for ScenarioReport { scenario, outcome } in &mut server.scenarios {
                if let Some(numbers) = outcome.numbers_mut()
                    && let Some(first) = first.outcome(scenario).and_then(Outcome::numbers)
                {
                    numbers.ratios = Some(numbers.ratios_to(first));
                }
            }
        }
        for server in &mut self.servers {
            let floor = match server.durability {
                Durability::Disk => commit_and_echo,
                Durability::OperatingSystem | Durability::None => echo,
                Durability::Unknown => None,
            };
            let single = server.scenarios.iter_mut().find(|it| it.scenario == single);
            if let Some(numbers) = single.and_then(|it| it.outcome.numbers_mut()) {
                numbers.above_floor_ms = numbers
                    .latency
                    .p50()
                    .zip(floor)
                    .map(|(it, floor)| it - floor);
            }
        }
    }

    /// Whether anything that was asked for could not be measured.
    pub fn has_failures(&self) -> bool {
        let floors = self.floors.iter().map(|it| &it.outcome);
        let scenarios = self.servers.iter().flat_map(|it| &it.scenarios);
        self.servers.iter().any(|it| it.error.is_some())
            || floors
                .chain(scenarios.map(|it| &it.outcome))
                .any(|it| it.numbers().is_none())
    }

    /// Writes it as JSON; `-` is stdout.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        if file == Path::new("-") {
            print!("{text}");
            return Ok(());
        }
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        // Cargo runs benches in their package's folder, which surprises.
        eprintln!("JSON is in {}", std::path::absolute(file)?.display());
        Ok(())
    }
}
