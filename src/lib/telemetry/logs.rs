//! Log lines with the ids of their request: readable on a terminal, JSON otherwise.

use std::{
    fmt,
    io::{self, IsTerminal},
};

use opentelemetry::{Context as OtelContext, trace::TraceContextExt};
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::lines::Lines;
use crate::{Instance, context::RequestScope};

/// Writes log lines to standard error.
pub(super) fn layer<S>(instance: &Instance, output: Lines) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let format = Format {
        service: instance.service().name(),
        instance: instance.id().to_owned(),
        json: !io::stderr().is_terminal(),
    };
    tracing_subscriber::fmt::layer()
        .event_format(format)
        .log_internal_errors(false)
        .with_writer(move || output.line())
}

/// Words the line that says how many lines nobody read, in the format of all lines.
pub(super) fn note_of_loss(instance: &Instance) -> impl Fn(u64) -> String + Send + use<> {
    let (service, instance) = (instance.service().name(), instance.id().to_owned());
    let json = !io::stderr().is_terminal();
    move |dropped| {
        let message = "log lines were dropped: nobody read them in time";
        let mut timestamp = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        if !json {
            return format!("{timestamp}  WARN {service}: {message} dropped={dropped}");
        }
        serde_json::json!({
            "timestamp": timestamp, "level": "WARN", "target": module_path!(),
            "service": service, "instance": instance, "message": message, "dropped": dropped,
        })
        .to_string()
    }
}

struct Format {
    service: &'static str,
    instance: String,
    json: bool,
}

/// The request that a line belongs to.
#[derive(Default)]
struct Ids {
    trace_id: Option<String>,
    span_id: Option<String>,
    request_id: Option<String>,
}

impl Ids {
    fn current() -> Self {
        let span = OtelContext::map_current(|current| current.span().span_context().clone());
        let valid = span.is_valid();
        Self {
            trace_id: valid.then(|| span.trace_id().to_string()),
            span_id: valid.then(|| span.span_id().to_string()),
            request_id: RequestScope::current().map(|scope| scope.request_id.to_string()),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let ids = Ids::current();
        if self.json {
            return writeln!(writer, "{}", self.object(event, ids)?);
        }
        SystemTime.format_time(&mut writer)?;
        write!(
            writer,
            " {:>5} {}: ",
            event.metadata().level(),
            self.service
        )?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        if let Some(trace_id) = ids.trace_id {
            write!(writer, " trace_id={trace_id}")?;
        }
        if let Some(request_id) = ids.request_id {
            write!(writer, " request_id={request_id}")?;
        }
        writeln!(writer)
    }
}

impl Format {
    fn object(&self, event: &Event<'_>, ids: Ids) -> Result<Value, fmt::Error> {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut object = Map::new();
        event.record(&mut Fields(&mut object));
        // Last, so that no field of an event takes their place.
        for (key, value) in [
            ("timestamp", Some(timestamp)),
            ("level", Some(event.metadata().level().to_string())),
            ("target", Some(event.metadata().target().to_owned())),
            ("service", Some(self.service.to_owned())),
            ("instance", Some(self.instance.clone())),
            ("trace_id", ids.trace_id),
            ("span_id", ids.span_id),
            ("request_id", ids.request_id),
        ] {
            if let Some(value) = value {
                object.insert(key.to_owned(), Value::String(value));
            }
        }
        Ok(Value::Object(object))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}
