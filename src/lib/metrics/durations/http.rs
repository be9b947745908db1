//! Durations of requests at an edge.

use std::{
    fmt,
    hash::{Hash, Hasher},
    time::Duration,
};

use axum::extract::MatchedPath;
use opentelemetry::trace::SpanContext;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use super::Durations;
use crate::metrics::Metrics;

#[derive(Debug, Clone)]
pub(crate) struct HttpDurations(Durations<Labels>);

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    /// TLS is a proxy's business.
    url_scheme: &'static str,
    http_request_method: &'static str,
    http_route: Route,
    http_response_status_code: u16,
    error_type: Option<u16>,
}

/// The template that matched. A path that nobody serves has none: strangers invent as many as they like.
#[derive(Debug, Clone)]
struct Route(Option<MatchedPath>);

impl HttpDurations {
    pub(crate) fn new() -> Self {
        Self(Durations::new())
    }

    /// Makes them a part of a process's metrics.
    pub(crate) fn show(&self, metrics: &Metrics) {
        let help = "Time from a request's head to its answer, by route and status; 499: the client had gone";
        let durations = self.0.clone();
        metrics.collect("http", move |figures| {
            durations.collect(figures, "http_server_request_duration", help)
        });
    }

    pub(crate) fn note(
        &self,
        method: &'static str,
        route: Option<MatchedPath>,
        status: u16,
        spent: Duration,
        span: &SpanContext,
    ) {
        let labels = Labels {
            url_scheme: "http",
            http_request_method: method,
            http_route: Route(route),
            http_response_status_code: status,
            error_type: (status >= 500).then_some(status),
        };
        self.0.note(&labels, spent, span);
    }
}

impl Route {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", MatchedPath::as_str)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}
