//! The edge of a system: its options, and the order of its layers.

use std::{any::Any, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, Uri},
    middleware,
    response::{IntoResponse, Response},
};
use tower_http::catch_panic::CatchPanicLayer;

use super::{Tokens, rate::Rates, root};
use crate::{
    Code, Instance, Replica, Status,
    metrics::HttpDurations,
    replica::{Admission, Counters, Limits},
    telemetry,
};

/// Whose `traceparent` is continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrustTraceparent {
    /// Everybody's: right where only trusted programs can reach the edge.
    Always,
    /// That of whoever shows one of the [`Tokens`].
    Authenticated,
    /// Nobody's: each request starts a trace of its own, linked to what the caller sent.
    #[default]
    Never,
}

/// What an edge allows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time for a request that asks for none. Default 2 s.
    pub request_timeout: Duration,
    /// Requests worked on at once, and waiting for that. Default 512, and 256 more for 50 ms: an edge waits
    /// for others, so it holds more than a replica. Together as many as [`serve`](super::serve()) has
    /// connections.
    pub limits: Limits,
    /// Requests that one client may make a second, and at once: a client is a token, or an address without one. More
    /// are answered 429. The address is known by [`serve`](super::serve()) alone; behind another server all without a
    /// token are one client. Default: as many as there are places for.
    pub rate_limit: Option<NonZeroU32>,
    /// Largest body, in bytes; it is read whole before the request gets a place, but for that of a `GET`, `HEAD`,
    /// `OPTIONS` or `TRACE`, which is left to the handler. Default 16 KiB.
    pub max_body: usize,
    /// Whose `traceparent` is continued. Default: nobody's.
    pub trust_traceparent: TrustTraceparent,
    /// What a request must show, but for [`open`](Self::open) paths and probes. Without it is answered 401.
    /// Default: nothing; then an `Authorization` header is ignored.
    pub tokens: Option<Tokens>,
    /// Paths that need no token. Default: none.
    pub open: Vec<&'static str>,
    /// Paths that are answered without a trace and without a line in the log. Default `/health`.
    pub probes: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(2),
            limits: Limits {
                max_ongoing: 512,
                max_queued: 256,
                ..Limits::default()
            },
            rate_limit: None,
            max_body: 16 * 1024,
            trust_traceparent: TrustTraceparent::Never,
            tokens: None,
            open: Vec::new(),
            probes: vec!["/health"],
        }
    }
}

/// Wraps routers so that each request is one trace, bounded in time, size and number.
#[derive(Debug, Clone)]
pub struct Edge {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) instance: Instance,
    pub(super) options: Options,
    pub(super) admission: Arc<Admission>,
    pub(super) rates: Option<Rates>,
    pub(super) counters: Arc<Counters>,
    pub(super) durations: HttpDurations,
}

impl Edge {
    /// Makes the edge of a process.
    #[must_use]
    pub fn new(instance: &Instance, options: Options) -> Self {
        Self {
            shared: Arc::new(Shared {
                instance: instance.clone(),
                admission: Arc::new(Admission::new(options.limits)),
                rates: options.rate_limit.map(Rates::new),
                counters: Arc::default(),
                durations: HttpDurations::new(),
                options,
            }),
        }
    }

    /// Puts the layers round a router, and answers what it doesn't know with problem details: 404, or 405 with
    /// `allow`. `OPTIONS` is answered 204 with `allow`. So is what a handler refuses without a word, by a status alone.
    ///
    /// Give it the finished router: routes that are added afterwards have none of this, and a fallback that it has is
    /// replaced.
    pub fn wrap(&self, router: Router) -> Router {
        let counters = Arc::clone(&self.shared.counters);
        router
            .method_not_allowed_fallback(other_method)
            .fallback(unknown_path)
            // As one: each `layer` would be a box more round every route.
            .layer((
                middleware::from_fn_with_state(self.clone(), root::layer),
                DefaultBodyLimit::max(self.shared.options.max_body),
                CatchPanicLayer::custom(move |panic: Box<dyn Any + Send>| {
                    counters.panicked();
                    telemetry::log_caught_panic(&*panic);
                    Status::new(Code::Internal, "internal error").into_response()
                }),
            ))
    }

    /// Makes a replica that handles nothing and shows this edge in discovery, so that whoever asks who
    /// is there sees it; and its figures among the client's metrics.
    pub fn announce(&self, client: &crate::Client) -> Replica {
        self.shared.durations.show(client.metrics());
        Replica::new(client)
            .with_limits(self.shared.options.limits)
            .report(
                "http",
                Arc::clone(&self.shared.counters),
                Arc::clone(&self.shared.admission),
            )
    }
}

/// Answers for a path with other methods than this one; axum adds which they are.
async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let words = "this path has other methods; see `allow`";
    Status::new(Code::MethodNotAllowed, words).into_response()
}

/// Answers for a path that nobody serves. `*` is the server itself, of which one may ask that it is there.
async fn unknown_path(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS && uri.path() == "*" {
        return StatusCode::NO_CONTENT.into_response();
    }
    Status::not_found("there is no such path").into_response()
}
