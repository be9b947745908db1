//! Puts spans in order: parents before children, siblings by start, whatever the input was.
//!
//! Spans come from several writers, so a parent may be missing, a span may be there twice, and a
//! damaged file may even make spans each other's parents. Every span is placed exactly once.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

use super::{Span, SpanId, critical};

/// A span at its place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) span: Span,
    pub(super) depth: usize,
    pub(super) self_time: u64,
    pub(super) children: usize,
    pub(super) missing_parent: bool,
    pub(super) is_critical: bool,
}

/// Places all spans, depth first.
pub(super) fn place(spans: Vec<Span>) -> Vec<Placed> {
    let mut tree = Tree::new(spans);
    let mut placed = Vec::with_capacity(tree.spans.len());
    for id in tree.tops() {
        tree.place_from(id, &mut placed);
    }
    critical::mark(&mut placed);
    placed
}

struct Tree {
    /// What isn't placed yet.
    spans: HashMap<SpanId, Span>,
    /// Sorted by start.
    order: Vec<SpanId>,
    parents: HashMap<SpanId, SpanId>,
    children: HashMap<SpanId, Vec<SpanId>>,
}

impl Tree {
    fn new(spans: Vec<Span>) -> Self {
        let mut unique: BTreeMap<SpanId, Span> = BTreeMap::new();
        for span in spans {
            // A repeated export; should the two differ, the order of the files must not decide.
            let kept = unique.get(&span.span_id);
            if kept.is_none_or(|kept| (kept.end, kept.start) < (span.end, span.start)) {
                unique.insert(span.span_id, span);
            }
        }
        let mut order: Vec<SpanId> = unique.keys().copied().collect();
        order.sort_by_key(|id| (unique[id].start, *id));
        let mut parents = HashMap::new();
        let mut children: HashMap<SpanId, Vec<SpanId>> = HashMap::new();
        for id in &order {
            let known = |parent: &SpanId| parent != id && unique.contains_key(parent);
            if let Some(parent) = unique[id].parent_span_id.filter(known) {
                parents.insert(*id, parent);
                children.entry(parent).or_default().push(*id);
            }
        }
        Self {
            spans: unique.into_iter().collect(),
            order,
            parents,
            children,
        }
    }

    /// Returns where walks begin: roots, then orphans, then one span of every cycle.
    fn tops(&self) -> Vec<SpanId> {
        let (mut tops, orphans): (Vec<_>, Vec<_>) = (self.order.iter())
            .filter(|id| !self.parents.contains_key(id))
            .partition(|id| self.spans[id].is_root());
        tops.extend(orphans);
        let mut reached = HashSet::new();
        for top in &tops {
            self.reach(*top, &mut reached);
        }
        for id in &self.order {
            if reached.contains(id) {
                continue;
            }
            // Going up from here never ends, so it comes to the cycle.
            let mut top = *id;
            let mut climbed = HashSet::new();
            while climbed.insert(top) {
                top = self.parents.get(&top).copied().unwrap_or(top);
            }
            self.reach(top, &mut reached);
            tops.push(top);
        }
        tops
    }

    fn reach(&self, top: SpanId, reached: &mut HashSet<SpanId>) {
        let mut waiting = vec![top];
        while let Some(id) = waiting.pop() {
            if reached.insert(id) {
                waiting.extend(self.children.get(&id).into_iter().flatten());
            }
        }
    }

    /// Moves the spans below `top` out of the tree, so a cycle ends where it began.
    fn place_from(&mut self, top: SpanId, placed: &mut Vec<Placed>) {
        // A stack of its own, because the input decides how deep the tree is.
        let mut waiting = vec![(top, 0)];
        while let Some((id, depth)) = waiting.pop() {
            let children = self.children.remove(&id).unwrap_or_default();
            let covered = self.covered(&id, &children);
            let Some(span) = self.spans.remove(&id) else {
                continue;
            };
            placed.push(Placed {
                depth,
                self_time: span.duration().saturating_sub(covered),
                children: children.len(),
                missing_parent: depth == 0 && !span.is_root(),
                is_critical: false,
                span,
            });
            waiting.extend(children.iter().rev().map(|child| (*child, depth + 1)));
        }
    }

    /// Returns for how long at least one child was running, or something beside it was waited for, within the span's own
    /// time.
    fn covered(&self, id: &SpanId, children: &[SpanId]) -> u64 {
        let Some(span) = self.spans.get(id) else {
            return 0;
        };
        let children = children.iter().filter_map(|child| self.spans.get(child));
        let mut parts: Vec<Range<u64>> = children.map(|child| child.start..child.end).collect();
        parts.extend(span.waits());
        // Overlaps lie behind `until`.
        parts.sort_by_key(|part| part.start);
        let mut until = span.start;
        let mut covered: u64 = 0;
        for part in parts {
            let end = part.end.min(span.end);
            let start = part.start.max(until);
            covered = covered.saturating_add(end.saturating_sub(start));
            until = until.max(end);
        }
        covered
    }
}
