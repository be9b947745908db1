//! Spans as one line of OTLP JSON, written from where they lie.
//!
//! opentelemetry-proto copies each span into structs of its own before it writes them, and both together take several
//! times as long. It writes what is rare, and the test holds what is written here against it.

use std::io::{self, Write};

use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, Value,
    trace::{Event, Link, SpanContext, SpanKind, Status},
};
use opentelemetry_proto::{
    tonic::{
        common::v1::{AnyValue, InstrumentationScope as ScopeMessage},
        resource::v1::Resource as ResourceMessage,
    },
    transform::common::tonic::ResourceAttributesWithSchema,
};
use opentelemetry_sdk::{Resource, trace::SpanData};
use serde::Serialize;

use crate::{telemetry::propagation, traces::files::nanos};

/// Flags of a span: it is known whether its parent is of another process, and it is.
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Writes the spans of one process.
#[derive(Debug)]
pub(super) struct Encoder {
    resource: ResourceMessage,
    schema_url: String,
}

impl Encoder {
    pub(super) fn new(resource: &Resource) -> Self {
        let known = ResourceAttributesWithSchema::from(resource);
        Self {
            resource: ResourceMessage {
                attributes: known.attributes.0,
                ..ResourceMessage::default()
            },
            schema_url: known.schema_url.unwrap_or_default(),
        }
    }

    /// Appends one line with all spans, those of a scope together.
    pub(super) fn line(&self, out: &mut Vec<u8>, spans: &[SpanData]) -> io::Result<()> {
        let mut scopes: Vec<&InstrumentationScope> = Vec::new();
        for SpanData {
            instrumentation_scope: scope,
            ..
        } in spans
        {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        out.extend(br#"{"resourceSpans":[{"resource":"#);
        json(out, &self.resource)?;
        out.extend(br#","scopeSpans":["#);
        list(out, scopes, |out, scope| of_scope(out, scope, spans))?;
        out.extend(br#"],"schemaUrl":"#);
        json(out, &self.schema_url)?;
        out.extend(b"}]}\n");
        Ok(())
    }
}

fn of_scope(out: &mut Vec<u8>, scope: &InstrumentationScope, spans: &[SpanData]) -> io::Result<()> {
    out.extend(br#"{"scope":"#);
    json(out, &ScopeMessage::from((scope, None)))?;
    out.extend(br#","spans":["#);
    let own = spans.iter();
    list(
        out,
        own.filter(|span| span.instrumentation_scope == *scope),
        span,
    )?;
    out.extend(br#"],"schemaUrl":"#);
    json(out, scope.schema_url().unwrap_or_default())?;
    out.push(b'}');
    Ok(())
}

fn span(out: &mut Vec<u8>, span: &SpanData) -> io::Result<()> {
    let context = &span.span_context;
    ids(out, context)?;
    out.extend(br#","parentSpanId":""#);
    if span.parent_span_id != SpanId::INVALID {
        hex(out, &span.parent_span_id.to_bytes());
    }
    out.extend(br#"","flags":"#);
    json(out, &flags(context, span.parent_span_is_remote))?;
    out.extend(br#","name":"#);
    json(out, &*span.name)?;
    out.extend(br#","kind":"#);
    json(out, &kind(&span.span_kind))?;
    out.extend(br#","startTimeUnixNano":""#);
    json(out, &nanos(span.start_time))?;
    out.extend(br#"","endTimeUnixNano":""#);
    json(out, &nanos(span.end_time))?;
    out.extend(br#"","#);
    attributes(out, &span.attributes, span.dropped_attributes_count)?;
    out.extend(br#","events":["#);
    list(out, span.events.iter(), event)?;
    out.extend(br#"],"droppedEventsCount":"#);
    json(out, &span.events.dropped_count)?;
    out.extend(br#","links":["#);
    list(out, span.links.iter(), link)?;
    out.extend(br#"],"droppedLinksCount":"#);
    json(out, &span.links.dropped_count)?;
    out.extend(br#","status":{"message":"#);
    let (code, message) = match &span.status {
        Status::Unset => (0, ""),
        Status::Ok => (1, ""),
        Status::Error { description } => (2, description.as_ref()),
    };
    json(out, message)?;
    out.extend(br#","code":"#);
    json(out, &code)?;
    out.extend(b"}}");
    Ok(())
}

fn link(out: &mut Vec<u8>, link: &Link) -> io::Result<()> {
    let context = &link.span_context;
    ids(out, context)?;
    out.push(b',');
    attributes(out, &link.attributes, link.dropped_attributes_count)?;
    out.extend(br#","flags":"#);
    json(out, &flags(context, context.is_remote()))?;
    out.push(b'}');
    Ok(())
}

/// What a span and a link begin with.
fn ids(out: &mut Vec<u8>, context: &SpanContext) -> io::Result<()> {
    out.extend(br#"{"traceId":""#);
    hex(out, &context.trace_id().to_bytes());
    out.extend(br#"","spanId":""#);
    hex(out, &context.span_id().to_bytes());
    out.extend(br#"","traceState":"#);
    json(out, &context.trace_state().header())
}

fn flags(context: &SpanContext, remote: bool) -> u32 {
    let remote = if remote { IS_REMOTE } else { 0 };
    u32::from(context.trace_flags().to_u8()) | KNOWS_REMOTE | remote
}

fn event(out: &mut Vec<u8>, event: &Event) -> io::Result<()> {
    out.extend(br#"{"timeUnixNano":""#);
    json(out, &nanos(event.timestamp))?;
    out.extend(br#"","name":"#);
    json(out, &*event.name)?;
    out.push(b',');
    attributes(out, &event.attributes, event.dropped_attributes_count)?;
    out.push(b'}');
    Ok(())
}

fn attributes(out: &mut Vec<u8>, attributes: &[KeyValue], dropped: u32) -> io::Result<()> {
    out.extend(br#""attributes":["#);
    list(out, attributes, |out, KeyValue { key, value, .. }| {
        out.extend(br#"{"key":"#);
        json(out, key.as_str())?;
        out.extend(br#","value":"#);
        any(out, value)?;
        out.push(b'}');
        Ok(())
    })?;
    out.extend(br#"],"droppedAttributesCount":"#);
    json(out, &dropped)
}

fn any(out: &mut Vec<u8>, value: &Value) -> io::Result<()> {
    match value {
        Value::String(text) => {
            out.extend(br#"{"stringValue":"#);
            json(out, text.as_str())?;
            out.push(b'}');
            Ok(())
        }
        Value::I64(number) => {
            out.extend(br#"{"intValue":""#);
            json(out, number)?;
            out.extend(br#""}"#);
            Ok(())
        }
        // JSON has no NaN and no infinity; as `null` they would cost the reader the whole line.
        Value::F64(number) if !number.is_finite() => write!(out, r#"{{"stringValue":"{number}"}}"#),
        Value::Array(Array::F64(numbers)) => {
            out.extend(br#"{"arrayValue":{"values":["#);
            list(out, numbers, |out, number| any(out, &Value::F64(*number)))?;
            out.extend(b"]}}");
            Ok(())
        }
        other => json(out, &AnyValue::from(other.clone())),
    }
}

fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut one: impl FnMut(&mut Vec<u8>, T) -> io::Result<()>,
) -> io::Result<()> {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        one(out, item)?;
    }
    Ok(())
}

/// Writes anything as it is in JSON. Numbers too: `write!` takes several times as long.
fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    Ok(serde_json::to_writer(out, value)?)
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.extend_from_slice(&propagation::hex(*byte));
    }
}

const fn kind(kind: &SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        borrow::Cow,
        time::{Duration, SystemTime},
    };

    use opentelemetry::trace::{TraceFlags, TraceId, TraceState};
    use opentelemetry_proto::{
        tonic::trace::v1::TracesData, transform::trace::tonic::group_spans_by_resource_and_scope,
    };
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn plain(id: u64, scope: &'static str) -> SpanData {
        let context = |flags, state| {
            SpanContext::new(TraceId::from(7), SpanId::from(id), flags, false, state)
        };
        SpanData {
            span_context: context(TraceFlags::SAMPLED, TraceState::default()),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Borrowed("plain"),
            start_time: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_693_310_400_000_000_007),
            end_time: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_693_310_400_500_000_000),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder(scope).build(),
        }
    }

    /// All that can be in a span.
    fn full() -> SpanData {
        let mut full = plain(9, "nats-serve");
        let state = TraceState::from_key_value([("a", "1"), ("b", "2")]).unwrap();
        full.span_context = SpanContext::new(
            TraceId::from(u128::MAX - 5),
            SpanId::from(u64::MAX - 5),
            TraceFlags::SAMPLED,
            true,
            state.clone(),
        );
        full.parent_span_id = SpanId::from(3);
        full.parent_span_is_remote = true;
        full.name = Cow::Borrowed("quotes \" \\ and \u{1} ü\n");
        full.attributes = vec![
            KeyValue::new("text", "\u{1b}[31m \"x\""),
            KeyValue::new("number", i64::MIN),
            KeyValue::new("yes", true),
            KeyValue::new("half", 0.5),
            KeyValue::new(
                "texts",
                Value::Array(Array::String(vec!["a".into(), "b".into()])),
            ),
            KeyValue::new("numbers", Value::Array(Array::I64(vec![1, -2]))),
            KeyValue::new("halves", Value::Array(Array::F64(vec![0.5, -2.0]))),
        ];
        full.dropped_attributes_count = 2;
        let attributes = vec![KeyValue::new("attempt", 1_i64)];
        let event = Event::new("gate", full.end_time, attributes.clone(), 1);
        full.events.events = vec![event.clone(), event];
        full.events.dropped_count = 3;
        let linked = SpanContext::new(
            TraceId::from(1),
            SpanId::from(2),
            TraceFlags::SAMPLED,
            true,
            state,
        );
        full.links.links = vec![Link::new(linked, attributes, 4)];
        full.links.dropped_count = 5;
        full.status = Status::error("it \"broke\"");
        full
    }

    #[test]
    fn a_line_is_what_opentelemetrys_own_words_for_it_are() {
        let kinds = [
            SpanKind::Server,
            SpanKind::Client,
            SpanKind::Producer,
            SpanKind::Consumer,
        ];
        let mut spans = vec![full(), plain(1, "another"), plain(2, "nats-serve")];
        spans.extend(kinds.into_iter().zip(10..).map(|(span_kind, id)| SpanData {
            span_kind,
            status: Status::Ok,
            ..plain(id, "nats-serve")
        }));
        let resource = Resource::builder_empty()
            .with_schema_url([KeyValue::new("service.name", "gateway")], "https://schema")
            .build();
        let mut line = Vec::new();
        Encoder::new(&resource).line(&mut line, &spans).unwrap();
        let theirs = TracesData {
            resource_spans: group_spans_by_resource_and_scope(spans, &(&resource).into()),
        };
        let theirs = serde_json::to_string(&theirs).unwrap() + "\n";
        pretty_assertions::assert_eq!(theirs, String::from_utf8(line).unwrap());
    }

    #[test]
    fn what_json_has_no_number_for_is_a_text() {
        let mut odd = plain(1, "x");
        let all = Array::F64(vec![1.0, f64::INFINITY]);
        let numbers = || vec![KeyValue::new("odd", f64::NAN)];
        odd.attributes = numbers();
        odd.attributes.push(KeyValue::new("all", Value::Array(all)));
        odd.events.events = vec![Event::new("x", odd.end_time, numbers(), 0)];
        odd.links.links = vec![Link::new(odd.span_context.clone(), numbers(), 0)];
        let mut line = Vec::new();
        let empty = Encoder::new(&Resource::builder_empty().build());
        empty.line(&mut line, &[odd]).unwrap();
        let line = String::from_utf8(line).unwrap();
        let texts = [r#"{"stringValue":"NaN"}"#, r#"{"stringValue":"inf"}"#];
        let counts = texts.map(|text| line.matches(text).count());
        assert_eq!([3, 1], counts, "{line}");
        assert!(!line.contains("null"), "{line}");
    }
}
