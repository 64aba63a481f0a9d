//! The tables for people: what every scenario has, then what only some have,
//! then what has to be known to read them.

use comfy_table::{CellAlignment, Table, presets};

use super::{Figure, Latency, Numbers, Outcome, Report, ScenarioReport};
use crate::meter::mebibytes;
use crate::scenarios::Scenario;
use crate::servers::Durability;

impl Report {
    /// Both tables: a scenario's servers below each other; and the notes.
    pub fn table(&self, scenarios: &[Scenario]) -> String {
        let tables = [
            self.numbers(scenarios),
            self.details(scenarios),
            self.notes(),
        ];
        let tables: Vec<String> = tables.into_iter().filter(|it| !it.is_empty()).collect();
        tables.join("\n")
    }

    fn numbers(&self, scenarios: &[Scenario]) -> String {
        let mut table = table(&[
            "scenario",
            "server",
            "operations",
            "per second",
            "ratio",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "CPU s/1000",
            "ratio",
            "RSS MiB",
            "peak MiB",
            "generator",
            "others",
        ]);
        let mut add = |scenario: &str, server: &str, outcome: Option<&Outcome>| {
            let mut row = vec![scenario.to_owned(), server.to_owned()];
            match outcome {
                Some(Outcome::Measured(numbers)) => row.extend(numbers.cells()),
                Some(Outcome::Failed { .. }) => row.push("failed".to_owned()),
                None => row.push("not run".to_owned()),
            }
            table.add_row(row);
        };
        for scenario in scenarios.iter().map(|it| it.name()) {
            for floor in self.floors.iter().filter(|it| it.scenario == scenario) {
                add(&scenario, floor.floor, Some(&floor.outcome));
            }
            for server in &self.servers {
                add(&scenario, &server.server, server.outcome(&scenario));
            }
        }
        align(&mut table, 2);
        table.to_string()
    }

    fn details(&self, scenarios: &[Scenario]) -> String {
        let mut table = table(&["scenario", "server", "what", "value"]);
        for scenario in scenarios.iter().map(|it| it.name()) {
            for server in &self.servers {
                let outcome = server.outcome(&scenario);
                for (what, value) in outcome
                    .and_then(Outcome::numbers)
                    .map(Numbers::details)
                    .unwrap_or_default()
                {
                    table.add_row([&scenario, &server.server, &what, &value]);
                }
            }
        }
        if table.is_empty() {
            return String::new();
        }
        align(&mut table, 3);
        table.to_string()
    }

    fn notes(&self) -> String {
        let mut notes = vec![
            "Ratios are to the first server. CPU s/1000: seconds of the server's processes for a \
             thousand operations. RSS: their memory afterwards; peak: the most meanwhile. \
             Generator and others: what the bench itself and everyone else used of a core."
                .to_owned(),
            "*: time ran out before everything was done.".to_owned(),
        ];
        let (mut measured, mut disturbed) = (0, 0);
        let mut note = |name: &str, scenario: &str, outcome: &Outcome| match outcome {
            Outcome::Failed { error } => Some(format!("{name}, {scenario}: {error}")),
            Outcome::Measured(numbers) => {
                measured += 1;
                disturbed += usize::from(numbers.is_disturbed());
                numbers.is_limited_by_generator().then(|| {
                    format!(
                        "{name}, {scenario}: the generator was busy most of the time: what it \
                         measured may be faster."
                    )
                })
            }
        };
        for floor in &self.floors {
            notes.extend(note(floor.floor, &floor.scenario, &floor.outcome));
        }
        for server in &self.servers {
            let name = &server.server;
            notes.push(format!(
                "{name}: what is acknowledged is {}.",
                server.durability.words()
            ));
            if let Some(error) = &server.error {
                notes.push(format!("{name}: {error}"));
            }
            for ScenarioReport { scenario, outcome } in &server.scenarios {
                notes.extend(note(name, scenario, outcome));
                for remark in outcome.numbers().into_iter().flat_map(|it| &it.remarks) {
                    notes.push(format!("{name}, {scenario}: {remark}."));
                }
                if let Some(above) = outcome.numbers().and_then(|it| it.above_floor_ms) {
                    notes.push(format!(
                        "{name}, {scenario}: the median is {:.0} µs above that of {}.",
                        above * 1e3,
                        server.durability.floor_words()
                    ));
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

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header(header);
    table
}

/// Numbers to the right.
fn align(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

impl Numbers {
    /// What stands in the table from the count on.
    fn cells(&self) -> Vec<String> {
        let ratio = |ratio: Option<f64>| ratio.map(|it| format!("{it:.3}×"));
        let latency = |ms: f64| (self.latency.count > 0).then(|| format!("{ms:.2}"));
        let share = |share: Option<f64>| share.map(|it| format!("{:.0} %", it * 100.0));
        let memory = |bytes: Option<u64>| bytes.map(|it| format!("{:.0}", mebibytes(it)));
        let mark = if self.is_cut_short { "*" } else { "" };
        let ratios = self.ratios.as_ref();
        let resident = self.server_memory.as_ref();
        [
            Some(format!("{} {}{mark}", self.operations, self.operation)),
            Some(format!("{:.0}", self.operations_per_second)),
            ratio(ratios.and_then(|it| it.operations_per_second)),
            latency(self.latency.p50_ms),
            latency(self.latency.p90_ms),
            latency(self.latency.p99_ms),
            latency(self.latency.max_ms),
            self.server_cpu_seconds_per_thousand
                .map(|cpu| format!("{cpu:.4}")),
            ratio(ratios.and_then(|it| it.server_cpu)),
            memory(resident.map(|it| it.after_bytes)),
            memory(resident.map(|it| it.peak_bytes)),
            share(self.generator_share()),
            share(self.others_share()),
        ]
        .map(|cell| cell.unwrap_or_else(|| "–".to_owned()))
        .to_vec()
    }

    /// What only this scenario has.
    fn details(&self) -> Vec<(String, String)> {
        let latencies = self.more_latencies.iter().map(Latency::detail);
        latencies
            .chain(self.figures.iter().map(Figure::detail))
            .collect()
    }
}

impl Latency {
    fn detail(&self) -> (String, String) {
        let value = format!(
            "p50 {:.2}, p90 {:.2}, p99 {:.2}, max {:.2} ms",
            self.p50_ms, self.p90_ms, self.p99_ms, self.max_ms
        );
        (self.of.to_owned(), value)
    }
}

impl Figure {
    fn detail(&self) -> (String, String) {
        let Self { what, value, unit } = self;
        let value = if value.abs() < 100.0 && value.fract() != 0.0 {
            format!("{value:.2} {unit}")
        } else {
            format!("{value:.0} {unit}")
        };
        ((*what).to_owned(), value.trim_end().to_owned())
    }
}

impl Durability {
    fn floor_words(self) -> &'static str {
        match self {
            Self::Disk => "a commit and an echo",
            Self::OperatingSystem | Self::None | Self::Unknown => "an echo",
        }
    }
}
