//! Log lines with the ids of their request: readable on a terminal, JSON otherwise.

use std::{
    fmt,
    io::{self, IsTerminal},
};

use opentelemetry::{Context as OtelContext, trace::TraceContextExt};
use serde::{Serialize, Serializer};
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
        .with_writer(output)
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
            let object = self.object(event, &ids)?;
            return writer.write_str(str::from_utf8(&object).map_err(|_| fmt::Error)?);
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
    /// Writes the line by hand: a map of it, sorted and printed, took a quarter of a gateway's time.
    fn object(&self, event: &Event<'_>, ids: &Ids) -> Result<Vec<u8>, fmt::Error> {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let metadata = event.metadata();
        let mut object = Object {
            text: Vec::with_capacity(512),
            ours: [
                Some(&timestamp),
                Some(metadata.level().as_str()),
                Some(metadata.target()),
                Some(self.service),
                Some(&self.instance),
                ids.trace_id.as_deref(),
                ids.span_id.as_deref(),
                ids.request_id.as_deref(),
            ],
        };
        for (name, value) in OURS.iter().zip(object.ours) {
            if let Some(value) = value {
                object.insert(name, value);
            }
        }
        event.record(&mut object);
        object.text.extend_from_slice(b"}\n");
        Ok(object.text)
    }
}

/// What each line has, as far as it is known. No field of an event takes the place of what is.
const OURS: [&str; 8] = [
    "timestamp",
    "level",
    "target",
    "service",
    "instance",
    "trace_id",
    "span_id",
    "request_id",
];

/// An object without its end.
struct Object<'a> {
    text: Vec<u8>,
    ours: [Option<&'a str>; OURS.len()],
}

impl Object<'_> {
    fn insert(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let text = &mut self.text;
        text.push(if text.is_empty() { b'{' } else { b',' });
        // Neither memory nor what is recorded refuses.
        let _ = serde_json::to_writer(&mut *text, name);
        text.push(b':');
        let _ = serde_json::to_writer(text, value);
    }

    fn record(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        let mut ours = OURS.iter().zip(self.ours);
        if !ours.any(|(name, value)| *name == field.name() && value.is_some()) {
            self.insert(field.name(), value);
        }
    }
}

/// Text as `{:?}` writes it, which of a message is the message.
struct Debugged<'a>(&'a dyn fmt::Debug);

impl Serialize for Debugged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:?}", self.0))
    }
}

impl Visit for Object<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, &Debugged(value));
    }
}
