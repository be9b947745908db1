//! A trace as a tree, and what is missing of it.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{
    Span, TraceId,
    tree::{Placed, place},
};

/// Holds the spans of one request, put together from all processes; or of several, where a caller makes more than one
/// under the same trace id.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Counts the complete lines that could not be read, in all files.
    pub skipped_lines: usize,
    /// Counts the last lines that were written only in part.
    pub torn_lines: usize,
    id: TraceId,
    placed: Vec<Placed>,
}

/// Shows one span at its place in the tree.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Row<'a> {
    /// Numbers the spans from 1, depth first.
    pub number: usize,
    /// Counts the spans above it.
    pub depth: usize,
    /// Tells whether the span names a parent that isn't there; such a span is at depth 0.
    pub missing_parent: bool,
    /// The span's time without its children's, in nanoseconds.
    #[serde(rename = "self_time_nano")]
    pub self_time: u64,
    /// Tells whether the end of what is above it waited for this span.
    #[serde(rename = "critical")]
    pub is_critical: bool,
    /// The span.
    #[serde(flatten)]
    pub span: &'a Span,
}

/// Counts what is missing of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gaps {
    /// Counts the requests: what has no parent, or is where one came in. A complete trace has one at least.
    pub roots: usize,
    /// Counts the spans whose parent isn't there, or is below them.
    pub missing_parents: usize,
    /// Counts the calls that didn't fail and of which nobody recorded the other side.
    pub one_sided_calls: usize,
}

impl Trace {
    /// Puts spans of one trace together; the counts say what could not be read.
    #[must_use]
    pub fn new(id: TraceId, spans: Vec<Span>, skipped_lines: usize, torn_lines: usize) -> Self {
        Self {
            skipped_lines,
            torn_lines,
            id,
            placed: place(spans),
        }
    }

    /// Returns the trace's id.
    #[must_use]
    pub const fn id(&self) -> TraceId {
        self.id
    }

    /// Walks over the spans depth first: parents before children, siblings by their start.
    ///
    /// Roots come first, then the spans whose parent is missing.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.placed.iter().enumerate().map(|(at, placed)| Row {
            number: at + 1,
            depth: placed.depth,
            missing_parent: placed.missing_parent,
            self_time: placed.self_time,
            is_critical: placed.is_critical,
            span: &placed.span,
        })
    }

    /// Returns the roots, by their start: what has no parent, or is where the request came in.
    pub fn roots(&self) -> impl Iterator<Item = &Span> {
        let root = |placed: &&Placed| placed.depth == 0 && placed.span.is_root();
        self.placed.iter().filter(root).map(|placed| &placed.span)
    }

    /// Lists the services that took part, by name.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        self.placed
            .iter()
            .map(|placed| placed.span.service.as_str())
            .collect()
    }

    /// Returns when the first span began; spans that don't know are left out.
    #[must_use]
    pub fn start(&self) -> u64 {
        let starts = self.placed.iter().map(|placed| placed.span.start);
        starts.filter(|start| *start > 0).min().unwrap_or(0)
    }

    /// Returns when the last span ended, never before the start.
    #[must_use]
    pub fn end(&self) -> u64 {
        let ends = self.placed.iter().map(|placed| placed.span.end);
        ends.max().unwrap_or(0).max(self.start())
    }

    /// Returns when the last root ended; work may go on behind that.
    #[must_use]
    pub fn answered(&self) -> Option<u64> {
        self.roots().map(|root| root.end).max()
    }

    /// Returns how long the request took, in nanoseconds: its root; or all of it, where there is none or more than one.
    #[must_use]
    pub fn duration(&self) -> u64 {
        let mut roots = self.roots();
        match (roots.next(), roots.next()) {
            (Some(root), None) => root.duration(),
            _ => self.end().saturating_sub(self.start()),
        }
    }

    /// Counts what is missing.
    #[must_use]
    pub fn gaps(&self) -> Gaps {
        let count = |test: fn(&Placed) -> bool| self.placed.iter().filter(|one| test(one)).count();
        Gaps {
            roots: self.roots().count(),
            missing_parents: count(|one| one.missing_parent),
            one_sided_calls: count(|one| {
                one.span.is_call() && one.children == 0 && !one.span.is_error()
            }),
        }
    }

    /// Tells whether every process has written its part.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let Gaps {
            roots,
            missing_parents,
            one_sided_calls,
        } = self.gaps();
        roots > 0 && missing_parents + one_sided_calls == 0
    }
}

impl Serialize for Trace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Trace", 8)?;
        out.serialize_field("trace_id", &self.id)?;
        out.serialize_field("duration_nano", &self.duration())?;
        out.serialize_field("services", &self.services())?;
        out.serialize_field("complete", &self.is_complete())?;
        out.serialize_field("gaps", &self.gaps())?;
        out.serialize_field("skipped_lines", &self.skipped_lines)?;
        out.serialize_field("torn_lines", &self.torn_lines)?;
        out.serialize_field("spans", &self.rows().collect::<Vec<_>>())?;
        out.end()
    }
}
