//! Ids of traces and spans: numbers inside, hex outside.
//!
//! Kept as numbers so that the pass over all lines for the last trace allocates nothing for them.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Says that a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of {digits} hex characters that aren't all zero")]
pub struct InvalidId {
    text: String,
    digits: usize,
}

fn parse_hex(text: &str, digits: usize) -> Result<u128, InvalidId> {
    // `from_str_radix` alone would take a leading `+`.
    let shaped = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = if shaped {
        u128::from_str_radix(text, 16).unwrap_or(0)
    } else {
        0
    };
    if number == 0 {
        return Err(InvalidId {
            text: text.into(),
            digits,
        });
    }
    Ok(number)
}

/// Identifies a trace: 32 hex characters, written in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// Takes an id as a number; all zeros are none.
    pub(crate) fn new(number: u128) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }
}

impl FromStr for TraceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_hex(text, 32).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Identifies a span within its trace: 16 hex characters, written in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

impl FromStr for SpanId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // 16 digits always fit.
        parse_hex(text, 16).map(|number| Self(u64::try_from(number).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Hex(PhantomData))
    }
}

impl<'de> Deserialize<'de> for SpanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Hex(PhantomData))
    }
}

struct Hex<T>(PhantomData<T>);

impl<T: FromStr<Err = InvalidId>> de::Visitor<'_> for Hex<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id in hex")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Reads a parent: `""`, `null` and all zeros say that there is none.
pub(super) fn parent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SpanId>, D::Error> {
    deserializer.deserialize_any(Parent)
}

struct Parent;

impl de::Visitor<'_> for Parent {
    type Value = Option<SpanId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span id in hex or nothing")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.bytes().all(|byte| byte == b'0') {
            return Ok(None);
        }
        text.parse().map(Some).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_any_case_and_written_in_lower_case() {
        let id: TraceId = "0AF7651916CD43DD8448EB211C80319C".parse().unwrap();
        assert_eq!("0af7651916cd43dd8448eb211c80319c", id.to_string());
        assert_eq!("00000000000000ff", SpanId(255).to_string());
    }

    #[test]
    fn other_texts_are_no_ids() {
        for bad in [
            "",
            "0af7",
            "+af7651916cd43dd8448eb211c80319c",
            &"0".repeat(32),
            &"é".repeat(16),
        ] {
            let error = bad.parse::<TraceId>().unwrap_err().to_string();
            assert!(error.contains("32 hex characters"), "{error}");
        }
    }
}
