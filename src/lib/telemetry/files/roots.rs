//! What the index tells of a root.

use opentelemetry::{
    KeyValue, Value,
    trace::{SpanId, Status},
};
use opentelemetry_sdk::trace::SpanData;

use crate::{
    telemetry::names,
    traces::{TraceId, files::nanos, index::Root, is_root},
};

/// Returns what is told of a span, if a trace may begin with it.
pub(super) fn of(span: &SpanData) -> Option<Root<'static>> {
    let has_parent = span.parent_span_id != SpanId::INVALID;
    if !is_root(&span.name, has_parent) {
        return None;
    }
    let trace_id = u128::from_be_bytes(span.span_context.trace_id().to_bytes());
    let start = nanos(span.start_time);
    let attribute = |key: &'static str| {
        let has_key = |attribute: &&KeyValue| attribute.key.as_str() == key;
        span.attributes.iter().find(has_key).map(|one| &one.value)
    };
    let text = |key| attribute(key).map(|value| value.as_str().into_owned().into());
    let root = Root {
        trace_id: TraceId::new(trace_id)?,
        start,
        duration: nanos(span.end_time).saturating_sub(start),
        method: text(names::HTTP_REQUEST_METHOD).unwrap_or_default(),
        path: text(names::URL_PATH)
            .or_else(|| text(names::RPC_METHOD))
            .unwrap_or_else(|| span.name.clone()),
        route: text(names::HTTP_ROUTE).unwrap_or_default(),
        status: match attribute(names::HTTP_RESPONSE_STATUS_CODE) {
            Some(Value::I64(status)) => Some(*status),
            _ => None,
        },
        error: matches!(span.status, Status::Error { .. }),
    };
    Some(root)
}
