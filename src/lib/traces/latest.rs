//! Finds the last trace without parsing every file: from the files' ends, the newest file first.

use std::ops::ControlFlow;

use super::{
    Error, TraceId,
    lines::backward,
    otlp::Endings,
    read::{SpanFile, unreadable},
};

/// How far a file's order may differ from the order in which spans ended, in nanoseconds.
///
/// Processes write in batches some 100 ms after the spans ended; seconds further back in a file there is
/// nothing that ended later.
const DISORDER: u64 = 3_000_000_000;

/// Ends compare first, ids decide between equal ends so that the answer is always the same.
#[derive(Default)]
struct Latest {
    root: Option<(u64, TraceId)>,
    any: Option<(u64, TraceId)>,
}

/// Returns the trace whose root ended last, or, where no root is, the trace that ended last.
pub(super) fn latest(files: &[SpanFile]) -> Result<Option<TraceId>, Error> {
    let mut newest_first: Vec<&SpanFile> = files.iter().collect();
    newest_first.sort_by_key(|file| std::cmp::Reverse(file.modified));
    let mut latest = Latest::default();
    for file in newest_first {
        backward(&file.path, |line| latest.take(line)).map_err(unreadable(&file.path))?;
    }
    Ok(latest.root.or(latest.any).map(|(_, id)| id))
}

impl Latest {
    /// Breaks where the rest of the file can't hold a later root.
    fn take(&mut self, line: &[u8]) -> ControlFlow<()> {
        // Damaged lines are counted by the pass that reads the trace.
        let Ok(endings) = serde_json::from_slice::<Endings>(line) else {
            return ControlFlow::Continue(());
        };
        let mut line_end = None;
        for span in endings.into_endings() {
            let found = Some((span.end_time_unix_nano, span.trace_id));
            if span.is_root() {
                self.root = self.root.max(found);
            }
            self.any = self.any.max(found);
            line_end = line_end.max(Some(span.end_time_unix_nano));
        }
        match (self.root, line_end) {
            (Some((root_end, _)), Some(end)) if end < root_end.saturating_sub(DISORDER) => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
