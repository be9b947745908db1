//! One span as it is shown: plain data, whatever the file format was.

use std::{collections::BTreeMap, fmt, ops::Range};

use serde::Serialize;

use crate::telemetry::names::{PROXY_HTTP_REQUEST, PROXY_ROUTE_TO_REPLICA, WAITED_US};

use super::{SpanId, TraceId};

/// Maps an attribute's key to its value.
pub type Attributes = BTreeMap<String, Value>;

/// Records one step of a request in one process.
///
/// Times are nanoseconds since 1970 by the clock of the process that wrote the span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span that caused it; a root has none.
    pub parent_span_id: Option<SpanId>,
    /// What was done: `replica_handle_request`.
    pub name: String,
    /// Its part in a call.
    pub kind: Kind,
    /// When it began.
    #[serde(rename = "start_unix_nano")]
    pub start: u64,
    /// When it ended.
    #[serde(rename = "end_unix_nano")]
    pub end: u64,
    /// What is known about it.
    pub attributes: Attributes,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// How it ended.
    pub status: Status,
    /// The service that wrote it: `user-service`.
    pub service: String,
    /// The process of the service that wrote it.
    pub instance: Option<String>,
}

/// Tells whether a trace may begin with such a span.
///
/// A request that came with its caller's trace has a parent, in a program that writes no files here.
pub(crate) fn is_root(name: &str, has_parent: bool) -> bool {
    !has_parent || name == PROXY_HTTP_REQUEST
}

impl Span {
    pub(super) fn is_root(&self) -> bool {
        is_root(&self.name, self.parent_span_id.is_some())
    }

    /// Returns how long it took, in nanoseconds; a clock that was set back makes this 0.
    #[must_use]
    pub const fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns when it waited for something beside it, and not for what is below it.
    pub(super) fn waits(&self) -> impl Iterator<Item = Range<u64>> {
        self.events.iter().filter_map(|event| {
            let Some(Value::Int(waited)) = event.attributes.get(WAITED_US) else {
                return None;
            };
            let waited = u64::try_from(*waited).ok()?.saturating_mul(1_000);
            let end = event.time.min(self.end);
            Some(event.time.saturating_sub(waited).max(self.start)..end)
        })
    }

    /// Returns an attribute's text; `None` where it is absent or no text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.attributes.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Tells whether it is the caller's side of a call, whose other side is recorded as well; of a database or a
    /// mail server nobody records it.
    pub(super) fn is_call(&self) -> bool {
        self.kind == Kind::Client && self.name == PROXY_ROUTE_TO_REPLICA
    }

    /// Tells whether its times can be compared with those of what called it: the process is the same, or it lies within
    /// that, as it would not if clocks differed much.
    pub(super) fn has_clock_of(&self, parent: &Self) -> bool {
        (&self.service, &self.instance) == (&parent.service, &parent.instance)
            || (parent.start <= self.start && self.end <= parent.end)
    }

    /// Tells whether it failed.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self.status, Status::Error(_))
    }
}

/// Names a span's part in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Not said, or not known to this version.
    Unspecified,
    /// Work within a process.
    Internal,
    /// The side that answers a call.
    Server,
    /// The side that makes a call and waits for it.
    Client,
    /// The side that sends a message.
    Producer,
    /// The side that receives a message.
    Consumer,
}

/// Says how a span ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", content = "message", rename_all = "snake_case")]
pub enum Status {
    /// Nobody said.
    Unset,
    /// Somebody declared it good.
    Ok,
    /// It failed; the message may be empty.
    Error(String),
}

/// Records a moment within a span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// When it happened.
    #[serde(rename = "time_unix_nano")]
    pub time: u64,
    /// What happened.
    pub name: String,
    /// What is known about it.
    pub attributes: Attributes,
}

/// Holds an attribute's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Nothing, or something that this version doesn't know.
    Empty,
    /// A text; bytes are here as base64.
    String(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// Several values.
    Array(Vec<Value>),
    /// Values by key.
    Map(Attributes),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::String(text) => f.write_str(text),
            Self::Int(number) => number.fmt(f),
            Self::Double(number) => number.fmt(f),
            Self::Bool(truth) => truth.fmt(f),
            Self::Array(_) | Self::Map(_) => {
                f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
            }
        }
    }
}
