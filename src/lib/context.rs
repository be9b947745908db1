//! What a request carries through a process: deadline and request id, beside its span.
//!
//! It travels inside the OpenTelemetry [`Context`], so whatever keeps the trace together keeps the
//! deadline too, and a call made in a handler inherits both without being handed anything.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::Context;

use crate::instance::random_token;

/// Length of a request id that we make ourselves.
const REQUEST_ID_LENGTH: usize = 20;

/// Deadline and id of the request that is being worked on.
#[derive(Debug, Clone)]
pub(crate) struct RequestScope {
    pub(crate) deadline: Instant,
    pub(crate) request_id: Arc<str>,
}

impl RequestScope {
    /// Opens a scope at the edge of the system.
    pub(crate) fn new(timeout: Duration, request_id: Option<&str>) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            request_id: match request_id {
                Some(id) => id.into(),
                None => random_token(REQUEST_ID_LENGTH).into(),
            },
        }
    }

    /// Returns the scope of the request on whose behalf this code runs.
    pub(crate) fn current() -> Option<Self> {
        Context::map_current(|context| context.get::<Self>().cloned())
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Keeps a caller's request id only if it is harmless in headers and logs.
pub(crate) fn sane_request_id(id: &str) -> Option<&str> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ((1..=64).contains(&id.len()) && id.bytes().all(harmless)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_request_ids_are_kept() {
        for kept in ["a", "0af7651916cd43dd-8448.eb_2", &"x".repeat(64)] {
            assert_eq!(Some(kept), sane_request_id(kept));
        }
        for made_anew in ["", "a b", "a\r\nx: y", "ü", "{}", &"x".repeat(65)] {
            assert_eq!(None, sane_request_id(made_anew), "{made_anew:?}");
        }
    }
}
