//! `observability.md`, as tests read it: the names that its tables have.

use std::collections::{BTreeMap, BTreeSet};

/// What the document says.
#[derive(Debug, Default)]
pub struct Vocabulary {
    /// All that stands in it as code, wherever.
    pub words: BTreeSet<String>,
    /// The names that each kind of table has in its first column: `metric`,
    /// `span`, `attribute`, `event`, `field`.
    pub tables: BTreeMap<String, BTreeSet<String>>,
    /// The metrics that Prometheus is served.
    pub metrics: Vec<Metric>,
    /// The fields of each event's lines.
    pub fields: BTreeMap<String, BTreeSet<String>>,
}

/// A metric.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Its name in Prometheus.
    pub prometheus: String,
    /// `counter`, `gauge`, … as OpenTelemetry has it.
    pub kind: String,
    /// Its attributes.
    pub attributes: BTreeSet<String>,
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// A table's row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inside = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inside.split('|').map(str::trim).collect())
}

impl Vocabulary {
    /// Reads a document.
    #[must_use]
    pub fn read(document: &str) -> Self {
        let mut read = Self::default();
        let mut head: Option<Vec<&str>> = None;
        for line in document.lines() {
            read.words.extend(code(line));
            let Some(cells) = cells(line) else {
                head = None;
                continue;
            };
            let Some(columns) = &head else {
                head = Some(cells);
                continue;
            };
            let names: BTreeSet<String> =
                cells.first().into_iter().flat_map(|it| code(it)).collect();
            let column = |name: &str| {
                let at = columns.iter().position(|it| *it == name)?;
                cells.get(at).copied()
            };
            if let Some(prometheus) = column("Prometheus").and_then(|it| code(it).next()) {
                let kind = column("kind, unit").unwrap_or_default();
                let attributes = column("attributes").unwrap_or_default();
                read.metrics.push(Metric {
                    prometheus,
                    kind: kind.split(',').next().unwrap_or_default().to_owned(),
                    attributes: code(attributes).collect(),
                });
            }
            if let Some(fields) = column("fields") {
                for name in &names {
                    let of_event = read.fields.entry(name.clone()).or_default();
                    of_event.extend(code(fields));
                }
            }
            let table = columns.first().copied().unwrap_or_default();
            let of_table = read.tables.entry(table.to_owned()).or_default();
            of_table.extend(names);
        }
        read
    }

    /// The first column of the tables of this kind.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn table(&self, kind: &str) -> &BTreeSet<String> {
        let found = self.tables.get(kind).filter(|names| !names.is_empty());
        found.unwrap_or_else(|| panic!("observability.md has no table of {kind}s"))
    }
}
