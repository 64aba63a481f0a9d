//! A JSON object of a client, field by field as it is written, so that what is
//! not looked at is passed on as it is.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::Fault;
use crate::protocol::strict::{self, Flag, List};

/// Fields of an object: real requests have a dozen.
const FIELDS_MAX: usize = 256;

/// An object's fields, in their order, each once.
#[derive(Debug)]
pub struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// When it is none, or has a field twice: whoever reads it next may take
    /// the other one.
    pub fn read(json: &'a [u8], what: &str) -> Result<Self, Fault> {
        serde_json::from_slice(json).map_err(|error| {
            Fault::invalid(format!(
                "{what} is not as it should be: {}",
                strict::words(&error)
            ))
        })
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// A field; `null` counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.iter().find(|(it, _)| *it == name)?;
        (value.get() != "null").then_some(value)
    }

    /// A field that is a string.
    ///
    /// # Errors
    /// When it is something else.
    pub fn string(&self, name: &str) -> Result<Option<String>, Fault> {
        self.get(name)
            .map(|value| serde_json::from_str(value.get()))
            .transpose()
            .map_err(|_| Fault::invalid(format!("`{name}` is no string.")))
    }

    /// A field that is `true` or `false`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&self, name: &str) -> Result<bool, Fault> {
        let flag = self
            .get(name)
            .map(|value| serde_json::from_str::<Flag>(value.get()))
            .transpose()
            .map_err(|_| Fault::invalid(format!("`{name}` is neither true nor false.")))?;
        Ok(flag.is_some_and(|flag| flag.0))
    }

    /// A field that is a list of objects, `MAX` at most.
    ///
    /// # Errors
    /// When it is something else, or longer.
    pub fn objects<const MAX: usize>(
        &self,
        name: &str,
    ) -> Result<Option<Vec<&'a RawValue>>, Fault> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let list: List<&RawValue, MAX> = serde_json::from_str(value.get())
            .map_err(|_| Fault::invalid(format!("`{name}` is no list.")))?;
        if list.0.len() > MAX {
            return Err(Fault::invalid(format!("`{name}` has over {MAX} items.")));
        }
        if list.0.iter().all(|item| is_object(item)) {
            Ok(Some(list.0))
        } else {
            Err(Fault::invalid(format!(
                "`{name}` is not a list of objects."
            )))
        }
    }
}

/// Whether it is an object.
#[must_use]
pub fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// Text as JSON.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
                Err(E::custom("a string, but an object is due"))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Self::Value = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if fields.len() == FIELDS_MAX {
                        return Err(A::Error::custom("it has too many fields"));
                    }
                    if fields.iter().any(|(it, _)| *it == name) {
                        return Err(A::Error::custom("it has a field twice"));
                    }
                    fields.push((name, value));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_any(OfMap).map(Self)
    }
}
