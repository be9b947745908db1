//! The three spans of the edge: the request, the wait for its place, its handler.

use std::time::Duration;

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt},
};

use super::{attribute, begin, fail, may_be_recorded, milliseconds, start};
use crate::{Code, Service, telemetry::names};

/// What the edge knows of a request when it arrives.
#[derive(Debug)]
pub(crate) struct Edge<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    /// The template that matched: `/user/{user_id}`.
    pub(crate) route: Option<&'a str>,
    pub(crate) request_id: &'a str,
    /// A stranger's trace, which is linked to and not continued.
    pub(crate) link: Option<SpanContext>,
}

/// Starts the root span.
pub(crate) fn root(service: Service, edge: &Edge<'_>, parent: &Context) -> Context {
    if !may_be_recorded(parent) {
        return parent.clone();
    }
    let mut attributes = edge_attributes(service, edge.request_id, edge.route);
    attributes.push(attribute(names::HTTP_REQUEST_METHOD, edge.method));
    attributes.push(attribute(names::URL_PATH, edge.path.to_owned()));
    let mut builder = SpanBuilder::from_name(names::PROXY_HTTP_REQUEST)
        .with_kind(SpanKind::Server)
        .with_attributes(attributes);
    if let Some(link) = &edge.link {
        builder = builder.with_links(vec![Link::with_context(link.clone())]);
    }
    begin(builder, parent)
}

/// Starts one of the edge's two inner spans: the wait for a place, or the handler.
pub(crate) fn edge_inner(
    name: &'static str,
    service: Service,
    request_id: &str,
    route: Option<&str>,
    replica_id: &str,
) -> Context {
    let parent = Context::current();
    if !may_be_recorded(&parent) {
        return parent;
    }
    let mut attributes = edge_attributes(service, request_id, route);
    attributes.push(attribute(names::REPLICA_ID, replica_id.to_owned()));
    start(name, SpanKind::Internal, attributes, &parent)
}

fn edge_attributes(service: Service, request_id: &str, route: Option<&str>) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(9);
    attributes.extend([
        attribute(names::REQUEST_ID, request_id.to_owned()),
        attribute(names::DEPLOYMENT, service.deployment()),
        attribute(names::APP, names::APP_DEFAULT),
    ]);
    if let Some(route) = route {
        attributes.push(attribute(names::ROUTE, route.to_owned()));
        attributes.push(attribute(names::HTTP_ROUTE, route.to_owned()));
    }
    attributes
}

/// Notes how long a request waited for its place at the edge.
pub(crate) fn waited(span: &Context, queue_wait: Duration) {
    span.span()
        .set_attribute(attribute(names::QUEUE_WAIT_MS, milliseconds(queue_wait)));
}

/// Ends a span of the edge by the HTTP status that was answered.
pub(crate) fn end_http(span: &Context, status: u16, code: Option<Code>) {
    let span = span.span();
    if span.is_recording() {
        span.set_attribute(attribute(
            names::HTTP_RESPONSE_STATUS_CODE,
            i64::from(status),
        ));
        if status >= 500 {
            fail(&span, code.unwrap_or(Code::Internal).as_str());
        }
    }
    span.end();
}
