//! A log that a test can damage at a place of its choice.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use syncline_tests::rpc::event_with;

/// Events that are found on the disk by their text: `needle-7-` is the
/// seventh. There are a few to a page.
pub fn needles(numbers: RangeInclusive<u64>) -> Vec<Value> {
    numbers
        .map(|n| {
            let text = format!("needle-{n}-{}", "x".repeat(200));
            event_with(n, json!({"text": text}))
        })
        .collect()
}

/// The file that holds the most, of a server that has stopped.
pub fn largest_file(dir: &Path) -> PathBuf {
    (0..4)
        .map(|number| dir.join(format!("data/shard-{number}.db")))
        .max_by_key(|file| file.metadata().unwrap().len())
        .unwrap()
}
