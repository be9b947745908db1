//! Values of the file format: what the standard lets writers say in more than one way.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use crate::traces::{Attributes, Value};

#[derive(Deserialize)]
pub(super) struct KeyValue {
    key: String,
    value: Option<AnyValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue {
    string_value: Option<String>,
    int_value: Option<Number<i64>>,
    double_value: Option<Number<f64>>,
    bool_value: Option<bool>,
    array_value: Option<Values<AnyValue>>,
    kvlist_value: Option<Values<KeyValue>>,
    bytes_value: Option<String>,
}

#[derive(Deserialize)]
struct Values<T> {
    #[serde(default = "Vec::new")]
    values: Vec<T>,
}

/// A number that the format also allows as a string.
#[derive(Deserialize)]
#[serde(try_from = "PlainOrText<T>", bound = "T: Deserialize<'de> + FromStr")]
struct Number<T>(T);

#[derive(Deserialize)]
#[serde(untagged)]
enum PlainOrText<T> {
    Plain(T),
    Text(String),
}

impl<T: FromStr> TryFrom<PlainOrText<T>> for Number<T> {
    type Error = &'static str;

    fn try_from(value: PlainOrText<T>) -> Result<Self, Self::Error> {
        match value {
            PlainOrText::Plain(number) => Ok(Self(number)),
            PlainOrText::Text(text) => text.parse().map(Self).map_err(|_| "not a number"),
        }
    }
}

pub(super) fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs
        .into_iter()
        .map(|pair| (pair.key, pair.value.map_or(Value::Empty, Value::from)))
        .collect()
}

impl From<AnyValue> for Value {
    fn from(any: AnyValue) -> Self {
        (any.string_value.or(any.bytes_value).map(Self::String))
            .or_else(|| any.int_value.map(|number| Self::Int(number.0)))
            .or_else(|| any.double_value.map(|number| Self::Double(number.0)))
            .or_else(|| any.bool_value.map(Self::Bool))
            .or_else(|| {
                Some(Self::Array(
                    any.array_value?
                        .values
                        .into_iter()
                        .map(Self::from)
                        .collect(),
                ))
            })
            .or_else(|| Some(Self::Map(attributes(any.kvlist_value?.values))))
            .unwrap_or(Self::Empty)
    }
}

pub(super) fn nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Nanos)
}

/// A time that is a string by the standard and a number by some writers; never negative.
struct Nanos;

impl de::Visitor<'_> for Nanos {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nanoseconds since 1970")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> serde_json::Result<Value> {
        serde_json::from_str::<AnyValue>(json).map(Value::from)
    }

    #[test]
    fn numbers_are_taken_as_numbers_and_as_strings() {
        assert_eq!(Value::Int(201), value(r#"{"intValue":"201"}"#).unwrap());
        assert_eq!(Value::Int(-3), value(r#"{"intValue":-3}"#).unwrap());
        assert_eq!(Value::Double(2.0), value(r#"{"doubleValue":2}"#).unwrap());
        let nan = value(r#"{"doubleValue":"NaN"}"#).unwrap();
        assert!(matches!(nan, Value::Double(number) if number.is_nan()));
        assert!(value(r#"{"intValue":"many"}"#).is_err());
    }

    #[test]
    fn values_nest_and_may_be_empty() {
        let json = r#"{"arrayValue":{"values":[{"boolValue":true},{},
            {"kvlistValue":{"values":[{"key":"a","value":{"stringValue":"b"}},{"key":"c","value":null}]}}]}}"#;
        let shown = value(json).unwrap().to_string();
        assert_eq!(r#"[true,null,{"a":"b","c":null}]"#, shown);
    }

    #[test]
    fn times_are_never_negative() {
        let time = |json| nanos(&mut serde_json::Deserializer::from_str(json));
        assert_eq!(
            1_693_310_400_000_000_000,
            time("1693310400000000000").unwrap()
        );
        assert_eq!(7, time(r#""7""#).unwrap());
        for bad in ["-1", r#""-1""#, r#""NaN""#, "null", "1.5"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
