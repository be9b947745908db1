//! The index beside a span file: where each batch lies, when it was written, and which roots are in it.
//!
//! One JSON object a line, in the order in which the batches were written: `gateway-k3x9q0v7ab.index` belongs to
//! `gateway-k3x9q0v7ab.jsonl`. So the last request, the slow and the failed ones are found without a pass over all
//! spans. It is a help and no part of the truth: what it does not cover is read in the span file itself.

use std::{
    borrow::Cow,
    io,
    ops::{ControlFlow, Range},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    Span, TraceId, Value,
    lines::{backward, forward},
};
use crate::telemetry::names;

/// Extension of the file beside a span file.
pub(crate) const EXTENSION: &str = "index";

/// Says where one batch of spans lies: one line of the span file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Batch<'a> {
    /// When it was written, in nanoseconds since 1970; its spans had ended by then.
    pub(crate) written: u64,
    /// Where its line begins, in bytes.
    pub(crate) offset: u64,
    /// The line's length, in bytes, with its newline.
    pub(crate) length: u64,
    #[serde(borrow)]
    pub(crate) roots: Vec<Root<'a>>,
}

/// What a trace began with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Root<'a> {
    pub(crate) trace_id: TraceId,
    /// When it began, in nanoseconds since 1970.
    pub(crate) start: u64,
    /// How long it took, in nanoseconds.
    pub(crate) duration: u64,
    /// `GET`; empty for what is no HTTP request.
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    /// What was asked for, or what else was begun.
    #[serde(borrow)]
    pub(crate) path: Cow<'a, str>,
    /// The template of that; empty if there is none.
    #[serde(borrow)]
    pub(crate) route: Cow<'a, str>,
    pub(crate) status: Option<i64>,
    pub(crate) error: bool,
}

impl<'a> Root<'a> {
    pub(super) fn of(span: &'a Span) -> Self {
        let text = |key: &str| span.text(key);
        let path = text(names::URL_PATH).or(text(names::RPC_METHOD));
        Self {
            trace_id: span.trace_id,
            start: span.start,
            duration: span.duration(),
            method: text(names::HTTP_REQUEST_METHOD).unwrap_or_default().into(),
            path: path.unwrap_or(&span.name).into(),
            route: text(names::HTTP_ROUTE).unwrap_or_default().into(),
            status: match span.attributes.get(names::HTTP_RESPONSE_STATUS_CODE) {
                Some(Value::Int(status)) => Some(*status),
                _ => None,
            },
            error: span.is_error(),
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.duration)
    }
}

impl Batch<'_> {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// One that lies elsewhere tells of another file, or of what somebody has cut off.
    fn is_within(&self, bytes: Range<u64>) -> bool {
        bytes.start <= self.offset && self.end() <= bytes.end
    }
}

/// A damaged line leaves its batch out, which is all that it costs.
fn batch(line: &[u8]) -> Option<Batch<'_>> {
    serde_json::from_slice(line).ok()
}

/// Visits the batches from the first to the last. Returns what parts of the span file the index leaves out: all of it
/// where there is none.
pub(super) fn batches(
    span_file: &Path,
    length: u64,
    mut visit: impl FnMut(Batch<'_>),
) -> io::Result<Vec<Range<u64>>> {
    let mut left_out = Vec::new();
    let mut read = 0;
    forward(&span_file.with_extension(EXTENSION), 0, |line, _| {
        let Some(batch) = batch(line).filter(|batch| batch.is_within(read..length)) else {
            return;
        };
        left_out.push(read..batch.offset);
        read = batch.end();
        visit(batch);
    })?;
    left_out.push(read..length);
    left_out.retain(|part| !part.is_empty());
    Ok(left_out)
}

/// Visits the batches from the last to the first until the visitor breaks. Returns what parts of the span file the
/// index leaves out, as far as it was read.
pub(super) fn batches_backward(
    span_file: &Path,
    length: u64,
    mut visit: impl FnMut(Batch<'_>) -> ControlFlow<()>,
) -> io::Result<Vec<Range<u64>>> {
    let mut left_out = Vec::new();
    let mut read = length;
    let mut is_enough = false;
    backward(&span_file.with_extension(EXTENSION), |line| {
        let Some(batch) = batch(line).filter(|batch| batch.is_within(0..read)) else {
            return ControlFlow::Continue(());
        };
        left_out.push(batch.end()..read);
        read = batch.offset;
        let flow = visit(batch);
        is_enough = flow.is_break();
        flow
    })?;
    if !is_enough {
        left_out.push(0..read);
    }
    left_out.retain(|part| !part.is_empty());
    Ok(left_out)
}

/// Returns from where on a span file may hold spans that ended at a moment or later.
pub(super) fn position_at(span_file: &Path, length: u64, moment: u64) -> io::Result<u64> {
    let mut position = 0;
    batches_backward(span_file, length, |batch| {
        if batch.written < moment {
            position = batch.end();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(position)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The index of the nth batch of 10 bytes.
    fn line(nth: u64) -> String {
        let batch = Batch {
            written: 100 + nth,
            offset: nth * 10,
            length: 10,
            roots: Vec::new(),
        };
        serde_json::to_string(&batch).unwrap() + "\n"
    }

    fn with_index(lines: &[String]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-1.jsonl");
        fs::write(dir.path().join("a-1.index"), lines.concat()).unwrap();
        (dir, path)
    }

    /// What is left out, from the first to the last, which both directions agree on.
    fn left_out(path: &Path, length: u64) -> Vec<(u64, u64)> {
        let mut forth = Vec::new();
        let left_out = batches(path, length, |batch| forth.push(batch.offset)).unwrap();
        let mut back = Vec::new();
        let from_behind = batches_backward(path, length, |batch| {
            back.push(batch.offset);
            ControlFlow::Continue(())
        });
        let mut from_behind = from_behind.unwrap();
        from_behind.reverse();
        assert_eq!(left_out, from_behind);
        back.reverse();
        assert_eq!(forth, back);
        let ends = left_out.into_iter().map(|part| (part.start, part.end));
        ends.collect()
    }

    #[test]
    fn what_an_index_does_not_tell_of_is_left_out() {
        let damaged = || "{\n".to_owned();
        for (lines, expected) in [
            (vec![], vec![(0, 40)]),
            (vec![line(0), line(1), line(2), line(3)], vec![]),
            (vec![line(1), damaged(), line(3)], vec![(0, 10), (20, 30)]),
            (vec![line(0), "{\"written\":1".to_owned()], vec![(10, 40)]),
            // Of a file that was longer.
            (vec![line(0), line(3), line(4), line(9)], vec![(10, 30)]),
        ] {
            let (_dir, path) = with_index(&lines);
            assert_eq!(expected, left_out(&path, 40), "{lines:?}");
        }
        assert_eq!(
            [(0, 40)],
            left_out(Path::new("/nonexistent/a-1.jsonl"), 40)[..]
        );
    }

    #[test]
    fn spans_of_a_moment_are_behind_what_was_written_before_it() {
        let (_dir, path) = with_index(&[line(0), line(1), line(2)]);
        for (moment, expected) in [(0, 0), (100, 0), (101, 10), (102, 20), (103, 30), (999, 30)] {
            assert_eq!(
                expected,
                position_at(&path, 30, moment).unwrap(),
                "{moment}"
            );
        }
        let (_dir, path) = with_index(&["damaged\n".to_owned(), line(1), line(2)]);
        assert_eq!(0, position_at(&path, 30, 101).unwrap());
        // What is not there any more is not before anything.
        let (_dir, path) = with_index(&[line(0), line(1), line(2)]);
        assert_eq!(20, position_at(&path, 25, 999).unwrap());
    }
}
