//! Reads one trace out of all span files of a directory.

use std::{collections::BTreeMap, path::Path};

use super::{
    Error, Selector, Span, Trace, TraceId,
    files::{SpanFile, owner, span_files, unreadable},
    index::batches,
    latest::latest,
    lines::forward,
    otlp::Spans,
};

/// How many traces an ambiguous prefix names.
const CANDIDATES: usize = 5;

/// Reads the trace that the selector chooses from the span files in `dir`.
///
/// Lines that can't be read cost only themselves and are counted in the trace.
///
/// # Errors
///
/// [`Error`] where the directory or the trace isn't there, where several traces fit, and where a
/// file can't be read.
pub fn read(dir: &Path, selector: &Selector) -> Result<Trace, Error> {
    let no_spans = || Error::NoSpans { dir: dir.into() };
    let files = span_files(dir)?;
    if files.is_empty() {
        return Err(no_spans());
    }
    let (prefix, start) = match selector {
        Selector::Last => {
            let (id, start) = latest(&files)?.ok_or_else(no_spans)?;
            (id.to_string(), start)
        }
        Selector::Prefix(prefix) => {
            let prefix = prefix.to_ascii_lowercase();
            indexed(&files, &prefix)?.unwrap_or((prefix, 0))
        }
    };
    let mut found = Found::default();
    for file in &files {
        let Some(from) = file.position_at(start)? else {
            continue;
        };
        forward(&file.path, from, |line, finished| {
            found.take(&file.path, line, finished, &prefix);
        })
        .map_err(unreadable(&file.path))?;
    }
    found.into_trace(dir, prefix)
}

/// Returns the id of the one trace that begins so and when it began, if the indexes know just one.
///
/// What began nowhere here, or is one of several, is looked for in all spans.
fn indexed(files: &[SpanFile], prefix: &str) -> Result<Option<(String, u64)>, Error> {
    let mut found: BTreeMap<TraceId, u64> = BTreeMap::new();
    for file in files {
        batches(&file.path, file.length, |batch| {
            let fits = |id: TraceId| id.to_string().starts_with(prefix);
            for root in batch.roots.iter().filter(|root| fits(root.trace_id)) {
                // One of several gateways may have begun it, and others taken part.
                let begun = found.entry(root.trace_id).or_insert(root.start);
                *begun = root.start.min(*begun);
            }
        })
        .map_err(unreadable(&file.path))?;
    }
    let only = found.len() == 1;
    let found = found.pop_first().filter(|_| only);
    Ok(found.map(|(id, start)| (id.to_string(), start)))
}

#[derive(Default)]
struct Found {
    traces: BTreeMap<TraceId, Vec<Span>>,
    skipped_lines: usize,
    torn_lines: usize,
}

impl Found {
    fn take(&mut self, path: &Path, line: &[u8], finished: bool, prefix: &str) {
        let line = line.trim_ascii();
        if line.is_empty() || (finished && is_of_other_traces(line, prefix.as_bytes())) {
            return;
        }
        let Ok(spans) = serde_json::from_slice::<Spans>(line) else {
            if finished {
                self.skipped_lines += 1;
            } else {
                self.torn_lines += 1;
            }
            return;
        };
        let owner = owner(path);
        // The line may hold spans of other traces too.
        let wanted = |id: TraceId| id.to_string().starts_with(prefix);
        for span in spans.into_spans(owner, wanted) {
            self.traces.entry(span.trace_id).or_default().push(span);
        }
    }

    fn into_trace(mut self, dir: &Path, prefix: String) -> Result<Trace, Error> {
        if self.traces.len() > 1 {
            return Err(ambiguous(prefix, &self.traces));
        }
        match self.traces.pop_first() {
            Some((id, spans)) => Ok(Trace::new(id, spans, self.skipped_lines, self.torn_lines)),
            None => Err(Error::UnknownTrace {
                prefix,
                dir: dir.into(),
            }),
        }
    }
}

/// Tells from the bytes alone whether a line is whole and names only other traces.
///
/// Parsing is what costs, and nearly all lines are of other traces. The ids in a line are whole
/// strings, so only what follows a quote is compared.
fn is_of_other_traces(line: &[u8], prefix: &[u8]) -> bool {
    let mut names_traces = false;
    for text in line.split(|byte| *byte == b'"') {
        names_traces |= text == b"traceId";
        let is_wanted = text.len() == 32
            && (text.get(..prefix.len())).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if is_wanted {
            return false;
        }
    }
    names_traces && line.starts_with(b"{") && line.ends_with(b"}")
}

fn ambiguous(prefix: String, traces: &BTreeMap<TraceId, Vec<Span>>) -> Error {
    let mut by_end: Vec<_> = traces
        .iter()
        .map(|(id, spans)| (spans.iter().map(|span| span.end).max(), *id))
        .collect();
    by_end.sort_by(|one, other| other.cmp(one));
    Error::Ambiguous {
        prefix,
        count: by_end.len(),
        candidates: by_end
            .into_iter()
            .take(CANDIDATES)
            .map(|(_, id)| id)
            .collect(),
    }
}
