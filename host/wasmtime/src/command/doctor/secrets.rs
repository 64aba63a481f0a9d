//! How good secrets are, without showing them. Whether production would take
//! one the component decides; how hard it is to guess is estimated here.

use std::collections::{BTreeMap, BTreeSet};

use super::configuration::Configuration;
use super::report::Report;
use super::variables::is_set_by_host;

const CHECK: &str = "secrets";

/// What is made by `openssl rand -base64 48`.
const MAKE_ONE: &str = "`openssl rand -base64 48` makes a good one";

/// Below this an offline search is within somebody's means, in bits: who has a
/// token can try secrets as fast as a machine hashes.
const BITS_MIN: f64 = 80.0;

/// From here on nobody's.
const BITS_STRONG: f64 = 128.0;

/// What a word of a language is worth, in bits: one of two thousand.
const WORD_BITS: f64 = 11.0;

/// What is between words, and what it is worth, in bits.
const SEPARATORS: [char; 4] = [' ', '-', '_', '.'];
const SEPARATOR_BITS: f64 = 1.0;

/// Letters in a row that are taken for a word.
const WORD_LETTERS_MIN: usize = 4;

/// Whether a variable holds a secret, by its name.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    ["_SECRET", "_TOKEN", "_KEY"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether it is one that clients or services show, and not another server's
/// key, which that server has made.
fn is_own(name: &str) -> bool {
    is_secret(name) && !name.ends_with("_API_KEY")
}

/// Looks at each that is set.
pub fn check(configuration: &Configuration, report: &mut Report) {
    let secrets: Vec<(&str, &str)> = configuration
        .env
        .iter()
        .filter(|(name, _)| is_secret(name) && !is_set_by_host(&configuration.variables, name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    if secrets.is_empty() {
        report.ok(CHECK, "none is set");
    }
    for &(name, value) in &secrets {
        one(configuration, name, value, report);
    }
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for &(name, value) in &secrets {
        if let Some(other) = seen.insert(value, name) {
            report.warn(
                CHECK,
                format!("{other} and {name} are the same"),
                "Give each its own: who learns one should not have the other",
            );
        }
    }
}

fn one(configuration: &Configuration, name: &str, value: &str, report: &mut Report) {
    let bytes = value.len();
    if value.trim() != value || (value.len() > 1 && value.starts_with(['"', '\''])) {
        report.warn(
            CHECK,
            format!(
                "{name} begins or ends with a space, a line's end or a quote, which is a part of it"
            ),
            "Take it out, unless whoever signs has it too",
        );
    }
    if !is_own(name) {
        report.ok(CHECK, format!("{name} is set, {bytes} bytes"));
        return;
    }
    let bits = bits(value);
    let about = format!("{name}: {bytes} bytes, about {bits:.0} bits by its looks");
    if let Err(words) = configuration.ask(in_production(name, value)) {
        if configuration.is_production() {
            report.fail(CHECK, format!("{name}: {words}"), MAKE_ONE);
        } else {
            report.warn(
                CHECK,
                format!("{name} is for development alone; production says: {words}"),
                MAKE_ONE,
            );
        }
    } else if bits < BITS_MIN {
        report.warn(
            CHECK,
            format!("{about}: it may be guessed"),
            format!("Use a random one: {MAKE_ONE}"),
        );
    } else if bits < BITS_STRONG {
        report.ok(CHECK, format!("{about}: fair"));
    } else {
        report.ok(CHECK, format!("{about}: strong"));
    }
}

/// The least that production starts with, and this secret.
fn in_production(name: &str, value: &str) -> BTreeMap<String, String> {
    // Of the form of a good one: it is not what is asked about.
    const OTHER: &str = "v7Qm2kZp9XcT4bLw8RyN1fHs6JdG3aUe5VoB0iKq";
    [
        ("ENVIRONMENT", "production"),
        ("JWT_SECRET", OTHER),
        (name, value),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// How many bits a text has at the most, by what it looks like: repetitions
/// count once, words as words, characters by how many kinds there are and how
/// evenly they come.
fn bits(text: &str) -> f64 {
    let characters: Vec<char> = text.chars().collect();
    let once = period(&characters);
    let characters = characters.get(..once).unwrap_or_default();
    by_words(characters).min(by_frequency(characters))
}

/// The length of what a text repeats: its own, where it does not.
fn period(text: &[char]) -> usize {
    let repeats = |&length: &usize| {
        let (before, after) = (text.iter(), text.iter().skip(length));
        after.zip(before).all(|(one, other)| one == other)
    };
    // Half of it at the most: a few letters that come again are chance.
    (1..=text.len() / 2).find(repeats).unwrap_or(text.len())
}

fn by_words(text: &[char]) -> f64 {
    let kinds: BTreeSet<u8> = text.iter().map(kind).collect();
    let alphabet: u32 = kinds.iter().map(|kind| size(*kind)).sum();
    let each = f64::from(alphabet.max(1)).log2();
    let mut words: BTreeSet<&[char]> = BTreeSet::new();
    // Each piece is what follows one that is no small letter, and that one.
    let pieces = text.split_inclusive(|it| !it.is_ascii_lowercase());
    let mut bits = 0.0;
    for piece in pieces {
        let letters = piece
            .iter()
            .take_while(|it| it.is_ascii_lowercase())
            .count();
        let word = piece.get(..letters).unwrap_or_default();
        bits += if letters < WORD_LETTERS_MIN {
            each * count(letters)
        } else if words.insert(word) {
            WORD_BITS
        } else {
            // One that comes again is no news.
            SEPARATOR_BITS
        };
        bits += match piece.get(letters) {
            None => 0.0,
            Some(end) if SEPARATORS.contains(end) => SEPARATOR_BITS,
            Some(_) => each,
        };
    }
    bits
}

/// Shannon's entropy of the characters, times their number.
fn by_frequency(text: &[char]) -> f64 {
    let mut times: BTreeMap<char, usize> = BTreeMap::new();
    for character in text {
        *times.entry(*character).or_default() += 1;
    }
    let all = count(text.len());
    let each = times.values().map(|&times| {
        let share = count(times) / all;
        -share * share.log2()
    });
    each.sum::<f64>() * all
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn kind(character: &char) -> u8 {
    match character {
        'a'..='z' => 0,
        'A'..='Z' => 1,
        '0'..='9' => 2,
        _ => 3,
    }
}

fn size(kind: u8) -> u32 {
    match kind {
        0 | 1 => 26,
        2 => 10,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_long_and_can_be_guessed_counts_little() {
        for weak in [
            "",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abcabcabcabcabcabcabcabcabcabcabcabcabc",
            "passwordpasswordpasswordpasswordpassword",
            "correct-horse-battery-staple",
            "this is my very secret secret",
            "0000000000000000000000000000000000000001",
        ] {
            assert!(bits(weak) < BITS_MIN, "{weak:?}: {}", bits(weak));
        }
    }

    #[test]
    fn what_is_random_counts_by_its_alphabet() {
        for strong in [
            "b7CkJ0f0n2sQmVZ3oT9yX4rLw8aHd6GpEe1uKiN5",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert!(bits(strong) >= BITS_STRONG, "{strong:?}: {}", bits(strong));
        }
        let short = "x7Kq2mZp";
        assert!(bits(short) < BITS_MIN, "{}", bits(short));
    }
}
