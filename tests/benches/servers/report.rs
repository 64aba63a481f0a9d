//! Results as a table for people and as JSON for everything else.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::scenarios::{Measured, Scenario};

/// Above this share of one core, what was measured may be the generator.
const GENERATOR_SHARE_MAX: f64 = 0.8;

/// Above this share of one core, others disturb.
const OTHERS_SHARE_MAX: f64 = 0.1;

/// Everything that one run has measured.
#[derive(Default, Serialize)]
pub struct Report {
    /// Of this machine.
    pub cpus: usize,
    /// In the order they were measured: the first is what others are compared
    /// with.
    pub servers: Vec<ServerReport>,
}

/// What was measured of a server.
#[derive(Serialize)]
pub struct ServerReport {
    /// Its name, or its URL.
    pub server: String,
    /// Why it could not be measured at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// In the order they ran.
    pub scenarios: Vec<ScenarioReport>,
}

/// What became of a scenario.
#[derive(Serialize)]
pub struct ScenarioReport {
    /// Its name.
    pub scenario: String,
    /// What was measured, or why nothing was.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Numbers, or the reason why there are none.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Numbers.
    Measured(Box<Numbers>),
    /// The reason.
    Failed {
        /// For people.
        error: String,
    },
}

/// The numbers of a scenario.
#[derive(Serialize)]
pub struct Numbers {
    operation: &'static str,
    operations: u64,
    seconds: f64,
    /// Time ran out before everything was done.
    is_cut_short: bool,
    operations_per_second: f64,
    latency: Latency,
    server_cpu_seconds: Option<f64>,
    server_cpu_seconds_per_thousand: Option<f64>,
    server_resident_bytes: Option<u64>,
    generator_cpu_seconds: Option<f64>,
    others_cpu_seconds: Option<f64>,
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

impl Latency {
    fn new(of: &'static str, histogram: &Histogram<u64>) -> Self {
        let ms = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e3;
        let quantile = |quantile: f64| ms(histogram.value_at_quantile(quantile));
        Self {
            of,
            count: histogram.len(),
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            max_ms: ms(histogram.max()),
        }
    }
}

/// Exact for every count there is here: far below 2^53.
fn float(count: u64) -> f64 {
    count as f64
}

impl ScenarioReport {
    /// Of a scenario that has ended, one way or the other.
    pub fn new(scenario: Scenario, result: Result<Measured>) -> Self {
        let outcome = match result {
            Ok(measured) => Outcome::Measured(Box::new(Numbers::new(scenario, &measured))),
            Err(error) => Outcome::Failed {
                error: format!("{error:#}"),
            },
        };
        Self {
            scenario: scenario.name(),
            outcome,
        }
    }
}

impl Numbers {
    fn new(scenario: Scenario, measured: &Measured) -> Self {
        let operations = float(measured.operations);
        let seconds = measured.elapsed.as_secs_f64();
        let cpu = measured.server.map(|usage| usage.cpu.as_secs_f64());
        Self {
            operation: scenario.operation(),
            operations: measured.operations,
            seconds,
            is_cut_short: measured.is_cut_short,
            operations_per_second: operations / seconds,
            latency: Latency::new(scenario.latency(), &measured.latencies),
            server_cpu_seconds: cpu,
            server_cpu_seconds_per_thousand: cpu.map(|cpu| cpu / operations * 1e3),
            server_resident_bytes: measured.server.map(|usage| usage.resident_bytes),
            generator_cpu_seconds: measured.generator.map(|it| it.as_secs_f64()),
            others_cpu_seconds: measured.others.map(|it| it.as_secs_f64()),
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
}

impl Report {
    /// Whether anything that was asked for could not be measured.
    pub fn has_failures(&self) -> bool {
        self.servers.iter().any(|server| {
            server.error.is_some()
                || server
                    .scenarios
                    .iter()
                    .any(|it| matches!(it.outcome, Outcome::Failed { .. }))
        })
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

    /// The table: a scenario's servers below each other.
    pub fn table(&self, scenarios: &[Scenario]) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
            "scenario",
            "server",
            "operations",
            "per second",
            "ratio",
            "p50 ms",
            "p99 ms",
            "CPU s/1000",
            "ratio",
            "RSS MiB",
            "generator",
            "others",
        ]);
        for scenario in scenarios {
            let first = self
                .servers
                .first()
                .and_then(|it| it.outcome(*scenario))
                .and_then(Outcome::numbers);
            for server in &self.servers {
                let mut row = vec![scenario.name(), server.server.clone()];
                match server.outcome(*scenario) {
                    Some(Outcome::Measured(numbers)) => row.extend(numbers.cells(first)),
                    Some(Outcome::Failed { .. }) => row.push("failed".to_owned()),
                    None => row.push("not run".to_owned()),
                }
                table.add_row(row);
            }
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{table}\n{}", self.notes())
    }

    fn notes(&self) -> String {
        let mut notes = vec![
            "Ratios are to the first server. CPU s/1000: seconds of the server's processes for a \
             thousand operations. Generator and others: what the bench itself and everyone else used \
             of a core."
                .to_owned(),
            "*: time ran out before everything was done.".to_owned(),
        ];
        let (mut measured, mut disturbed) = (0, 0);
        for server in &self.servers {
            let name = &server.server;
            if let Some(error) = &server.error {
                notes.push(format!("{name}: {error}"));
            }
            for ScenarioReport { scenario, outcome } in &server.scenarios {
                match outcome {
                    Outcome::Failed { error } => {
                        notes.push(format!("{name}, {scenario}: {error}"));
                    }
                    Outcome::Measured(numbers) => {
                        measured += 1;
                        disturbed += usize::from(numbers.is_disturbed());
                        if numbers.is_limited_by_generator() {
                            notes.push(format!(
                                "{name}, {scenario}: the generator was busy most of the time: the \
                                 server may be faster."
                            ));
                        }
                    }
                }
            }
        }
        if disturbed > 0 {
            notes.push(format!(
                "Other processes were busy in {disturbed} of {measured} measurements (column \
                 others): there only the CPU times say anything."
            ));
        }
        notes.join("\n")
    }
}

impl ServerReport {
    fn outcome(&self, scenario: Scenario) -> Option<&Outcome> {
        self.scenarios
            .iter()
            .find(|it| it.scenario == scenario.name())
            .map(|it| &it.outcome)
    }
}

impl Outcome {
    fn numbers(&self) -> Option<&Numbers> {
        match self {
            Self::Measured(numbers) => Some(numbers),
            Self::Failed { .. } => None,
        }
    }
}

impl Numbers {
    /// What stands in the table from the count on.
    fn cells(&self, first: Option<&Self>) -> Vec<String> {
        let ratio = |of: fn(&Self) -> Option<f64>| {
            let ratio = of(self)? / of(first?)?;
            ratio.is_finite().then(|| format!("{ratio:.3}×"))
        };
        let latency = |ms: f64| (self.latency.count > 0).then(|| format!("{ms:.2}"));
        let share = |share: Option<f64>| share.map(|it| format!("{:.0} %", it * 100.0));
        let mark = if self.is_cut_short { "*" } else { "" };
        let resident = self.server_resident_bytes;
        [
            Some(format!("{} {}{mark}", self.operations, self.operation)),
            Some(format!("{:.0}", self.operations_per_second)),
            ratio(|it| Some(it.operations_per_second)),
            latency(self.latency.p50_ms),
            latency(self.latency.p99_ms),
            self.server_cpu_seconds_per_thousand
                .map(|cpu| format!("{cpu:.4}")),
            ratio(|it| it.server_cpu_seconds_per_thousand),
            resident.map(|bytes| format!("{:.0}", float(bytes) / f64::from(1 << 20))),
            share(self.generator_share()),
            share(self.others_share()),
        ]
        .map(|cell| cell.unwrap_or_else(|| "–".to_owned()))
        .to_vec()
    }
}
