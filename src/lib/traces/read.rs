//! Reads one trace out of all span files of a directory.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Error, Selector, Span, Trace, TraceId, latest::latest, lines::forward, otlp::Spans};

/// How many traces an ambiguous prefix names.
const CANDIDATES: usize = 5;

/// One process's spans.
pub(super) struct SpanFile {
    pub(super) path: PathBuf,
    pub(super) modified: SystemTime,
}

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
    let prefix = match selector {
        Selector::Last => latest(&files)?.ok_or_else(no_spans)?.to_string(),
        Selector::Prefix(prefix) => prefix.to_ascii_lowercase(),
    };
    let mut found = Found::default();
    for file in &files {
        forward(&file.path, |line, finished| {
            found.take(&file.path, line, finished, &prefix);
        })
        .map_err(unreadable(&file.path))?;
    }
    found.into_trace(dir, prefix)
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Unreadable {
        path: path.into(),
        source,
    }
}

/// Reads service and instance from a file's name: `user-service-k3x9q0v7ab.jsonl`.
pub(super) fn owner(path: &Path) -> (&str, Option<&str>) {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.unwrap_or("unknown");
    let parts = stem.rsplit_once('-');
    parts.map_or((stem, None), |(service, instance)| {
        (service, Some(instance))
    })
}

/// Lists the files that hold anything, in the order of their names.
pub(super) fn span_files(dir: &Path) -> Result<Vec<SpanFile>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoDirectory { dir: dir.into() });
        }
        Err(error) => return Err(unreadable(dir)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable(dir))?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        // A file that went away since it was listed is none.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_file() && metadata.len() > 0 {
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push(SpanFile { path, modified });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
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
