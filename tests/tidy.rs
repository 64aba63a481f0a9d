//! What no compiler checks of this repository.

mod vocabulary;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of the repository, by git: tracked, or new and not ignored.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is needed for this test");
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| root().join(line))
        .filter(|path| path.exists())
        .collect()
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .is_some_and(|extension| extensions.iter().any(|it| extension == *it))
}

/// FNV-1a: it only has to change when the text does.
fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// PROTOCOL.md and ARCHITECTURE.md describe the contract. Whoever changes it
/// reads them, corrects them, and writes the new hash into them.
#[test]
fn the_documents_are_of_this_contract() {
    let mut wit: Vec<PathBuf> = files()
        .into_iter()
        .filter(|path| has_extension(path, &["wit"]))
        .collect();
    wit.sort();
    assert!(!wit.is_empty());
    let text: String = wit
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let line = format!("<!-- wit: {} -->", hash(&text));
    for document in ["PROTOCOL.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        assert!(
            text.contains(&line),
            "wit/ has changed: read {document}, correct it, and put this line at its end:\n{line}"
        );
    }
}

#[test]
fn a_source_file_is_short_enough_to_read() {
    for path in files() {
        if has_extension(&path, &["rs", "wit", "mjs", "ts", "toml"]) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 520, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn no_test_is_switched_off() {
    // Written so that this file does not hold it.
    let ignore = concat!("#[", "ignore");
    for path in files() {
        if has_extension(&path, &["rs"]) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains(ignore), "{}", path.display());
        }
    }
}

#[test]
fn lock_files_record_no_download_addresses() {
    for path in files() {
        if path.ends_with("package-lock.json") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("\"resolved\""), "{}", path.display());
        }
    }
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|it| match it {
            ' ' => Some('-'),
            '-' | '_' => Some(it),
            _ => it.is_alphanumeric().then_some(it),
        })
        .collect()
}

/// The targets of a document's links, but for those to websites.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut seen = 0;
    for document in files() {
        if !has_extension(&document, &["md"]) {
            continue;
        }
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(file)
            };
            let shown = format!("{}: {link}", document.display());
            assert!(target.exists(), "{shown}");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|it| anchor(it.trim_start_matches('#').trim()) == heading);
                assert!(found, "{shown}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} links were found");
}

/// The local host's rooms, from the ground up: what is in one knows what is in
/// those before it, and nothing of those after it (ARCHITECTURE.md has the
/// drawing).
const FLOORS: [&str; 14] = [
    "process",
    "limits",
    "contract",
    "flow",
    "telemetry",
    "exchange",
    "storage",
    "component",
    "services",
    "rooms",
    "app",
    "net",
    "server",
    "command",
];

#[test]
fn the_local_hosts_rooms_know_only_those_below_them() {
    let source = root().join("host/wasmtime/src");
    let mut seen = 0;
    for file in files() {
        let Ok(inside) = file.strip_prefix(&source) else {
            continue;
        };
        let room = inside.iter().next().unwrap().to_str().unwrap();
        let room = room.trim_end_matches(".rs");
        if room == "lib" || room == "main" {
            continue;
        }
        let floor = |room: &str| FLOORS.iter().position(|it| *it == room);
        let own = floor(room).unwrap_or_else(|| panic!("{room} has no floor"));
        let text = fs::read_to_string(&file).unwrap();
        for known in text.split("crate::").skip(1) {
            let end = known.find(|it: char| !it.is_ascii_lowercase());
            let known = &known[..end.unwrap_or(known.len())];
            if let Some(floor) = floor(known) {
                assert!(floor <= own, "{}: crate::{known}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "only {seen} were looked at");
}

/// The local host's build script has wasmtime in it, as the program does. What
/// both need of it and of its dependencies is built once only if it is the
/// same (`resolver` in Cargo.toml): otherwise a build takes minutes more.
#[test]
fn what_the_build_and_the_program_need_is_built_once() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "syncline", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}|{f}|", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    let mut features = BTreeMap::new();
    for line in tree.lines() {
        let mut parts = line.split('|');
        let (package, of_it) = (parts.next().unwrap(), parts.next().unwrap());
        let before = features.insert(package, of_it).unwrap_or(of_it);
        assert_eq!(before, of_it, "{package} is built twice");
    }
    assert!(features.keys().any(|it| it.starts_with("wasmtime v")));
}

/// What a metric's attribute may be is the same on both hosts.
#[test]
fn the_hosts_know_the_same_codes() {
    let codes = |path: &str, quote: char| -> Vec<String> {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let quoted = text.lines().filter_map(|line| {
            let word = line.trim().strip_prefix(quote)?;
            let word = word.strip_suffix(',')?.strip_suffix(quote)?;
            let is_code = word.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
            is_code.then(|| word.to_owned())
        });
        quoted.collect()
    };
    let local = codes("host/wasmtime/src/telemetry/codes.rs", '"');
    assert!(local.len() > 50, "{local:?}");
    let workers = codes("host/cloudflare/src/telemetry/codes.ts", '\'');
    assert_eq!(workers, local);
}
