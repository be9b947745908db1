//! Durations of calls, on either side, and the attempts that they took.

use std::time::Duration;

use opentelemetry::trace::SpanContext;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{MetricType, counter::Counter},
};

use super::{Durations, Series};
use crate::{
    Code, Status,
    client::Unanswered,
    metrics::{Metrics, PREFIX},
    operation::Names,
    telemetry::names::NATS,
};

/// The caller's side: calls with all their attempts.
#[derive(Debug, Clone)]
pub(crate) struct CallDurations {
    durations: Durations<CallLabels>,
    attempts: Series<AttemptLabels, Counter>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    rpc_system_name: &'static str,
    rpc_method: &'static str,
    rpc_response_status_code: &'static str,
    /// Why no handler answered, or how a handler failed.
    error_type: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    rpc_method: &'static str,
    outcome: &'static str,
}

impl CallDurations {
    pub(crate) fn new() -> Self {
        Self {
            durations: Durations::new(),
            attempts: Series::new(Counter::default),
        }
    }

    pub(crate) fn show(&self, metrics: &Metrics) {
        let calls = self.clone();
        metrics.collect("calls", move |figures| {
            let help = "Time of a call with all its attempts, by operation and outcome";
            let durations = &calls.durations;
            durations.collect(figures, "rpc_client_call_duration", help)?;
            let name = format!("{PREFIX}_attempts");
            let help = "Attempts of calls, by operation and outcome: answered, or why not";
            let metric = figures.describe(&name, help, None, MetricType::Counter)?;
            calls.attempts.encode(metric)
        });
    }

    /// Notes an attempt: that a handler has answered, or why none has.
    pub(crate) fn attempted(&self, names: &Names, outcome: &'static str) {
        let labels = AttemptLabels {
            rpc_method: names.rpc_method,
            outcome,
        };
        self.attempts.note(&labels, |attempts| {
            attempts.inc();
        });
    }

    pub(crate) fn note(
        &self,
        names: &Names,
        failed: Option<&Status>,
        spent: Duration,
        span: &SpanContext,
    ) {
        let labels = CallLabels {
            rpc_system_name: NATS,
            rpc_method: names.rpc_method,
            rpc_response_status_code: code(failed.map(Status::code)),
            error_type: failed
                .and_then(Status::unanswered)
                .map_or_else(|| error(failed.map(Status::code)), Unanswered::as_str),
        };
        self.durations.note(&labels, spent, span);
    }
}

/// The replica's side: handlers.
#[derive(Debug, Clone)]
pub(crate) struct HandleDurations(Durations<HandleLabels>);

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HandleLabels {
    rpc_system_name: &'static str,
    rpc_method: &'static str,
    rpc_response_status_code: &'static str,
    error_type: &'static str,
}

impl HandleDurations {
    pub(crate) fn new() -> Self {
        Self(Durations::new())
    }

    pub(crate) fn show(&self, metrics: &Metrics) {
        let durations = self.0.clone();
        metrics.collect("handlers", move |figures| {
            let help = "Time of a handler, by operation and outcome";
            durations.collect(figures, "rpc_server_call_duration", help)
        });
    }

    pub(crate) fn note(
        &self,
        names: &Names,
        failed: Option<Code>,
        spent: Duration,
        span: &SpanContext,
    ) {
        let labels = HandleLabels {
            rpc_system_name: NATS,
            rpc_method: names.rpc_method,
            rpc_response_status_code: code(failed),
            error_type: error(failed),
        };
        self.0.note(&labels, spent, span);
    }
}

fn code(failed: Option<Code>) -> &'static str {
    failed.map_or("ok", Code::as_str)
}

/// What the caller got wrong is no error.
fn error(failed: Option<Code>) -> &'static str {
    let failed = failed.filter(|code| code.is_server_error());
    failed.map_or("", Code::as_str)
}
