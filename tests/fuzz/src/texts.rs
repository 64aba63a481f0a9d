//! What has to hold of every text that a client is told.

use serde_json::Value;
use serde_json::value::RawValue;

/// The longest explanation: foreign text in it is cut (`protocol/strict.rs`).
const WORDS_BYTES_MAX: usize = 2_000;

/// A refusal says why, and does not say it at length.
///
/// # Panics
/// When it does not.
#[track_caller]
pub(crate) fn check_words(words: &str) {
    assert!(!words.trim().is_empty(), "a refusal without words");
    assert!(words.len() <= WORDS_BYTES_MAX, "{} bytes", words.len());
}

/// Any answer is JSON.
///
/// # Panics
/// When it is not.
#[track_caller]
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text)
        .or_else(|_| {
            serde_json::from_str::<&RawValue>(text)?;
            serde_json::from_str(&tamed(text))
        })
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// JSON without what only a [`Value`] cannot hold: numbers beyond any double,
/// halves of surrogate pairs. Clients read both, and may push both.
fn tamed(json: &str) -> String {
    let mut tamed = String::new();
    let mut in_string = false;
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => in_string = !in_string,
            '\\' if in_string => {
                tamed.push(c);
                let escaped = chars.next().unwrap_or_default();
                tamed.push(escaped);
                if escaped == 'u' {
                    chars
                        .next_if(|it| it.eq_ignore_ascii_case(&'d'))
                        .inspect(|_| tamed.push('0'));
                }
                continue;
            }
            '-' | '0'..='9' if !in_string => {
                let is_number = |it: &char| matches!(it, '0'..='9' | '.' | '+' | '-' | 'e' | 'E');
                let mut number = c.to_string();
                number.extend(std::iter::from_fn(|| chars.next_if(is_number)));
                let fits = serde_json::from_str::<f64>(&number).is_ok();
                tamed.push_str(if fits { &number } else { "0" });
                continue;
            }
            _ => {}
        }
        tamed.push(c);
    }
    tamed
}

/// A secret stands nowhere.
///
/// # Panics
/// When it does.
#[track_caller]
pub(crate) fn check_holds_none(text: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!text.contains(secret), "a secret stands in: {text}");
    }
}

/// Those secrets that an input does not hold itself: who says one may hear it
/// again, in an Origin or an event.
pub(crate) fn unsaid<'a>(input: &str, secrets: &[&'a str]) -> Vec<&'a str> {
    let mut secrets = secrets.to_vec();
    secrets.retain(|secret| !input.contains(secret));
    secrets
}

/// A request's id as an answer has it: a string of digits, or a number.
pub(crate) fn id_of(said: &serde_json::Value) -> Option<String> {
    match said {
        serde_json::Value::String(id) => Some(id.clone()),
        serde_json::Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}
