//! The URL's sync parameters, as clients write them
//! (`@livestore/sync-cf` 0.4.0, `src/common/mod.ts`, `SearchParamsSchema`).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::refusal::Refused;
use crate::code::Code;
use crate::limits::STORE_ID_BYTES_MAX;

/// Whether a text can be a store's id: 1 to 512 bytes of UTF-8.
#[must_use]
pub fn is_store_id(text: &str) -> bool {
    (1..=STORE_ID_BYTES_MAX).contains(&text.len()) && !text.contains(char::REPLACEMENT_CHARACTER)
}

/// What the query says, before anyone believes it.
#[derive(Debug, Default)]
pub struct Params {
    /// `storeId`.
    pub store_id: Option<String>,
    /// `transport`.
    pub transport: Option<String>,
    /// `payload`, percent-decoded once, as it stands in the URL.
    payload: Option<String>,
    /// A parameter stands there twice.
    duplicate: Option<&'static str>,
}

impl Params {
    /// Reads the query. Other parameters are ignored.
    #[must_use]
    pub fn read(query: Option<&str>) -> Self {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let (slot, name) = match name.as_ref() {
                "storeId" => (&mut params.store_id, "storeId"),
                "transport" => (&mut params.transport, "transport"),
                "payload" => (&mut params.payload, "payload"),
                _ => continue,
            };
            if slot.is_some() {
                params.duplicate = Some(name);
            }
            *slot = Some(value.into_owned());
        }
        params
    }

    /// The store asked for.
    ///
    /// # Errors
    /// When it is missing, empty, too long, or said twice.
    pub fn store_id(&self) -> Result<&str, Refused> {
        if let Some(name) = self.duplicate {
            return Err(Refused::new(
                Code::InvalidRequest,
                format!("The URL has the parameter `{name}` twice."),
            ));
        }
        match self.store_id.as_deref() {
            None | Some("") => Err(Refused::new(
                Code::InvalidRequest,
                "The URL parameter `storeId` is missing or empty.",
            )),
            Some(id) if id.contains(char::REPLACEMENT_CHARACTER) => Err(Refused::new(
                Code::InvalidRequest,
                "`storeId` is not valid UTF-8.",
            )),
            Some(id) if id.len() > STORE_ID_BYTES_MAX => Err(Refused::new(
                Code::InvalidRequest,
                format!("`storeId` has more than {STORE_ID_BYTES_MAX} bytes."),
            )),
            Some(id) => Ok(id),
        }
    }

    /// The payload, `None` when there is none. Clients encode it twice
    /// (`encodeURIComponent`, then the URL); once is accepted too.
    ///
    /// # Errors
    /// When it is no JSON; `()` since the caller knows what that amounts to.
    pub fn payload(&self) -> Result<Option<Value>, ()> {
        let Some(text) = self.payload.as_deref() else {
            return Ok(None);
        };
        let twice = percent_decode_str(text)
            .decode_utf8()
            .unwrap_or(Cow::Borrowed(text));
        serde_json::from_str(&twice)
            .or_else(|_| serde_json::from_str(text))
            .map(Some)
            .map_err(|_| ())
    }
}
