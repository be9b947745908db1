//! Steps below a hop: a statement, a mail that is handed over. Without [`Detail::Full`] there are none.
//!
//! [`Detail::Full`]: crate::telemetry::Detail::Full

use std::borrow::Cow;

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanKind, TraceContextExt},
};

use super::{fail, start};
use crate::telemetry::detail;

/// Value of `error.type` where nobody waited for the end of a step.
const CANCELLED: &str = "cancelled";

/// Says what a step is, without a value that a user gave.
#[derive(Debug, Clone)]
pub(crate) struct What {
    pub(crate) name: Cow<'static, str>,
    /// Client, where something outside of the process is asked; else internal.
    pub(crate) kind: SpanKind,
    pub(crate) attributes: Vec<KeyValue>,
}

/// Says how a step failed, by a class: words of others may quote what a user gave.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) kind: Cow<'static, str>,
    pub(crate) attributes: Vec<KeyValue>,
}

/// Returns the current context, if steps below it are told.
///
/// What is in no trace begins none: the looks and probes of an idle process would be most of all traces.
pub(crate) fn parent_of_steps() -> Option<Context> {
    if !detail::is_full() {
        return None;
    }
    let current = Context::current();
    let is_recorded = current.span().span_context().is_sampled();
    is_recorded.then_some(current)
}

/// A step that is under way. Dropped before its end it was given up on.
#[derive(Debug)]
#[must_use = "a step is over when it is dropped"]
pub(crate) struct Step {
    /// One in each trace that waits for it.
    spans: Vec<Context>,
}

impl Step {
    /// Begins a step below each of the parents; without any it does nothing.
    pub(crate) fn below(
        parents: impl IntoIterator<Item = Context>,
        what: impl FnOnce() -> What,
    ) -> Self {
        let mut parents = parents.into_iter().peekable();
        if parents.peek().is_none() {
            return Self { spans: Vec::new() };
        }
        let What {
            name,
            kind,
            attributes,
        } = what();
        let begin = |parent| start(name.clone(), kind.clone(), attributes.clone(), &parent);
        Self {
            spans: parents.map(begin).collect(),
        }
    }

    /// Ends with the work.
    pub(crate) async fn around<T, E>(
        self,
        work: impl Future<Output = Result<T, E>>,
        failed: impl FnOnce(&E) -> Failed,
    ) -> Result<T, E> {
        let done = work.await;
        self.end(&done, failed);
        done
    }

    /// Ends as something did.
    pub(crate) fn end<T, E>(mut self, done: &Result<T, E>, failed: impl FnOnce(&E) -> Failed) {
        let spans = std::mem::take(&mut self.spans);
        if spans.is_empty() {
            return;
        }
        let failed = done.as_ref().err().map(failed);
        for span in &spans {
            let span = span.span();
            if let Some(failed) = &failed {
                span.set_attributes(failed.attributes.clone());
                fail(&span, failed.kind.clone());
            }
            span.end();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        for span in &self.spans {
            let span = span.span();
            fail(&span, CANCELLED);
            span.end();
        }
    }
}
