//! Which trace to show: the last one, or one by the start of its id.

use std::{fmt, str::FromStr};

use super::TraceId;

/// Shorter prefixes fit by chance.
const SHORTEST: usize = 4;
const FULL: usize = 32;

/// Chooses one trace out of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The trace whose root span ended last.
    Last,
    /// The trace whose id begins so: 4 to 32 hex characters, in lower case.
    Prefix(String),
}

/// Says why a text chooses no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSelector {
    /// There are characters that no id has.
    #[error("`{0}` is neither `last` nor a trace id, which has hex characters only")]
    NotHex(String),
    /// It would fit traces by chance.
    #[error("`{0}` is too short: give at least 4 characters of the trace id")]
    TooShort(String),
    /// No id is that long.
    #[error("`{0}` is too long: a trace id has 32 characters")]
    TooLong(String),
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        // An answer's `traceparent` is what one has at hand: version, trace, span and flags.
        let parts: Vec<&str> = text.trim().split('-').collect();
        let text = match parts[..] {
            [_, trace, _, _] if trace.len() == FULL => trace,
            _ => text.trim(),
        };
        if text.eq_ignore_ascii_case("last") {
            return Ok(Self::Last);
        }
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidSelector::NotHex(text.into()));
        }
        match text.len() {
            0..SHORTEST => Err(InvalidSelector::TooShort(text.into())),
            SHORTEST..=FULL => Ok(Self::Prefix(text.to_ascii_lowercase())),
            _ => Err(InvalidSelector::TooLong(text.into())),
        }
    }
}

impl From<TraceId> for Selector {
    fn from(id: TraceId) -> Self {
        Self::Prefix(id.to_string())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Prefix(prefix) => f.write_str(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_last_or_the_start_of_an_id() {
        assert_eq!(Ok(Selector::Last), "last".parse());
        assert_eq!(Ok(Selector::Prefix("0af7".into())), "0AF7".parse());
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let id = Selector::Prefix("0af7651916cd43dd8448eb211c80319c".into());
        assert_eq!(Ok(id), traceparent.parse());
        let id: TraceId = "0af7651916cd43dd8448eb211c80319c".parse().unwrap();
        assert_eq!(Ok(Selector::from(id)), id.to_string().parse());
    }

    #[test]
    fn a_bad_selector_says_what_to_change() {
        for (bad, says) in [
            ("", "at least 4"),
            ("0af", "at least 4"),
            ("newest", "hex"),
            ("0af7-651", "hex"),
            (&"a".repeat(33), "32"),
        ] {
            let error = bad.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
