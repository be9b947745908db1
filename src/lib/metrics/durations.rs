//! How long requests and calls take, by what they were and how they ended; each bucket names a trace.

#[cfg(feature = "http")]
mod http;
mod rpc;
mod series;

use std::{fmt, hash::Hash, time::Duration};

use opentelemetry::trace::{SpanContext, TraceId};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{MetricType, exemplar::HistogramWithExemplars},
    registry::Unit,
};

use super::Figures;
#[cfg(feature = "http")]
pub(crate) use http::HttpDurations;
pub(crate) use rpc::{CallDurations, HandleDurations};
use series::Series;

/// OpenTelemetry's bounds for durations in seconds, and three below: a call over NATS takes less than 5 ms.
/// <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration>
const BOUNDS: [f64; 17] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0,
];

type Histogram = HistogramWithExemplars<Exemplar>;

/// Durations by what is known of them.
#[derive(Debug, Clone)]
struct Durations<L>(Series<L, Histogram>);

impl<L: Clone + Hash + Eq + EncodeLabelSet + fmt::Debug + Send + Sync + 'static> Durations<L> {
    fn new() -> Self {
        Self(Series::new(|| Histogram::new(BOUNDS.into_iter())))
    }

    /// Writes them; `name` is without the unit.
    fn collect(&self, figures: &mut Figures<'_>, name: &str, help: &str) -> fmt::Result {
        let metric = figures.describe(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        self.0.encode(metric)
    }

    fn note(&self, labels: &L, spent: Duration, span: &SpanContext) {
        self.0.note(labels, |histogram| {
            histogram.observe(spent.as_secs_f64(), exemplar(span), None);
        });
    }
}

/// The trace of one request that fell into a bucket.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Exemplar {
    trace_id: Trace,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq)]
struct Trace(TraceId);

impl EncodeLabelValue for Trace {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        fmt::Write::write_fmt(encoder, format_args!("{}", self.0))
    }
}

/// A trace that is recorded nowhere is no example of anything.
fn exemplar(span: &SpanContext) -> Option<Exemplar> {
    span.is_sampled().then(|| Exemplar {
        trace_id: Trace(span.trace_id()),
    })
}
