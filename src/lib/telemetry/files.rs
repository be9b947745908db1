//! Span files: OTLP JSON lines, one or more files a process.
//!
//! Each line is a `TracesData` object with one batch, so any reader of OTLP JSON takes the file:
//! <https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/>. The index beside it is for our own reader.

mod encode;
mod roots;
mod segment;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use opentelemetry_sdk::{Resource, trace::SpanData};

use self::{encode::Encoder, segment::Segment, sweep::sweep};
use super::{Config, MIN_SPANS_MAX_BYTES, counters, losses::Losses};
use crate::{
    Instance,
    traces::{files::EXTENSION, index::Root},
};

/// Appends batches to `<service>-<instance>.jsonl`, then to `.1.jsonl` and so on; a failure costs spans, never a
/// request.
///
/// Whoever begins a file, or has written a part of one, removes the oldest ones of the folder, anybody's, beyond three
/// quarters of what all together may have. A file is as large as leaves room for each process to fill one meanwhile.
#[derive(Debug)]
pub(super) struct SpanFiles {
    dir: PathBuf,
    /// `<service>-<instance>`.
    stem: String,
    max_bytes: u64,
    encoder: Encoder,
    segment: Segment,
    number: u64,
    /// How large the segment may become.
    share: u64,
    /// What was written since old files were looked for.
    unswept: u64,
    /// Old files can't be removed, which has been said.
    is_stuck: bool,
    line: Vec<u8>,
    losses: Losses,
}

impl SpanFiles {
    pub(super) fn new(
        dir: &Path,
        config: &Config,
        instance: &Instance,
        resource: &Resource,
    ) -> Self {
        let stem = format!("{}-{}", instance.service().name(), instance.id());
        Self {
            segment: Segment::new(path(dir, &stem, 0)),
            number: 0,
            share: 0,
            unswept: 0,
            is_stuck: false,
            losses: Losses::new(format!("writing spans to {}", dir.display())),
            dir: dir.into(),
            stem,
            max_bytes: config.spans_max_bytes.max(MIN_SPANS_MAX_BYTES),
            encoder: Encoder::new(resource),
            line: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, batch: &[SpanData]) {
        let count = batch.len() as u64;
        let roots = batch.iter().filter_map(roots::of).collect();
        self.line.clear();
        let written = self.encoder.line(&mut self.line, batch);
        let written = written.and_then(|()| self.append(roots));
        counters::FILES.count(count, written.is_ok());
        self.losses.note(count, written, Instant::now());
    }

    /// Writes the line at once, so that other processes read whole lines.
    fn append(&mut self, roots: Vec<Root<'static>>) -> io::Result<()> {
        if !self.segment.has_room_for(self.line.len(), self.share) {
            self.number += 1;
            self.segment = Segment::new(path(&self.dir, &self.stem, self.number));
        }
        // Also where somebody has cleaned up, and what went on into a deleted file would be lost; and now and then, for
        // other processes may have come, and the shares are smaller.
        if !self.segment.is_in_place() || self.unswept > self.share / 4 {
            self.make_room();
        }
        self.unswept += self.line.len() as u64;
        self.segment.append(&self.line, roots)
    }

    fn make_room(&mut self) {
        let swept = sweep(&self.dir, self.max_bytes, &self.stem);
        self.share = swept.share;
        self.unswept = 0;
        if let Some(error) = swept.failed
            && !self.is_stuck
        {
            self.is_stuck = true;
            let dir = self.dir.display();
            tracing::warn!("old spans in {dir} can't be removed, and more are written: {error}");
        }
    }
}

fn path(dir: &Path, stem: &str, number: u64) -> PathBuf {
    dir.join(match number {
        0 => format!("{stem}.{EXTENSION}"),
        number => format!("{stem}.{number}.{EXTENSION}"),
    })
}
