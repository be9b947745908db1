//! What a request carries through a process: deadline and request id, beside its span.
//!
//! It travels inside the OpenTelemetry [`Context`], so whatever keeps the trace together keeps the
//! deadline too, and a call made in a handler inherits both without being handed anything.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::Subject;
use opentelemetry::{Context, context::FutureExt};

use crate::instance::random_token;

/// Time for a handler to say itself, at its deadline, that a call of its came too late, and what that means.
pub(crate) const LAST_WORD: Duration = Duration::from_millis(20);

/// Length of a request id that we make ourselves.
const REQUEST_ID_LENGTH: usize = 20;

/// Deadline and id of the request that is being worked on.
#[derive(Debug, Clone)]
pub(crate) struct RequestScope {
    pub(crate) deadline: Instant,
    pub(crate) request_id: Arc<str>,
    /// Where the caller wants its answer, which names it; empty if nowhere, `None` where nobody called, as at the edge.
    pub(crate) asked_by: Option<Subject>,
    /// Whether this is no request at all, but work of the process's own: whoever does that says how it went.
    pub(crate) is_own_work: bool,
}

/// The process that sent a request, as its reply subject names it: `_INBOX.<service>.<callee>.<instance>.<token>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) service: Box<str>,
    pub(crate) instance: Box<str>,
}

impl Caller {
    pub(crate) fn of(reply: &str) -> Option<Self> {
        let mut tokens = reply.split('.');
        let (inbox, service, _callee) = (tokens.next()?, tokens.next()?, tokens.next()?);
        let (instance, _token, end) = (tokens.next()?, tokens.next()?, tokens.next());
        (inbox == "_INBOX" && end.is_none()).then(|| Self {
            service: service.into(),
            instance: instance.into(),
        })
    }
}

impl RequestScope {
    /// Opens a scope at the edge of the system.
    pub(crate) fn new(timeout: Duration, request_id: Option<Arc<str>>) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            request_id: request_id.unwrap_or_else(|| random_token(REQUEST_ID_LENGTH).into()),
            asked_by: None,
            is_own_work: false,
        }
    }

    /// Opens a scope for a call that no request is the reason of.
    pub(crate) fn own_work(timeout: Duration) -> Self {
        Self {
            is_own_work: true,
            ..Self::new(timeout, None)
        }
    }

    /// Opens a scope for a request of another process.
    pub(crate) fn called_by(
        timeout: Duration,
        request_id: Option<Arc<str>>,
        reply: Option<Subject>,
    ) -> Self {
        Self {
            asked_by: Some(reply.unwrap_or(Subject::from_static(""))),
            ..Self::new(timeout, request_id)
        }
    }

    /// Returns the scope of the request on whose behalf this code runs.
    pub(crate) fn current() -> Option<Self> {
        Context::map_current(|context| context.get::<Self>().cloned())
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Runs a future under a deadline of its own: calls made in it inherit that one, and not the request's.
///
/// Trace and request id are those of whoever awaits this. It stops nothing when the time is up: the calls end.
///
/// ```
/// # use nats_serve::*;
/// # use std::time::{Duration, Instant};
/// # fn later(ctx: &Ctx, work: impl Future<Output = ()> + Send + 'static) {
/// ctx.spawn(with_deadline(Instant::now() + Duration::from_secs(15), work));
/// # }
/// ```
pub async fn with_deadline<F: Future>(deadline: Instant, future: F) -> F::Output {
    let current = Context::current();
    let scope = match current.get::<RequestScope>() {
        Some(scope) => RequestScope {
            deadline,
            ..scope.clone()
        },
        None => RequestScope {
            deadline,
            ..RequestScope::own_work(Duration::ZERO)
        },
    };
    future.with_context(current.with_value(scope)).await
}

/// Keeps a caller's request id only if it is harmless in headers and logs.
pub(crate) fn sane_request_id(id: &str) -> Option<&str> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ((1..=64).contains(&id.len()) && id.bytes().all(harmless)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_of_its_own_keeps_the_request() {
        let scope = RequestScope::new(Duration::from_secs(1), Some("r1".into()));
        let (given, until) = (
            Context::new().with_value(scope.clone()),
            Instant::now() + Duration::from_secs(9),
        );
        let look = async { with_deadline(until, async { RequestScope::current() }).await };
        let seen = look.with_context(given).await.unwrap();
        assert_eq!((until, "r1"), (seen.deadline, &*seen.request_id));
    }

    #[test]
    fn a_caller_is_named_by_an_inbox_of_ours_alone() {
        let caller = Caller::of("_INBOX.user.database.u1.00ff").unwrap();
        assert_eq!(("user", "u1"), (&*caller.service, &*caller.instance));
        for other in ["", "_INBOX.abc", "_INBOX.a.b.c.d.e", "svc.user.a.b.c"] {
            assert_eq!(None, Caller::of(other), "{other:?}");
        }
    }

    #[test]
    fn only_harmless_request_ids_are_kept() {
        for kept in ["a", "0af7651916cd43dd-8448.eb_2", &"x".repeat(64)] {
            assert_eq!(Some(kept), sane_request_id(kept));
        }
        for made_anew in ["", "a b", "a\r\nx: y", "ü", "{}", &"x".repeat(65)] {
            assert_eq!(None, sane_request_id(made_anew), "{made_anew:?}");
        }
    }
}
