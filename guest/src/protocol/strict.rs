//! JSON of the kind that is due, and nothing else.
//!
//! Serde's derived structs also take arrays, field by field; clients mean
//! something else by those. And serde's errors quote a string that stands
//! where something else is due, the whole of it: with a frame of 32 MiB that
//! alone would exhaust the guest's memory. The types here refuse both.

use std::fmt::{self, Write};
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

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

/// A JSON array.
#[derive(Debug)]
pub struct List<T>(pub Vec<T>);

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

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfSeq<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfSeq<T> {
            type Value = Vec<T>;
            no_string!("an array");
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(items)
            }
        }
        deserializer.deserialize_any(OfSeq(PhantomData)).map(Self)
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
#[allow(clippy::unwrap_used)]
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
            refusal::<List<u8>>(&long),
            refusal::<Int<u64>>(&long),
            refusal::<Flag>(&long),
            // What serde itself quotes is cut.
            refusal::<bool>(&long),
        ] {
            assert!(words.chars().count() <= WORDS_CHARS_MAX + 1, "{words}");
        }
        assert!(!refusal::<List<u8>>(&long).contains("zz"));
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
