//! The wire format: headers and codec, pure.
//!
//! Bytes and headers on one side; trace context, deadline, request id, payload or status on the
//! other. No I/O and no clock of its own; `docs/protocol.md` holds the format exactly.

mod reply;
mod request;

use std::str::FromStr as _;

use async_nats::{HeaderMap, HeaderValue, header::HeaderName};

pub(crate) use reply::{Answer, Interim, Reply, ReplyHead};
pub(crate) use request::{MAX_TIMEOUT, RequestHead};

/// Header names. NATS headers are case-sensitive; ours are lower case, ADR-32's are not ours.
mod header {
    pub(super) const TRACEPARENT: &str = "traceparent";
    pub(super) const TRACESTATE: &str = "tracestate";
    pub(super) const REQUEST_ID: &str = "x-request-id";
    pub(super) const TIMEOUT_MS: &str = "timeout-ms";
    pub(super) const ATTEMPT: &str = "attempt";

    pub(super) const REPLICA: &str = "replica";
    pub(super) const QUEUE_WAIT_MS: &str = "queue-wait-ms";
    pub(super) const LEAVING: &str = "leaving";
    pub(super) const INTERIM: &str = "interim";
    pub(super) const NOT_ACCEPTED: &str = "not-accepted";
    pub(super) const ERROR: &str = "Nats-Service-Error";
    pub(super) const ERROR_CODE: &str = "Nats-Service-Error-Code";
}

/// Inserts a value that is known to be clean; one that isn't (CR, LF) is left out, not a panic.
fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
