//! The queries of `ops/`, and which metrics and labels they name. As much of
//! PromQL as is needed for that: whether a query is one, Prometheus says.

use std::collections::BTreeSet;

use serde_json::Value;

/// What Grafana puts in the place of its variables.
const VARIABLES: [(&str, &str); 2] = [("$__rate_interval", "1m"), ("$instance", ".+")];

/// What stands where metrics do, and is none.
const KEYWORDS: [&str; 9] = [
    "and", "bool", "by", "ignoring", "offset", "on", "or", "unless", "without",
];

/// What is followed by labels in brackets.
const GROUPINGS: [&str; 4] = ["by", "ignoring", "on", "without"];

/// A query, and what it names.
#[derive(Debug, Clone)]
pub struct Query {
    /// Where it stands.
    pub of: String,
    /// As Prometheus gets it.
    pub text: String,
    /// The series that it looks at: a metric with its matchers.
    pub selectors: BTreeSet<String>,
    /// Its metrics.
    pub metrics: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeSet<String>,
}

impl Query {
    /// Reads a query.
    #[must_use]
    pub fn new(of: &str, text: &str) -> Self {
        let text = VARIABLES
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(name, value)
            });
        let mut query = Self {
            of: of.to_owned(),
            selectors: BTreeSet::new(),
            metrics: BTreeSet::new(),
            labels: BTreeSet::new(),
            text: text.clone(),
        };
        query.read(&text);
        query
    }

    /// Looks whether it names labels that its metrics don't have.
    ///
    /// # Panics
    /// When it does: with which, and where it stands.
    pub fn has_no_labels_but(&self, known: &BTreeSet<String>) {
        let unknown: Vec<_> = self.labels.difference(known).collect();
        assert!(
            unknown.is_empty(),
            "{}: {unknown:?}: {}",
            self.of,
            self.text
        );
    }

    fn read(&mut self, mut rest: &str) {
        while let Some(first) = rest.chars().next() {
            if first.is_ascii_digit() || first == '[' {
                let end = rest.find(|it: char| !it.is_ascii_alphanumeric() && !"[].:".contains(it));
                rest = &rest[end.unwrap_or(rest.len())..];
            } else if is_of_name(first) {
                let end = rest.find(|it| !is_of_name(it)).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                let inside = after.trim_start();
                rest = after;
                if GROUPINGS.contains(&name) {
                    let (labels, after) = inside.split_once(')').unwrap_or((inside, ""));
                    let labels = labels.trim_start_matches('(').split(',').map(str::trim);
                    self.labels.extend(labels.map(str::to_owned));
                    rest = after;
                } else if !KEYWORDS.contains(&name) && !is_called(inside) {
                    let (matchers, after) = matchers(after);
                    self.metrics.insert(name.to_owned());
                    self.selectors.insert(format!("{name}{matchers}"));
                    self.labels.extend(labels(matchers));
                    rest = after;
                }
            } else {
                rest = &rest[first.len_utf8()..];
            }
        }
    }
}

/// Whether what stands before this is a function.
fn is_called(after: &str) -> bool {
    let mut begins = ["(", "by (", "without ("].iter();
    begins.any(|begin| after.starts_with(begin))
}

fn is_of_name(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_' || it == ':'
}

/// A text's part in braces, if it begins with one, and what follows.
fn matchers(text: &str) -> (&str, &str) {
    if !text.starts_with('{') {
        return ("", text);
    }
    let mut is_quoted = false;
    let end = text.find(|it| {
        is_quoted ^= it == '"';
        it == '}' && !is_quoted
    });
    text.split_at(end.map_or(text.len(), |end| end + 1))
}

/// The labels in braces.
fn labels(matchers: &str) -> BTreeSet<String> {
    // What is quoted is no label, whatever it has.
    let outside: String = matchers.split('"').step_by(2).collect();
    let names = outside
        .trim_matches(['{', '}'])
        .split(',')
        .filter_map(|it| it.split(['=', '!', '~']).next());
    names
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The queries of a dashboard, by its panels.
///
/// # Panics
/// When it is no dashboard.
#[must_use]
pub fn of_dashboard(text: &str) -> Vec<Query> {
    let dashboard: Value = serde_json::from_str(text).expect("a dashboard");
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(Query::new(title, target["expr"].as_str().expect("a query")));
        }
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let values = variable["query"]["query"].as_str().unwrap_or_default();
        if let Some(inside) = values.strip_prefix("label_values(") {
            let (metric, label) = inside.trim_end_matches(')').split_once(',').expect("both");
            let text = format!("count by ({}) ({metric})", label.trim());
            queries.push(Query::new("a variable", &text));
        }
    }
    queries
}

/// The queries of a file of rules, by its alerts, and the names of these.
///
/// # Panics
/// When it has another form than ours.
#[must_use]
pub fn of_rules(text: &str) -> Vec<Query> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut queries = Vec::new();
    let mut alert = "";
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let inside = line.trim_start().trim_start_matches("- ");
        if let Some(name) = inside.strip_prefix("alert: ") {
            alert = name.trim();
        }
        let Some(first) = inside.strip_prefix("expr: ") else {
            continue;
        };
        let mut query = first.trim().to_owned();
        if query == ">-" {
            query.clear();
            while let Some(more) = lines.next_if(|more| indent(more) > indent(line)) {
                query.push_str(more.trim());
                query.push(' ');
            }
        }
        queries.push(Query::new(alert, query.trim()));
    }
    queries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_and_labels_are_told_from_all_else() {
        let query = Query::new(
            "",
            "sum by (a, le) (rate(m_bucket{b=~\"x{,}\",c!=\"y\"}[$__rate_interval])) * 60 > 0.2 * (n + 1e9) and on (d) o",
        );
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        assert_eq!(list(&query.metrics), ["m_bucket", "n", "o"]);
        assert_eq!(list(&query.labels), ["a", "b", "c", "d", "le"]);
        let first = "m_bucket{b=~\"x{,}\",c!=\"y\"}";
        assert_eq!(list(&query.selectors), [first, "n", "o"]);
    }
}
