//! The one serialiser, and a strict reader.
//!
//! Everything Cairn creates is written in the canonical form of RFC 8785, so that equal values are equal
//! bytes. Everything Cairn receives is read strictly: a document that two readers could understand in two ways is
//! refused (image-spec, CVE-2021-41190).

mod strict;

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use strict::{Keys, Strict};

/// Why bytes are not a JSON document that may be trusted.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The bytes are longer than the caller allows.
    #[error("a JSON document of {length} bytes is over the limit of {limit}")]
    TooLarge {
        /// Length of what was given, in bytes.
        length: usize,
        /// The caller's limit, in bytes.
        limit: usize,
    },
    /// The bytes are not JSON, not UTF-8, name a key twice, or are not of the expected shape.
    #[error("not a valid document")]
    Invalid(#[source] serde_json::Error),
}

/// Serialises `value` in the canonical form of RFC 8785.
///
/// The types of this workspace hold strings, integers, booleans, lists and ordered maps with text keys; none
/// of them can fail to serialise, which is why there is no error.
#[must_use]
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut bytes, canon_json::CanonicalFormatter::new());
    #[expect(
        clippy::expect_used,
        reason = "writing to a Vec cannot fail, and our types have text keys only"
    )]
    value
        .serialize(&mut serializer)
        .expect("our document types always serialise");
    bytes
}

/// Reads a document of at most `limit` bytes, refusing duplicate keys at any depth and trailing bytes.
///
/// # Errors
///
/// [`JsonError`] says whether the length or the content is wrong.
pub fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge {
            length: bytes.len(),
            limit,
        });
    }
    match parse_at_once(bytes) {
        Ok(value) => Ok(value),
        // What is wrong is found by reading twice: first whether it is a document at all, then whether it is the expected one.
        Err(_) => parse_in_turn(bytes),
    }
}

/// Reads a value and sees that no key occurs twice, in one go. It may fail where [`parse_in_turn`] does not, and never the other
/// way round.
fn parse_at_once<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, serde_json::Error> {
    let mut keys = Keys::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(Strict::new(&mut deserializer, &mut keys))?;
    deserializer.end()?;
    Ok(value)
}

fn parse_in_turn<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    UniqueKeys
        .deserialize(&mut deserializer)
        .map_err(JsonError::Invalid)?;
    deserializer.end().map_err(JsonError::Invalid)?;
    serde_json::from_slice(bytes).map_err(JsonError::Invalid)
}

/// Walks any JSON value and fails at a key that its object has already.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format_args!(
                    "the key {key:?} occurs twice"
                )));
            }
            seen.insert(key);
            map.next_value_seed(Self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
