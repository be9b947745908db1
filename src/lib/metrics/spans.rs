//! What became of the process's spans.

use std::fmt;

use super::Figures;
use crate::telemetry::counters;

pub(super) fn collect(figures: &mut Figures<'_>) -> fmt::Result {
    let spans = counters::read();
    figures.counter(
        "spans_recorded",
        "Spans that ended and were sampled",
        spans.recorded,
    )?;
    figures.counters(
        "spans_exported",
        "Spans that have arrived where they go",
        &[
            (&[("exporter", "files")], spans.files.exported),
            (&[("exporter", "otlp")], spans.otlp.exported),
        ],
    )?;
    figures.counters(
        "spans_dropped",
        "Spans that were lost: the queue was full, files could not be written, the collector took none",
        &[
            (&[("at", "queue")], spans.unqueued),
            (&[("at", "files")], spans.files.dropped),
            (&[("at", "otlp")], spans.otlp.dropped),
        ],
    )
}
