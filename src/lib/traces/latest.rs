//! Finds the last trace without a pass over all spans: from the files' ends, the newest file first.

use std::ops::ControlFlow;

use super::{
    Error, TraceId,
    files::{CLOCK_SLACK, SpanFile, unreadable},
    index::{Batch, batches_backward},
    lines::{backward, within},
    otlp::Endings,
};

/// When something ended, its trace, and when that began; ids decide between equal ends so that the answer is always
/// the same.
type Ended = (u64, TraceId, u64);

#[derive(Default)]
struct Latest {
    /// What came by HTTP.
    request: Option<Ended>,
    /// What else was begun: a process's own work, like that on an outbox, which goes on when nobody asks.
    root: Option<Ended>,
    any: Option<Ended>,
}

/// Returns the trace of the request that ended last; where none came by HTTP, that whose root ended last; where no root
/// is, that which ended last; and from when on there may be spans of it.
pub(super) fn latest(files: &[SpanFile]) -> Result<Option<(TraceId, u64)>, Error> {
    let mut newest_first: Vec<&SpanFile> = files.iter().collect();
    newest_first.sort_by_key(|file| std::cmp::Reverse(file.modified));
    let mut latest = Latest::default();
    for file in &newest_first {
        latest.look(file).map_err(unreadable(&file.path))?;
    }
    if latest.root().is_none() {
        for file in newest_first {
            backward(&file.path, |line| latest.take(line)).map_err(unreadable(&file.path))?;
        }
    }
    let root = latest.root().map(|(_, id, start)| (id, start));
    // Of what has no root nobody knows when it began.
    Ok(root.or(latest.any.map(|(_, id, _)| (id, 0))))
}

impl Latest {
    fn root(&self) -> Option<Ended> {
        self.request.or(self.root)
    }

    /// Looks for a later root: in the index, and in what that does not cover.
    fn look(&mut self, file: &SpanFile) -> std::io::Result<()> {
        if (self.request).is_some_and(|(end, _, _)| !file.may_hold(end)) {
            return Ok(());
        }
        let left_out = batches_backward(&file.path, file.length, |batch| self.take_batch(&batch))?;
        if left_out
            .first()
            .is_some_and(|part| *part == (0..file.length))
        {
            return backward(&file.path, |line| self.take(line));
        }
        for part in left_out {
            within(&file.path, part, |line, _| {
                let _: ControlFlow<()> = self.take(line);
            })?;
        }
        Ok(())
    }

    fn take_batch(&mut self, batch: &Batch<'_>) -> ControlFlow<()> {
        for root in &batch.roots {
            self.take_root(
                !root.method.is_empty(),
                (root.end(), root.trace_id, root.start),
            );
        }
        self.is_later_than(batch.written)
    }

    /// Takes a line of spans. Damaged lines are counted by the pass that reads the trace.
    fn take(&mut self, line: &[u8]) -> ControlFlow<()> {
        let Ok(endings) = serde_json::from_slice::<Endings>(line) else {
            return ControlFlow::Continue(());
        };
        let mut line_end = None;
        for span in endings.into_endings() {
            let end = span.end_time_unix_nano;
            let found = (end, span.trace_id, span.start_time_unix_nano);
            if span.is_root() {
                self.take_root(span.is_request(), found);
            }
            self.any = self.any.max(Some(found));
            line_end = line_end.max(Some(end));
        }
        line_end.map_or(ControlFlow::Continue(()), |end| self.is_later_than(end))
    }

    fn take_root(&mut self, is_request: bool, found: Ended) {
        let latest = if is_request {
            &mut self.request
        } else {
            &mut self.root
        };
        *latest = (*latest).max(Some(found));
    }

    /// Breaks where what was written before a moment can't hold a later root. Processes write soon after the
    /// spans have ended.
    fn is_later_than(&self, moment: u64) -> ControlFlow<()> {
        match self.request {
            Some((end, _, _)) if moment < end.saturating_sub(CLOCK_SLACK) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}
