//! How many spans there were, and what became of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Spans that have ended and were sampled.
pub(super) static RECORDED: AtomicU64 = AtomicU64::new(0);
/// Spans that the queue had no room for.
pub(super) static UNQUEUED: AtomicU64 = AtomicU64::new(0);
pub(super) static FILES: Exporter = Exporter::new();
pub(super) static OTLP: Exporter = Exporter::new();

/// Where spans go, and how many have arrived there. One process has one of each, as it has one tracer.
#[derive(Debug)]
pub(super) struct Exporter {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl Exporter {
    const fn new() -> Self {
        Self {
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Counts what became of some spans.
    pub(super) fn count(&self, spans: u64, is_good: bool) {
        let outcome = if is_good {
            &self.exported
        } else {
            &self.dropped
        };
        outcome.fetch_add(spans, Relaxed);
    }
}

/// [`Exporter`] at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exported {
    pub(crate) exported: u64,
    pub(crate) dropped: u64,
}

/// What became of the spans of this process until now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spans {
    pub(crate) recorded: u64,
    /// Dropped before they came to any exporter: more were made than could be handed over.
    pub(crate) unqueued: u64,
    pub(crate) files: Exported,
    pub(crate) otlp: Exported,
}

impl Exporter {
    fn read(&self) -> Exported {
        Exported {
            exported: self.exported.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

pub(crate) fn read() -> Spans {
    Spans {
        recorded: RECORDED.load(Relaxed),
        unqueued: UNQUEUED.load(Relaxed),
        files: FILES.read(),
        otlp: OTLP.read(),
    }
}

impl Spans {
    /// Says at the end what was lost, if anything was, or what could not be written and sent in time.
    pub(super) fn say(self, in_time: bool) {
        let Self {
            recorded,
            unqueued,
            files,
            otlp,
        } = self;
        if in_time && unqueued + files.dropped + otlp.dropped == 0 {
            return;
        }
        tracing::warn!(
            recorded,
            written = files.exported,
            sent = otlp.exported,
            dropped_for_the_queue = unqueued,
            dropped_for_the_files = files.dropped,
            dropped_for_otlp = otlp.dropped,
            "not all spans of this process have arrived",
        );
    }
}
