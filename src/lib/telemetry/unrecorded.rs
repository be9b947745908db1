//! Work that a trace does not tell of.

use opentelemetry::{
    Context,
    context::FutureExt,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};

use super::detail;

/// Runs a future whose calls make no spans, in this process and in those that it calls: bookkeeping that would
/// bury a trace. Log lines keep the trace's id, calls the deadline.
///
/// It says *not sampled* to whoever asks the parent (`traceparent` with flags `00`), as every sampler does that
/// respects its parent; OpenTelemetry's `always_on` does not. With [`Detail::Full`](super::Detail::Full) it does nothing.
pub async fn unrecorded<F: Future>(future: F) -> F::Output {
    if detail::is_full() {
        return future.await;
    }
    let current = Context::current();
    let span = current.span().span_context().clone();
    let trace_id = match span.is_valid() {
        true => span.trace_id(),
        false => TraceId::from(rand::random::<u128>().max(1)),
    };
    let parent = SpanContext::new(
        trace_id,
        SpanId::from(rand::random::<u64>().max(1)),
        TraceFlags::NOT_SAMPLED,
        true,
        TraceState::default(),
    );
    let unsampled = current.with_remote_span_context(parent);
    future.with_context(unsampled).await
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{context::RequestScope, with_deadline};

    #[tokio::test]
    async fn the_trace_is_the_same_and_not_sampled() {
        let sampled = SpanContext::new(
            TraceId::from(7),
            SpanId::from(7),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let scope = RequestScope::new(Duration::from_secs(1), Some("r1".into()));
        let context = Context::new()
            .with_remote_span_context(sampled)
            .with_value(scope);
        let look = async {
            let seen = Context::current().span().span_context().clone();
            (seen, RequestScope::current())
        };
        let (seen, scope) = async { unrecorded(look).await }.with_context(context).await;
        assert_eq!(TraceId::from(7), seen.trace_id());
        assert!(!seen.is_sampled() && seen.span_id() != SpanId::from(7));
        assert_eq!(Some(Arc::from("r1")), scope.map(|scope| scope.request_id));
    }

    #[tokio::test]
    async fn a_deadline_and_this_go_together_in_any_order() {
        let until = std::time::Instant::now() + Duration::from_secs(9);
        let look = async || {
            let sampled = Context::current().span().span_context().is_sampled();
            (sampled, RequestScope::current().map(|scope| scope.deadline))
        };
        let outside = with_deadline(until, unrecorded(look())).await;
        let inside = unrecorded(with_deadline(until, look())).await;
        assert_eq!([(false, Some(until)); 2], [outside, inside]);
    }

    #[tokio::test]
    async fn without_a_trace_none_begins() {
        let seen = unrecorded(async { Context::current().span().span_context().clone() }).await;
        assert!(seen.is_valid() && !seen.is_sampled());
    }
}
