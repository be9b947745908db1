//! The runtime's own spans, made with the OpenTelemetry API directly.
//!
//! The `tracing` layer costs three to six times as much a span, and these are made on every hop.
//! A span lives in a [`Context`], so code that runs inside it (calls, `tracing` spans, log lines)
//! finds its parent.

#[cfg(feature = "http")]
mod edge;
#[cfg(feature = "app")]
mod step;

use std::{borrow::Cow, sync::OnceLock, time::Duration};

use opentelemetry::{
    Context, KeyValue, Value, global,
    trace::{SpanBuilder, SpanContext, SpanKind, Status as SpanStatus, TraceContextExt, Tracer},
};

use opentelemetry_sdk::trace::SdkTracer;

#[cfg(feature = "http")]
pub(crate) use edge::{Edge, edge_inner, end_http, root, waited};
#[cfg(feature = "app")]
pub(crate) use step::{Failed, Step, What, parent_of_steps};

use super::names;
use crate::{Status, client::Unanswered, operation::Names};

/// Instrumentation scope of the runtime's spans.
pub(super) const SCOPE: &str = "nats-serve";

/// What the process makes of spans, once [`super::init`] has said so.
#[derive(Debug)]
pub(super) enum Mode {
    /// Nothing is recorded.
    Off,
    On {
        tracer: SdkTracer,
        /// What has a parent is recorded if that is, whatever it is like.
        follows_parents: bool,
    },
}

static MODE: OnceLock<Mode> = OnceLock::new();

pub(super) fn install(mode: Mode) {
    // A second one can't be: the subscriber is installed before, and only once.
    let _ = MODE.set(mode);
}

/// Tells whether a span below `parent` may be recorded. Where it is known that it won't be, `parent` does as well, and
/// nothing has to be made for it.
fn may_be_recorded(parent: &Context) -> bool {
    may_be_recorded_in(MODE.get(), parent)
}

fn may_be_recorded_in(mode: Option<&Mode>, parent: &Context) -> bool {
    let span = parent.span();
    match mode {
        // Somebody records after all.
        Some(Mode::Off) => span.is_recording(),
        Some(Mode::On {
            follows_parents: true,
            ..
        }) => !span.span_context().is_valid() || span.span_context().is_sampled(),
        Some(Mode::On { .. }) | None => true,
    }
}

/// Starts a span as a child of what `parent` holds, and returns `parent` with it in place.
///
/// Whoever has installed a tracer provider of his own instead of ours gets the spans there.
fn begin(builder: SpanBuilder, parent: &Context) -> Context {
    match MODE.get() {
        Some(Mode::On { tracer, .. }) => {
            parent.with_span(tracer.build_with_context(builder, parent))
        }
        Some(Mode::Off) | None => {
            parent.with_span(global::tracer(SCOPE).build_with_context(builder, parent))
        }
    }
}

fn attribute(name: &'static str, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(name, value)
}

fn start(
    name: impl Into<Cow<'static, str>>,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    parent: &Context,
) -> Context {
    let builder = SpanBuilder::from_name(name)
        .with_kind(kind)
        .with_attributes(attributes);
    begin(builder, parent)
}

/// Returns the context that continues a remote caller's trace, or starts none.
pub(crate) fn remote_parent(trace: Option<SpanContext>) -> Context {
    match trace {
        Some(trace) => Context::new().with_remote_span_context(trace),
        None => Context::new(),
    }
}

/// Where a process's messages go: the NATS server, for `server.address`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Starts the caller's side of a call.
pub(crate) fn route(
    names: &Names,
    server: impl FnOnce() -> Server,
    request_id: &str,
    parent: &Context,
) -> Context {
    if !may_be_recorded(parent) {
        return parent.clone();
    }
    let mut attributes = rpc_attributes(names, request_id);
    let server = server();
    attributes.push(attribute(names::SERVER_ADDRESS, server.host));
    attributes.push(attribute(names::SERVER_PORT, i64::from(server.port)));
    start(
        names::PROXY_ROUTE_TO_REPLICA,
        SpanKind::Client,
        attributes,
        parent,
    )
}

/// Starts the replica's side of a call.
pub(crate) fn handle(
    names: &Names,
    replica_id: &str,
    request_id: &str,
    attempt: u32,
    queue_wait: Duration,
    parent: &Context,
) -> Context {
    if !may_be_recorded(parent) {
        return parent.clone();
    }
    let mut attributes = rpc_attributes(names, request_id);
    attributes.push(attribute(names::REPLICA_ID, replica_id.to_owned()));
    attributes.push(attribute(names::ATTEMPT, i64::from(attempt)));
    attributes.push(attribute(names::QUEUE_WAIT_MS, milliseconds(queue_wait)));
    start(
        names::REPLICA_HANDLE_REQUEST,
        SpanKind::Server,
        attributes,
        parent,
    )
}

fn rpc_attributes(names: &Names, request_id: &str) -> Vec<KeyValue> {
    // With those that are added until the end.
    let mut attributes = Vec::with_capacity(16);
    attributes.extend([
        attribute(names::REQUEST_ID, request_id.to_owned()),
        attribute(names::DEPLOYMENT, names.service.deployment()),
        attribute(names::APP, names::APP_DEFAULT),
        attribute(names::CALL_METHOD, names.operation),
        attribute(names::RPC_SYSTEM_NAME, names::NATS),
        attribute(names::RPC_METHOD, names.rpc_method),
        attribute(names::MESSAGING_SYSTEM, names::NATS),
        attribute(names::MESSAGING_DESTINATION_TEMPLATE, names.subject),
        attribute(
            names::MESSAGING_CONSUMER_GROUP_NAME,
            names.service.subject(),
        ),
    ]);
    attributes
}

/// Notes the replica that answered and how often it was tried.
pub(crate) fn answered(span: &Context, replica: &str, attempt: u32, queue_wait: Duration) {
    let span = span.span();
    if span.is_recording() {
        span.set_attribute(attribute(names::REPLICA_ID, replica.to_owned()));
        span.set_attribute(attribute(names::ATTEMPT, i64::from(attempt)));
        span.set_attribute(attribute(names::QUEUE_WAIT_MS, milliseconds(queue_wait)));
    }
}

/// Starts a trace that another one is the reason of: work that was left over.
#[cfg(feature = "app")]
pub(crate) fn left_over(name: &'static str, reason: Option<SpanContext>) -> Context {
    use opentelemetry::trace::Link;
    let mut builder = SpanBuilder::from_name(name).with_kind(SpanKind::Internal);
    builder.links = reason.map(|reason| vec![Link::with_context(reason)]);
    begin(builder, &Context::new())
}

/// Notes a moment in the current span.
#[cfg(feature = "app")]
pub(crate) fn event(name: &'static str, attributes: Vec<KeyValue>) {
    Context::map_current(|current| current.span().add_event(name, attributes));
}

/// Notes an attempt that brought no answer.
pub(crate) fn attempt_failed(span: &Context, attempt: u32, reason: &'static str) {
    span.span().add_event(
        names::EVENT_ATTEMPT_FAILED,
        vec![
            attribute(names::ATTEMPT, i64::from(attempt)),
            attribute(names::ERROR_TYPE, reason),
        ],
    );
}

/// Notes that nobody offers a service, and that it is waited for.
pub(crate) fn waits_for_the_absent(span: &Context) {
    span.span().add_event(names::EVENT_SERVICE_ABSENT, vec![]);
}

/// Ends the caller's side of a call; `error.type` says how the call fared where no handler answered.
pub(crate) fn end_route(span: &Context, failed: Option<&Status>) {
    let how = failed.and_then(Status::unanswered);
    end_hop(span, failed, how.map(Unanswered::as_str));
}

/// Ends the replica's side of a call.
pub(crate) fn end_handle(span: &Context, failed: Option<&Status>) {
    end_hop(span, failed, None);
}

/// A hop's span is an error where the server's side is at fault.
fn end_hop(span: &Context, failed: Option<&Status>, kind: Option<&'static str>) {
    let span = span.span();
    if span.is_recording() {
        let code = failed.map_or("ok", |status| status.code().as_str());
        span.set_attribute(attribute(names::RPC_RESPONSE_STATUS_CODE, code));
        if let Some(status) = failed.filter(|status| status.code().is_server_error()) {
            fail(&span, kind.unwrap_or(status.code().as_str()));
        }
    }
    span.end();
}

fn fail(span: &opentelemetry::trace::SpanRef<'_>, kind: impl Into<Cow<'static, str>>) {
    let kind = kind.into();
    span.set_attribute(attribute(names::ERROR_TYPE, kind.clone()));
    span.set_status(SpanStatus::Error { description: kind });
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    fn called_with(flags: TraceFlags) -> Context {
        let (trace, span) = (TraceId::from(7), SpanId::from(7));
        let caller = SpanContext::new(trace, span, flags, true, TraceState::default());
        Context::new().with_remote_span_context(caller)
    }

    #[test]
    fn spans_are_made_unless_it_is_known_that_nobody_records_them() {
        let provider = SdkTracerProvider::builder().build();
        let tracer = provider.tracer("x");
        let another = Context::new().with_span(tracer.start("x"));
        let on = |follows_parents| Mode::On {
            tracer: tracer.clone(),
            follows_parents,
        };
        let (follows, decides) = (on(true), on(false));
        let parents = [
            Context::new(),
            called_with(TraceFlags::SAMPLED),
            called_with(TraceFlags::NOT_SAMPLED),
            another,
        ];
        for (mode, expected) in [
            (None, [true, true, true, true]),
            (Some(&follows), [true, true, false, true]),
            (Some(&decides), [true, true, true, true]),
            // Another provider records what the last one is in.
            (Some(&Mode::Off), [false, false, false, true]),
        ] {
            let made = [0, 1, 2, 3].map(|at| may_be_recorded_in(mode, &parents[at]));
            assert_eq!(expected, made, "{mode:?}");
        }
    }
}
