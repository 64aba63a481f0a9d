//! Code, `observability.md` and `ops/` name the same things: whatever one of
//! them has, the others have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use syncline_tests::promql::{self, Query};
use syncline_tests::vocabulary::Vocabulary;

use crate::{files, has_extension, root};

/// Labels that Prometheus itself has, or a histogram.
const LABELS: [&str; 5] = ["alertname", "alertstate", "instance", "job", "le"];

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn document() -> Vocabulary {
    Vocabulary::read(&read("observability.md"))
}

/// The hosts' sources, without the tests in them.
fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    for path in files() {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        let is_source = name.starts_with("host/") && name.contains("/src/");
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
        if is_source && !is_test && has_extension(&path, &["rs", "ts"]) {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            sources.insert(name.to_owned(), code.to_owned());
        }
    }
    assert!(sources.len() > 50, "only {} sources", sources.len());
    sources
}

/// What follows each of these in a text, up to a quote.
fn after<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    let rests = text.split(begin).skip(1);
    rests.map(|rest| rest.split(['"', '\'']).next().unwrap_or_default())
}

/// Quoted names with dots in them.
fn dotted(text: &str) -> BTreeSet<&str> {
    let is_name = |it: &&str| {
        let mut parts = it.split('.');
        let is_part = |part: &str| {
            !part.is_empty() && part.chars().all(|it| it.is_ascii_lowercase() || it == '_')
        };
        it.contains('.') && parts.all(is_part)
    };
    text.split(['"', '\'']).filter(is_name).collect()
}

/// The events of a source, with the fields of their lines where it is Rust.
fn events(name: &str, code: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    for rest in code.split("event = \"").skip(1) {
        let (event, rest) = rest.split_once('"').unwrap();
        found.push((event.to_owned(), fields(rest)));
    }
    if name.ends_with(".ts") {
        let mut plain = BTreeSet::new();
        for level in ["error", "warn", "info", "debug"] {
            plain.extend(after(code, &format!("write('{level}', '")).map(str::to_owned));
        }
        plain.extend(after(code, "write(level, '").map(str::to_owned));
        for begin in ["event: '", "event: \""] {
            plain.extend(after(code, begin).map(str::to_owned));
        }
        found.extend(plain.into_iter().map(|event| (event, BTreeSet::new())));
    }
    found
}

/// The fields of a line, from what follows its event to the message.
fn fields(rest: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    for it in rest.chars() {
        is_quoted ^= it == '"';
        match it {
            _ if is_quoted => {}
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
        parts.last_mut().unwrap().push(it);
    }
    let names = parts.iter().filter_map(|part| {
        let name = part.split('=').next()?.trim();
        let is_name = |it: char| it.is_ascii_lowercase() || it == '_';
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    });
    names.collect()
}

/// Names of spans that stand as they are where spans are made.
fn spans(name: &str, code: &str) -> BTreeSet<String> {
    let begin = if name.ends_with(".ts") {
        "name: '"
    } else {
        "from_name(\""
    };
    after(code, begin).map(str::to_owned).collect()
}

#[test]
fn what_the_code_tells_the_document_explains() {
    let document = document();
    let (mut seen, mut unexplained) = (0, Vec::new());
    for (name, code) in &sources() {
        let is_telemetry = name.contains("/telemetry/");
        let mut words: BTreeSet<String> = BTreeSet::new();
        for begin in ["KeyValue::new(\"", ".add('"] {
            let named = after(code, begin).filter(|it| it.contains('.'));
            words.extend(named.map(str::to_owned));
        }
        if is_telemetry {
            words.extend(dotted(code).into_iter().map(str::to_owned));
            words.extend(spans(name, code));
            // What an attribute may be.
            words.extend(after(code, "=> \"").map(str::to_owned));
        }
        for word in words {
            let is_number = word.parse::<u16>().is_ok();
            if !is_number && !document.words.contains(&word) {
                unexplained.push(format!("{name}: {word}"));
            }
            seen += 1;
        }
        for (event, fields) in events(name, code) {
            seen += 1;
            let Some(known) = document.fields.get(&event) else {
                unexplained.push(format!("{name}: {event}"));
                continue;
            };
            for field in fields.difference(known) {
                unexplained.push(format!("{name}: {event} has {field}"));
            }
        }
    }
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    assert!(seen > 120, "only {seen} were looked at");
}

#[test]
fn what_the_document_explains_the_code_tells() {
    let document = document();
    let sources = sources();
    let all: String = sources.values().map(String::as_str).collect();
    let is_quoted = |name: &String| {
        let quoted = |quote: char| all.contains(&format!("{quote}{name}{quote}"));
        quoted('"') || quoted('\'')
    };
    for kind in ["metric", "span", "attribute", "event"] {
        let mut names = document.table(kind).iter();
        let missing: Vec<_> = names.by_ref().filter(|name| !is_quoted(name)).collect();
        assert!(missing.is_empty(), "{kind}s that no host has: {missing:?}");
    }
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, code) in &sources {
        for (event, fields) in events(name, code) {
            told.entry(event).or_default().extend(fields);
        }
    }
    for (event, fields) in &document.fields {
        let of_event = told.get(event);
        let of_event = of_event.unwrap_or_else(|| panic!("no host has the event {event}"));
        for field in fields {
            assert!(of_event.contains(field), "{event} has no {field}");
            assert!(
                document.table("field").contains(field),
                "{field} is not explained"
            );
        }
    }
}

/// The metrics and labels of these queries are the document's.
fn are_explained(document: &Vocabulary, queries: &[Query]) {
    for query in queries {
        let mut labels: BTreeSet<String> = LABELS.map(str::to_owned).into();
        for name in &query.metrics {
            if ["up", "ALERTS"].contains(&name.as_str()) {
                continue;
            }
            let is_it = |prometheus: &str, kind: &str| {
                let part = name.strip_prefix(prometheus);
                match kind {
                    "histogram" => {
                        part.is_some_and(|it| ["_bucket", "_sum", "_count"].contains(&it))
                    }
                    _ => part == Some(""),
                }
            };
            let mut metrics = document.metrics.iter();
            let metric = metrics.find(|it| is_it(&it.prometheus, &it.kind));
            let metric = metric.unwrap_or_else(|| panic!("{}: there is no {name}", query.of));
            labels.extend(metric.attributes.iter().map(|it| it.replace('.', "_")));
        }
        query.has_no_labels_but(&labels);
    }
}

#[test]
fn what_an_operator_is_shown_is_explained() {
    let document = document();
    let rules = read("ops/alerts.yml");
    let alerts = promql::of_rules(&rules);
    assert_eq!(alerts.len(), rules.matches("- alert: ").count());
    are_explained(&document, &alerts);
    let panels = promql::of_dashboard(&read("ops/dashboard.json"));
    assert!(panels.len() > 30, "only {} queries", panels.len());
    are_explained(&document, &panels);
    let tests = read("ops/alerts.test.yml");
    are_explained(&document, &promql::of_rules(&tests));
    let series = tests.split("series: '").skip(1);
    let series: Vec<Query> = series
        .map(|rest| Query::new("alerts.test.yml", rest.split('\'').next().unwrap()))
        .collect();
    assert!(series.len() > 20, "only {} series", series.len());
    are_explained(&document, &series);
}

#[test]
fn every_alert_has_its_page_in_the_runbook_and_a_test() {
    let alerts: BTreeSet<String> = promql::of_rules(&read("ops/alerts.yml"))
        .into_iter()
        .map(|alert| alert.of)
        .collect();
    let runbook = read("ops/runbook.md");
    let pages = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let pages: BTreeSet<String> = pages.map(str::to_owned).collect();
    assert_eq!(alerts, pages);
    let (rules, tests) = (read("ops/alerts.yml"), read("ops/alerts.test.yml"));
    for alert in &alerts {
        let link = format!("runbook.md#{}\"", alert.to_lowercase());
        assert!(
            rules.contains(&link),
            "{alert} does not say where its page is"
        );
        let is_tested = [format!("\"{alert}\""), format!("alertname: {alert}\n")];
        assert!(
            is_tested.iter().any(|it| tests.contains(it)),
            "{alert} has no test"
        );
    }
}
