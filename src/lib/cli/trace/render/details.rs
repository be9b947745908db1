//! What is said of a span below its line: why it failed, how long it waited, how often it was tried, what happened.

use crate::{
    telemetry::names,
    traces::{Event, Span, Status, Value},
};

use super::duration::show_nanos;

/// Says why a span failed, as far as its process knew; the mark already says that it did.
pub(super) fn failure(span: &Span) -> Option<String> {
    let Status::Error(message) = &span.status else {
        return None;
    };
    match (
        span.text(names::ERROR_TYPE).unwrap_or_default(),
        message.trim(),
    ) {
        ("", "") => None,
        (kind, "") => Some(kind.to_owned()),
        (kind, message) if message.starts_with(kind) => Some(message.to_owned()),
        (kind, message) => Some(format!("{kind}: {message}")),
    }
}

/// What is worth a line, and what happened meanwhile, in its order; times are since the begin of the trace.
pub(super) fn notes(span: &Span, begin: u64) -> Vec<String> {
    let mut notes: Vec<String> = [waited(span), tried(span)].into_iter().flatten().collect();
    let mut events: Vec<&Event> = span.events.iter().collect();
    events.sort_by_key(|event| event.time);
    notes.extend(events.into_iter().map(|event| happened(event, begin)));
    notes
}

/// A wait for a place, told by the one who waited.
fn waited(span: &Span) -> Option<String> {
    if span.name != names::REPLICA_HANDLE_REQUEST && span.text(names::RPC_METHOD).is_some() {
        return None;
    }
    let waited = number(span, names::QUEUE_WAIT_MS).filter(|ms| *ms > 0)?;
    Some(format!("waited {waited} ms for its turn"))
}

fn tried(span: &Span) -> Option<String> {
    if span.name != names::PROXY_ROUTE_TO_REPLICA {
        return None;
    }
    let attempts = number(span, names::ATTEMPT).filter(|attempt| *attempt > 1)?;
    let answered = span
        .text(names::REPLICA_ID)
        .map_or_else(String::new, |by| format!(", the last one answered by {by}"));
    Some(format!("{attempts} attempts{answered}"))
}

fn happened(event: &Event, begin: u64) -> String {
    let at = show_nanos(event.time.saturating_sub(begin));
    let told = event.attributes.iter();
    let told: String = told.map(|(key, value)| said(key, value)).collect();
    format!("+{at} {}{told}", event.name)
}

fn said(key: &str, value: &Value) -> String {
    match (key, value) {
        (names::WAITED_US, Value::Int(waited)) => {
            let waited = u64::try_from(*waited).unwrap_or(0);
            format!(
                ", after a wait of {}",
                show_nanos(waited.saturating_mul(1_000))
            )
        }
        _ => format!(" {key}={value}"),
    }
}

fn number(span: &Span, key: &str) -> Option<i64> {
    match span.attributes.get(key)? {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}
