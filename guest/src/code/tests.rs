//! The codes are those of PROTOCOL.md's tables, and nowhere else a text.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

const PROTOCOL: &str = include_str!("../../../PROTOCOL.md");

/// The codes of the tables that hosts have to themselves.
const OF_HOSTS: [&str; 7] = [
    "MESSAGE_TIMEOUT",
    "MESSAGE_TOO_LARGE",
    "NOT_UTF8",
    "PROTOCOL_ERROR",
    "RESTART",
    "SILENT",
    "TOO_SLOW",
];

/// The rows of a section's table, without its head.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PROTOCOL
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("PROTOCOL.md has no `{heading}`"));
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows: Vec<Vec<&str>> = lines
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "`{heading}` has no table");
    rows
}

/// The codes that a cell names.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    let words = quoted.filter_map(|text| text.split(' ').next());
    words.filter(|word| {
        let mut letters = word.chars();
        letters.all(|letter| letter.is_ascii_uppercase() || matches!(letter, '_' | '0'..='9'))
    })
}

fn code(text: &str) -> Option<Code> {
    let mut all = Code::ALL.iter().copied();
    all.find(|code| code.as_str() == text)
}

/// The number that follows a word in a cell.
fn number_after(cell: &str, word: &str) -> Option<u16> {
    let (_, rest) = cell.split_once(word)?;
    let digits = rest.trim_start().split(|it: char| !it.is_ascii_digit());
    digits.clone().next()?.parse().ok()
}

#[test]
fn the_tables_and_the_enum_name_the_same_codes() {
    let mut documented = BTreeSet::new();
    for (heading, column) in [
        ("### Refusals", 0),
        ("## Close codes", 1),
        ("## Error codes", 0),
        ("### Codes of services", 0),
    ] {
        for row in rows(heading) {
            documented.extend(named(row[column]));
        }
    }
    let known = Code::ALL.iter().map(|code| code.as_str());
    let known: BTreeSet<&str> = known.chain(OF_HOSTS).collect();
    assert_eq!(documented, known);
    assert_eq!(known.len(), Code::ALL.len() + OF_HOSTS.len());
}

#[test]
fn refusals_have_the_tables_status_and_close_code() {
    for row in rows("### Refusals") {
        let code = named(row[0]).next().and_then(code).unwrap();
        assert_eq!(code.status().to_string(), row[1], "{code}");
        assert_eq!(code.close_code(), row[2].parse().ok(), "{code}");
        let again = row[3] == "try again later";
        assert_eq!(code.retry_after_ms().is_some(), again, "{code}");
    }
}

#[test]
fn closes_have_the_tables_code() {
    for row in rows("## Close codes") {
        for code in named(row[1]).filter_map(code) {
            assert_eq!(code.close_code(), row[0].parse().ok(), "{code}");
        }
    }
}

#[test]
fn errors_have_the_tables_status_close_code_and_hint() {
    for row in rows("## Error codes") {
        let Some(code) = named(row[0]).next().and_then(code) else {
            assert!(named(row[0]).any(|name| OF_HOSTS.contains(&name)));
            continue;
        };
        assert_eq!(
            code.close_code(),
            number_after(row[1], "close"),
            "{code} closes with"
        );
        if let Some(status) = number_after(row[1], "HTTP") {
            assert_eq!(code.status(), status, "{code}");
        }
        let again = row[3].starts_with("yes");
        assert_eq!(code.retry_after_ms().is_some(), again, "{code}");
    }
}

#[test]
fn services_have_the_tables_status_and_hint() {
    for row in rows("### Codes of services") {
        let code = named(row[0]).next().and_then(code).unwrap();
        assert_eq!(code.status().to_string(), row[1], "{code}");
        let again = row[3].starts_with("yes");
        assert_eq!(code.retry_after_ms().is_some(), again, "{code}");
    }
}

#[test]
fn no_code_is_a_text_elsewhere() {
    fn visit(path: &Path, seen: &mut usize) {
        if path.is_dir() {
            for entry in path.read_dir().unwrap() {
                visit(&entry.unwrap().path(), seen);
            }
            return;
        }
        if path.ends_with("code.rs") || path.ends_with("code/tests.rs") {
            return;
        }
        *seen += 1;
        let text = std::fs::read_to_string(path).unwrap();
        for code in Code::ALL {
            let literal = format!("\"{code}\"");
            let path = path.display();
            assert!(!text.contains(&literal), "{path} has {literal}: use Code");
        }
    }
    let mut seen = 0;
    visit(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut seen,
    );
    assert!(seen > 20, "{seen} files");
}
