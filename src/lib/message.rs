//! The wire format: headers and codec, pure.
//!
//! Bytes and headers on one side; trace context, deadline, request id, payload or status on the
//! other. No I/O and no clock of its own; `docs/protocol.md` holds the format exactly.

mod reply;
mod request;

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderValue, header::HeaderName};

pub(crate) use reply::{Answer, Interim, Reply, ReplyHead};
pub(crate) use request::{MAX_TIMEOUT, RequestHead};

/// Header names. NATS headers are case-sensitive; ours are lower case, ADR-32's are not ours.
mod header {
    use async_nats::header::HeaderName;

    pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
    pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    pub(super) const TIMEOUT_MS: HeaderName = HeaderName::from_static("timeout-ms");
    pub(super) const DEADLINE_UNIX_MS: HeaderName = HeaderName::from_static("deadline-unix-ms");
    pub(super) const ATTEMPT: HeaderName = HeaderName::from_static("attempt");

    pub(super) const REPLICA: HeaderName = HeaderName::from_static("replica");
    pub(super) const QUEUE_WAIT_MS: HeaderName = HeaderName::from_static("queue-wait-ms");
    pub(super) const LOAD: HeaderName = HeaderName::from_static("load");
    pub(super) const LEAVING: HeaderName = HeaderName::from_static("leaving");
    pub(super) const INTERIM: HeaderName = HeaderName::from_static("interim");
    pub(super) const NOT_ACCEPTED: HeaderName = HeaderName::from_static("not-accepted");
    pub(super) const ERROR: HeaderName = HeaderName::from_static("Nats-Service-Error");
    pub(super) const ERROR_CODE: HeaderName = HeaderName::from_static("Nats-Service-Error-Code");
}

/// Inserts a value that is known to be clean; one that isn't (CR, LF) is left out, not a panic.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(HeaderValue::as_str)
}

/// Reads a header that a stranger may have written: what doesn't parse counts as absent.
fn parse<T: FromStr>(headers: &HeaderMap, name: HeaderName) -> Option<T> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
