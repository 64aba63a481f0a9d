//! Every target, on its corpus and on mutations of it: the same ones each
//! time. A failure prints a seed; `SYNCLINE_FUZZ_SEED` tries it alone, and
//! `SYNCLINE_FUZZ_RUNS=100000` as many, beginning with it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use syncline_fuzz::{Reached, TARGETS, Target, mutation, transcripts};

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number")),
    )
}

/// Runs one input, and says which it was if it fails.
fn run(target: &Target, input: &[u8], which: &str) -> Reached {
    catch_unwind(AssertUnwindSafe(|| (target.check)(input))).unwrap_or_else(|panic| {
        eprintln!("{}: {which}: {}", target.name, input.escape_ascii());
        resume_unwind(panic)
    })
}

fn holds(name: &str) {
    let target = TARGETS.iter().find(|it| it.name == name).unwrap();
    let corpus = (target.corpus)(&transcripts::read());
    assert!(corpus.len() > 1, "a corpus of {}", corpus.len());
    let seed = variable("SYNCLINE_FUZZ_SEED");
    let first = seed.unwrap_or(0);
    let runs =
        variable("SYNCLINE_FUZZ_RUNS").unwrap_or(if seed.is_some() { 1 } else { target.runs });
    let mut reached = BTreeSet::new();
    for (index, input) in corpus.iter().enumerate() {
        reached.extend(run(target, input, &format!("input {index} of the corpus")));
    }
    for seed in first..first + runs {
        let input = mutation::mutated(&corpus, target.words, seed);
        let which = format!("SYNCLINE_FUZZ_SEED={seed}");
        reached.extend(run(target, &input, &which));
    }
    if seed.is_none() {
        for what in target.reaches {
            assert!(
                reached.contains(what),
                "no input got to “{what}”: {reached:?}"
            );
        }
    }
}

#[test]
fn frames_of_0_4_clients_are_understood_or_refused_with_words() {
    holds("frames_rpc");
}

#[test]
fn frames_of_0_3_clients_are_understood_or_refused_with_words() {
    holds("frames_v3");
}

#[test]
fn calls_are_answered_for_each_request_in_them() {
    holds("calls");
}

#[test]
fn i9_a_room_goes_on_whatever_it_is_sent() {
    holds("room");
}

#[test]
fn nobody_enters_but_with_a_token_that_is_right() {
    holds("admission");
}

#[test]
fn frames_end_where_they_end_however_the_bytes_come() {
    holds("boundary");
}

/// A seed says all: what it stands for today fails tomorrow, too.
#[test]
fn a_mutation_is_its_seeds() {
    let corpus: Vec<Vec<u8>> = vec![br#"{"_tag":"Ping"}"#.to_vec(), b"a\nb".to_vec()];
    for seed in 0..100 {
        let mutated = || mutation::mutated(&corpus, &["word"], seed);
        assert_eq!(mutated(), mutated());
    }
}

/// What cargo-fuzz is given by name is what this tests.
#[test]
fn every_target_has_its_program() {
    let manifest = include_str!("../Cargo.toml");
    let programs: Vec<&str> = manifest
        .split("[[bin]]\nname = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(programs, TARGETS.map(|target| target.name));
}
