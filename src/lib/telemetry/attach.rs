//! Makes a bare log event an event of the runtime's span.
//!
//! The runtime's spans are no `tracing` spans, so `tracing-opentelemetry` doesn't see them; an event
//! outside every `tracing` span would be lost to the trace. Events inside one are its business.

use std::{borrow::Cow, fmt};

use opentelemetry::{Context as OtelContext, KeyValue, trace::TraceContextExt};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// Attaches events that have no `tracing` span to the current OpenTelemetry span.
#[derive(Debug, Clone, Copy)]
pub(super) struct BareEvents;

impl<S> Layer<S> for BareEvents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if context.event_span(event).is_some() {
            return;
        }
        OtelContext::map_current(|current| {
            let span = current.span();
            if span.is_recording() {
                let mut attributes = Attributes::default();
                attributes
                    .list
                    .push(KeyValue::new("level", event.metadata().level().as_str()));
                event.record(&mut attributes);
                span.add_event(attributes.message, attributes.list);
            }
        });
    }
}

#[derive(Default)]
struct Attributes {
    message: Cow<'static, str>,
    list: Vec<KeyValue>,
}

impl Attributes {
    fn push(&mut self, field: &Field, value: impl Into<opentelemetry::Value>) {
        self.list.push(KeyValue::new(field.name(), value));
    }
}

impl Visit for Attributes {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned().into();
        } else {
            self.push(field, value.to_owned());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
