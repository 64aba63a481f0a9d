//! The server's key in what an upstream says: never passed on.

use std::borrow::Cow;

use crate::services::settings::Llm;

/// What stands in its place.
const HIDDEN: &str = "[hidden]";

/// A shorter one is a word ("ollama"), which a model may say.
const SECRET_BYTES_MIN: usize = 8;

/// The upstream's words in an error have at most so many characters.
const WORDS_CHARS_MAX: usize = 500;

/// A text of the upstream's, without the key.
#[must_use]
pub fn hidden<'a>(llm: &Llm, text: &'a str) -> Cow<'a, str> {
    match llm.key.as_deref() {
        Some(key) if key.len() >= SECRET_BYTES_MIN && text.contains(key) => {
            Cow::Owned(text.replace(key, HIDDEN))
        }
        _ => Cow::Borrowed(text),
    }
}

/// An error's words of the upstream's, without the key, be it ever so short,
/// and cut.
#[must_use]
pub fn words(llm: &Llm, text: &str) -> String {
    let text = match llm.key.as_deref() {
        Some(key) if !key.is_empty() => text.replace(key, HIDDEN),
        _ => text.to_owned(),
    };
    text.chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .take(WORDS_CHARS_MAX)
        .collect()
}
