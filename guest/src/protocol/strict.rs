//! JSON of the kind that is due, and nothing else.
//!
//! Serde's derived structs also take arrays, field by field; clients mean
//! something else by those. And serde's errors quote a string that stands
//! where something else is due, the whole of it: with a frame of 32 MiB that
//! alone would exhaust the guest's memory. The types here refuse both.

use std::fmt::{self, Write};
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::DecodeError;

/// How much of an error is said: foreign text stands in it.
const WORDS_CHARS_MAX: usize = 200;

/// An error in words for the client, cut to a readable length.
#[must_use]
pub fn words(error: &serde_json::Error) -> DecodeError {
    struct Cut(String, usize);
    impl Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars() {
                // Ends the formatting, so that no long text is made.
                self.1 = self.1.checked_sub(1).ok_or(fmt::Error)?;
                self.0.push(c);
            }
            Ok(())
        }
    }
    let mut cut = Cut(String::new(), WORDS_CHARS_MAX);
    if write!(cut, "{error}").is_err() {
        cut.0.push('…');
    }
    cut.0
}

/// A string with escapes is copied when it is read, into a buffer that doubles
/// as it grows: in bytes, one that cannot hurt. Events are smaller.
const ESCAPED_BYTES_MAX: usize = 4 << 20;

/// Refuses a message in which reading alone would exhaust the guest: a string
/// with escapes of many MiB, in a place where it would be read. That is
/// anywhere but in `args`, which are passed over as text.
///
/// # Errors
/// In words for the client.
pub fn check_strings(json: &[u8]) -> Result<(), DecodeError> {
    if json.len() <= ESCAPED_BYTES_MAX {
        return Ok(());
    }
    let mut depth = 0_usize;
    // The depth of the object in whose `args` this is.
    let mut args_of = None;
    let mut rest = json;
    let is_token = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',');
    while let Some(index) = rest.iter().position(is_token) {
        let Some((before, after)) = rest.split_at_checked(index + 1) else {
            break;
        };
        rest = after;
        match before.last() {
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => {
                depth = depth.saturating_sub(1);
                args_of = args_of.filter(|&of| depth >= of);
            }
            Some(b',') => args_of = args_of.filter(|&of| depth != of),
            _ => {
                let (text, has_escapes, after) = string(rest);
                rest = after;
                if args_of.is_some() {
                    continue;
                }
                if has_escapes && text.len() > ESCAPED_BYTES_MAX {
                    return Err("A string outside `args` is longer than any may be.".to_owned());
                }
                if text == b"args" && rest.trim_ascii_start().starts_with(b":") {
                    args_of = Some(depth);
                }
            }
        }
    }
    Ok(())
}

/// What is before a string's closing quote, whether it has escapes, and what
/// follows.
fn string(json: &[u8]) -> (&[u8], bool, &[u8]) {
    let mut bytes = json.iter().enumerate();
    let mut has_escapes = false;
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let (text, after) = json.split_at_checked(index).unwrap_or((json, &[]));
                return (text, has_escapes, after.get(1..).unwrap_or_default());
            }
            b'\\' => {
                has_escapes = true;
                bytes.next();
            }
            _ => {}
        }
    }
    (json, has_escapes, &[])
}

/// Reads one JSON object from the whole of `json`.
///
/// # Errors
/// When it is no JSON, no object, or lacks what `T` needs.
pub fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice::<Object<T>>(json).map(|object| object.0)
}

/// A `T` that was written as a JSON object.
#[derive(Debug)]
pub struct Object<T>(pub T);

/// A JSON array: its first `MAX` items, and one more if there are more, which
/// shows that it is too long. The rest is passed over: an array of nothing has
/// as many items as its frame has bytes.
#[derive(Debug)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

/// A JSON integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int<T>(pub T);

/// `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);

/// The visitors' common part: what they say of a string. They are asked with
/// `deserialize_any`, since serde_json quotes it before it asks otherwise.
macro_rules! no_string {
    ($what:literal) => {
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str($what)
        }
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom(concat!("a string, but ", $what, " is due")))
        }
    };
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;
            no_string!("an object");
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(OfMap(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfSeq<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for OfSeq<T, MAX> {
            type Value = Vec<T>;
            no_string!("an array");
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while items.len() <= MAX {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(items),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(items)
            }
        }
        let list = OfSeq::<T, MAX>(PhantomData);
        deserializer.deserialize_any(list).map(Self)
    }
}

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Int<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfInt;
        impl Visitor<'_> for OfInt {
            type Value = i128;
            no_string!("an integer");
            fn visit_u64<E: Error>(self, value: u64) -> Result<i128, E> {
                Ok(value.into())
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<i128, E> {
                Ok(value.into())
            }
        }
        let value = deserializer.deserialize_any(OfInt)?;
        T::try_from(value)
            .map(Self)
            .map_err(|_| D::Error::custom("the number is out of range"))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBool;
        impl Visitor<'_> for OfBool {
            type Value = bool;
            no_string!("true or false");
            fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
                Ok(value)
            }
        }
        deserializer.deserialize_any(OfBool).map(Self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn refusal<T: for<'a> Deserialize<'a> + fmt::Debug>(json: &str) -> String {
        words(&serde_json::from_str::<T>(json).unwrap_err())
    }

    #[test]
    fn i7_errors_never_quote_what_was_sent() {
        let long = format!("\"{}\"", "z".repeat(10_000));
        for words in [
            refusal::<Object<Vec<u8>>>(&long),
            refusal::<List<u8, 9>>(&long),
            refusal::<Int<u64>>(&long),
            refusal::<Flag>(&long),
            // What serde itself quotes is cut.
            refusal::<bool>(&long),
        ] {
            assert!(words.chars().count() <= WORDS_CHARS_MAX + 1, "{words}");
        }
        assert!(!refusal::<List<u8, 9>>(&long).contains("zz"));
    }

    #[test]
    fn i7_of_a_list_no_more_is_kept_than_shows_that_it_is_too_long() {
        let read = |json: &str| serde_json::from_str::<List<u8, 3>>(json).map(|list| list.0);
        assert_eq!(read("[]").unwrap(), [0; 0]);
        assert_eq!(read("[1,2,3]").unwrap(), [1, 2, 3]);
        assert_eq!(read("[1,2,3,4,\"x\",{}]").unwrap(), [1, 2, 3, 4]);
        assert!(read("[1,2,3,4,]").is_err());
        assert!(read("[1,2,\"x\"]").is_err());
    }

    #[test]
    fn i7_long_escaped_strings_are_for_args() {
        let long = format!("\"\\n{}\"", "x".repeat(ESCAPED_BYTES_MAX));
        let plain = format!("\"{}\"", "x".repeat(ESCAPED_BYTES_MAX));
        let many = format!("[{}0]", "\"\\n\",".repeat(ESCAPED_BYTES_MAX));
        for (taken, before, string, after) in [
            (true, r#"{"args":"#, &long, "}"),
            (true, r#"{"args" : {"a":["#, &long, "]}}"),
            (true, r#"{"args":[1,"#, &long, "],\"b\":1}"),
            (true, r#"{"b":"#, &plain, "}"),
            (true, r#"{"b":"#, &many, "}"),
            (false, r#"{"b":"#, &long, "}"),
            (false, "{", &long, ":1}"),
            (false, "", &long, ""),
            (false, r#"{"args":1,"b":"#, &long, "}"),
            (false, r#"{"a":{"args":[1]},"b":"#, &long, "}"),
            (false, r#"["args","#, &long, "]"),
            (false, r#"{"b":"args","c":"#, &long, "}"),
            (false, r#"{"a\"args":"#, &long, "}"),
        ] {
            let json = format!("{before}{string}{after}");
            assert_eq!(check_strings(json.as_bytes()).is_ok(), taken, "{before}");
            // One that ends too soon, too.
            let cut = &json.as_bytes()[..json.len() - after.len() - 1];
            assert_eq!(check_strings(cut).is_ok(), taken, "{before}");
        }
    }

    #[test]
    fn integers_are_within_their_range_and_whole() {
        let read = |json: &str| serde_json::from_str::<Int<u64>>(json).map(|int| int.0).ok();
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for json in ["-1", "1.0", "1e2", "18446744073709551616", "null", "[1]"] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
