//! A request's headers.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, HeaderValue, header::HeaderName};
use opentelemetry::trace::SpanContext;

use super::{each, header, insert};
use crate::{context::sane_request_id, telemetry::propagation};

/// Longest time that a caller may ask for; a larger value counts as this.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// What travels beside a request's payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RequestHead {
    /// The caller's span; `None` where there is none or its header is malformed.
    pub(crate) trace: Option<SpanContext>,
    pub(crate) request_id: Option<Arc<str>>,
    /// How much time was left when the caller sent this, as it said: see [`time_left`](Self::time_left).
    /// `None`: the caller set no limit.
    pub(crate) timeout: Option<Duration>,
    /// The same limit on the caller's clock, in milliseconds since 1970: shows how long a request lay
    /// in a buffer on its way, which the relative value can't.
    pub(crate) deadline_unix_ms: Option<u64>,
    /// Counts from 1.
    pub(crate) attempt: u32,
}

impl RequestHead {
    /// Makes the head of an attempt that is sent `now` after 1970 with `timeout` left.
    pub(crate) fn new(
        trace: Option<SpanContext>,
        request_id: Arc<str>,
        timeout: Duration,
        now: Duration,
        attempt: u32,
    ) -> Self {
        let deadline = now + timeout;
        Self {
            trace,
            request_id: Some(request_id),
            timeout: Some(timeout),
            deadline_unix_ms: u64::try_from(deadline.as_millis()).ok(),
            attempt,
        }
    }

    /// Returns how long somebody waits, as far as we believe it.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.timeout.map(|timeout| timeout.min(MAX_TIMEOUT))
    }

    /// Returns when the sender sent this, on his clock, in milliseconds since 1970.
    pub(crate) fn sent_unix_ms(&self) -> Option<i64> {
        let timeout = i64::try_from(self.timeout?.as_millis()).ok()?;
        i64::try_from(self.deadline_unix_ms?)
            .ok()?
            .checked_sub(timeout)
    }

    pub(crate) fn encode(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(trace) = &self.trace {
            if let Some(traceparent) = propagation::traceparent(trace) {
                insert(&mut headers, header::TRACEPARENT, &traceparent);
            }
            let tracestate = trace.trace_state().header();
            if !tracestate.is_empty() {
                insert(&mut headers, header::TRACESTATE, &tracestate);
            }
        }
        if let Some(id) = &self.request_id {
            insert(&mut headers, header::REQUEST_ID, id);
        }
        if let Some(timeout) = self.timeout {
            insert(
                &mut headers,
                header::TIMEOUT_MS,
                &timeout.as_millis().to_string(),
            );
        }
        if let Some(deadline) = self.deadline_unix_ms {
            insert(
                &mut headers,
                header::DEADLINE_UNIX_MS,
                &deadline.to_string(),
            );
        }
        if self.attempt > 1 {
            insert(&mut headers, header::ATTEMPT, &self.attempt.to_string());
        }
        headers
    }

    /// Reads a request's headers. Malformed values count as absent: whoever calls us with another
    /// client should get an answer, not a riddle.
    pub(crate) fn decode(headers: Option<&HeaderMap>) -> Self {
        let Some(headers) = headers else {
            return Self::default();
        };
        let mut head = Self::default();
        for (name, value) in each(headers) {
            match name {
                header::TRACEPARENT => head.trace = trace(value, headers),
                header::REQUEST_ID => {
                    head.request_id = sane_request_id(value).map(Arc::from);
                }
                header::TIMEOUT_MS => head.timeout = value.parse().ok().map(Duration::from_millis),
                header::DEADLINE_UNIX_MS => head.deadline_unix_ms = value.parse().ok(),
                header::ATTEMPT => head.attempt = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        head
    }
}

/// Reads the caller's span. Of two parents neither is, and a state that comes in pieces is one.
fn trace(parent: &str, headers: &HeaderMap) -> Option<SpanContext> {
    let all = |name| headers.get_all(HeaderName::from_static(name));
    if all(header::TRACEPARENT).nth(1).is_some() {
        return None;
    }
    let states: Vec<&str> = all(header::TRACESTATE).map(HeaderValue::as_str).collect();
    propagation::parse(parent, &states.join(","))
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            trace: None,
            request_id: None,
            timeout: None,
            deadline_unix_ms: None,
            attempt: 1,
        }
    }
}
