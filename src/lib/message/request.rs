//! A request's headers.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, HeaderValue};
use opentelemetry::trace::SpanContext;

use super::{header, insert};
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
    /// When that was, on the caller's clock, in milliseconds since 1970: shows how long a request lay
    /// in a buffer on its way, which the relative value can't. It travels with the timeout.
    pub(crate) sent_unix_ms: Option<u64>,
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
        Self {
            trace,
            request_id: Some(request_id),
            timeout: Some(timeout),
            sent_unix_ms: u64::try_from(now.as_millis()).ok(),
            attempt,
        }
    }

    /// Returns how long somebody waits, as far as we believe it.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.timeout.map(|timeout| timeout.min(MAX_TIMEOUT))
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
            // Not by `format!`, which takes several times as long.
            let mut value = timeout.as_millis().to_string();
            if let Some(sent) = self.sent_unix_ms {
                value.push_str(";sent=");
                value.push_str(&sent.to_string());
            }
            insert(&mut headers, header::TIMEOUT_MS, &value);
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
        let (mut parents, mut states) = (&[][..], &[][..]);
        for (name, values) in headers.iter() {
            let value = values.first().map_or("", HeaderValue::as_str);
            match name.as_ref() {
                header::TRACEPARENT => parents = values,
                header::TRACESTATE => states = values,
                header::REQUEST_ID => {
                    head.request_id = sane_request_id(value).map(Arc::from);
                }
                header::TIMEOUT_MS => (head.timeout, head.sent_unix_ms) = timeout(value),
                header::ATTEMPT => head.attempt = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        head.trace = trace(parents, states);
        head
    }
}

/// Reads `<milliseconds>`, and after `;sent=` when that was true. Other parameters are of later versions.
fn timeout(value: &str) -> (Option<Duration>, Option<u64>) {
    let mut parts = value.split(';').map(str::trim);
    let timeout = parts.next().and_then(|number| number.parse().ok());
    let sent = parts.find_map(|part| part.strip_prefix("sent="));
    let sent = sent.and_then(|number| number.parse().ok());
    (
        timeout.map(Duration::from_millis),
        sent.filter(|_| timeout.is_some()),
    )
}

/// Reads the caller's span. Of two parents neither is, and a state that comes in pieces is one.
fn trace(parents: &[HeaderValue], states: &[HeaderValue]) -> Option<SpanContext> {
    let [parent] = parents else {
        return None;
    };
    let states: Vec<&str> = states.iter().map(HeaderValue::as_str).collect();
    propagation::parse(parent.as_str(), &states.join(","))
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            trace: None,
            request_id: None,
            timeout: None,
            sent_unix_ms: None,
            attempt: 1,
        }
    }
}
