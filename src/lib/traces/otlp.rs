//! The file format: one OTLP request as JSON a line, as opentelemetry-proto writes it.
//!
//! A line is read in one of two depths: [`Endings`] to find the last trace among all lines, [`Spans`]
//! to show a trace. Unknown fields are ignored: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

mod values;

use serde::{Deserialize, de};

use self::values::{KeyValue, attributes, nanos};
use super::{
    SpanId, TraceId,
    id::parent,
    span::{Event, Kind, Span, Status, Value, is_root},
};
use crate::telemetry::names::PROXY_HTTP_REQUEST;

/// What is needed of a line to find the last trace.
pub(super) type Endings = Line<de::IgnoredAny, Ending>;
/// Everything in a line that is shown.
pub(super) type Spans = Line<Resource, RawSpan>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line<R, S> {
    // A path, because the plain `default` would ask for `S: Default`.
    #[serde(default = "Vec::new")]
    resource_spans: Vec<ResourceSpans<R, S>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<R, S> {
    resource: Option<R>,
    #[serde(default = "Vec::new")]
    scope_spans: Vec<ScopeSpans<S>>,
}

#[derive(Deserialize)]
struct ScopeSpans<S> {
    #[serde(default = "Vec::new")]
    spans: Vec<S>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ending {
    pub(super) trace_id: TraceId,
    #[serde(default, deserialize_with = "parent")]
    parent_span_id: Option<SpanId>,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "nanos")]
    pub(super) start_time_unix_nano: u64,
    #[serde(deserialize_with = "nanos")]
    pub(super) end_time_unix_nano: u64,
}

impl Ending {
    pub(super) fn is_root(&self) -> bool {
        is_root(&self.name, self.parent_span_id.is_some())
    }

    /// Tells whether it came by HTTP.
    pub(super) fn is_request(&self) -> bool {
        self.name == PROXY_HTTP_REQUEST
    }
}

impl Endings {
    pub(super) fn into_endings(self) -> impl Iterator<Item = Ending> {
        self.resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
    }
}

/// The trace ids in a line, by its bytes alone: parsing is what costs. They are whole strings after their key.
pub(super) fn trace_ids(line: &[u8]) -> impl Iterator<Item = TraceId> {
    let mut texts = line.split(|byte| *byte == b'"');
    std::iter::from_fn(move || {
        texts.find(|text| *text == b"traceId")?;
        // Between the quotes of key and value is the colon.
        texts.nth(1)
    })
    .filter_map(|text| std::str::from_utf8(text).ok()?.parse().ok())
}

#[derive(Deserialize)]
pub(super) struct Resource {
    #[serde(default)]
    attributes: Vec<KeyValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawSpan {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(default, deserialize_with = "parent")]
    parent_span_id: Option<SpanId>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: serde_json::Value,
    #[serde(deserialize_with = "nanos")]
    start_time_unix_nano: u64,
    #[serde(deserialize_with = "nanos")]
    end_time_unix_nano: u64,
    #[serde(default)]
    attributes: Vec<KeyValue>,
    #[serde(default)]
    events: Vec<RawEvent>,
    status: Option<RawStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent {
    #[serde(default, deserialize_with = "nanos")]
    time_unix_nano: u64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    attributes: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct RawStatus {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: String,
}

impl Spans {
    /// Returns the spans of the traces wanted; `owner` names the file's service and instance.
    pub(super) fn into_spans(
        self,
        owner: (&str, Option<&str>),
        wanted: impl Fn(TraceId) -> bool,
    ) -> Vec<Span> {
        let mut spans = Vec::new();
        for resource in self.resource_spans {
            let mut known = attributes(resource.resource.map_or_else(Vec::new, |r| r.attributes));
            let mut take = |key| match known.remove(key) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            };
            let service = take("service.name").unwrap_or_else(|| owner.0.to_owned());
            let instance = take("service.instance.id").or_else(|| owner.1.map(str::to_owned));
            spans.extend(
                resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans)
                    .filter(|span| wanted(span.trace_id))
                    .map(|span| span.into_span(service.clone(), instance.clone())),
            );
        }
        spans
    }
}

impl RawSpan {
    fn into_span(self, service: String, instance: Option<String>) -> Span {
        Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            name: self.name,
            kind: kind(&self.kind),
            start: self.start_time_unix_nano,
            end: self.end_time_unix_nano,
            attributes: attributes(self.attributes),
            events: self.events.into_iter().map(RawEvent::into_event).collect(),
            status: self.status.map_or(Status::Unset, RawStatus::into_status),
            service,
            instance,
        }
    }
}

impl RawEvent {
    fn into_event(self) -> Event {
        Event {
            time: self.time_unix_nano,
            name: self.name,
            attributes: attributes(self.attributes),
        }
    }
}

impl RawStatus {
    fn into_status(self) -> Status {
        match enumerated(&self.code, "STATUS_CODE_", &["UNSET", "OK", "ERROR"]) {
            Some(1) => Status::Ok,
            Some(2) => Status::Error(self.message),
            _ => Status::Unset,
        }
    }
}

fn kind(value: &serde_json::Value) -> Kind {
    const NAMES: [&str; 6] = [
        "UNSPECIFIED",
        "INTERNAL",
        "SERVER",
        "CLIENT",
        "PRODUCER",
        "CONSUMER",
    ];
    match enumerated(value, "SPAN_KIND_", &NAMES) {
        Some(1) => Kind::Internal,
        Some(2) => Kind::Server,
        Some(3) => Kind::Client,
        Some(4) => Kind::Producer,
        Some(5) => Kind::Consumer,
        _ => Kind::Unspecified,
    }
}

/// Reads an enum value: the standard asks for its number, some writers write its name.
fn enumerated(value: &serde_json::Value, prefix: &str, names: &[&str]) -> Option<usize> {
    match value {
        serde_json::Value::String(text) => {
            let name = text.strip_prefix(prefix)?;
            names.iter().position(|known| *known == name)
        }
        number => usize::try_from(number.as_u64()?).ok(),
    }
}
