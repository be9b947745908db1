//! One message: decide at once, work in a task, answer.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures_util::FutureExt;
use opentelemetry::context::FutureExt as _;
use tokio_util::task::TaskTracker;

use super::{
    Admission, Counters, Ctx, Limits, discovery::Profile, endpoint::Endpoint, subscriptions::Source,
};
use crate::{
    Client, Code, Status,
    context::RequestScope,
    message::{Answer, ReplyHead, RequestHead},
    telemetry::spans,
};

/// Time for a request whose caller set no limit.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Answers without admission, so that a caller can tell a busy replica from one that is gone.
const PING: &str = "_ping";

/// What all requests of a replica share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) client: Client,
    pub(super) limits: Limits,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) reports: Vec<(&'static str, Arc<Counters>)>,
    pub(super) admission: Arc<Admission>,
    pub(super) profile: Profile,
    expired: AtomicU64,
    draining: AtomicBool,
}

impl Core {
    pub(super) fn new(
        client: &Client,
        limits: Limits,
        admission: Arc<Admission>,
        endpoints: Vec<Endpoint>,
        reports: Vec<(&'static str, Arc<Counters>)>,
    ) -> Self {
        Self {
            client: client.clone(),
            limits,
            endpoints,
            reports,
            admission,
            profile: Profile::of(client.instance()),
            expired: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        }
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Returns how many requests came too late to be begun.
    pub(super) fn expired(&self) -> u64 {
        self.expired.load(Relaxed)
    }

    /// Takes a message without ever waiting: the work goes to a task of its own.
    pub(super) fn accept(
        self: &Arc<Self>,
        (source, message): (Source, Message),
        handlers: &TaskTracker,
    ) {
        let core = Arc::clone(self);
        match source {
            Source::Group(at) => {
                handlers.spawn(core.serve(at, message, handlers.clone()));
            }
            Source::Instance => {
                let operation = message
                    .subject
                    .rsplit_once('.')
                    .map_or("", |(_, last)| last);
                let known = core
                    .endpoints
                    .iter()
                    .position(|endpoint| endpoint.names.operation == operation);
                match known {
                    Some(at) => handlers.spawn(core.serve(at, message, handlers.clone())),
                    None if operation == PING => handlers.spawn(core.pong(message)),
                    None => handlers.spawn(core.unknown(message)),
                };
            }
            Source::Discovery(verb) => {
                handlers.spawn(async move {
                    if let Some(reply) = message.reply {
                        let document = verb.answer(&core).into();
                        core.client.answer(reply, HeaderMap::new(), document).await;
                    }
                });
            }
        }
    }

    /// Serves one request, from its headers to its reply.
    async fn serve(self: Arc<Self>, at: usize, message: Message, handlers: TaskTracker) {
        let arrived = Instant::now();
        let endpoint = &self.endpoints[at];
        let head = RequestHead::decode(message.headers.as_ref());
        let timeout = head.timeout.unwrap_or(DEFAULT_TIMEOUT);
        if timeout.is_zero() {
            // Nobody waits for the answer any more; working on it would only delay others.
            self.expired.fetch_add(1, Relaxed);
            return;
        }
        let place = match self.admission.enter(timeout).await {
            Ok(place) => place,
            Err(refused) => {
                let answer = Answer::NotAccepted(refused.into());
                return self.reply(message.reply, answer, arrived.elapsed()).await;
            }
        };
        let waited = arrived.elapsed();
        let scope = RequestScope {
            deadline: arrived + timeout,
            ..RequestScope::new(timeout, head.request_id.as_deref())
        };
        let parent = spans::remote_parent(head.trace).with_value(scope.clone());
        let span = spans::handle(
            endpoint.names,
            self.client.instance().id(),
            &scope.request_id,
            head.attempt,
            waited,
            &parent,
        );
        let ctx = Ctx {
            scope,
            attempt: head.attempt,
            span: span.clone(),
            handlers,
        };
        let result = self
            .handle(endpoint, ctx, message.payload)
            .with_context(span.clone())
            .await;
        let result = self.fitting(endpoint, result);
        spans::end_call(&span, result.as_ref().err());
        endpoint.counters.note(
            arrived.elapsed() - waited,
            result.as_ref().err().map(Status::code),
        );
        let answer = result.map_or_else(Answer::Failed, Answer::Payload);
        self.reply(message.reply, answer, waited).await;
        drop(place);
    }

    /// Runs the handler under its deadline; whatever it does, there is a result.
    async fn handle(&self, endpoint: &Endpoint, ctx: Ctx, payload: Bytes) -> Result<Bytes, Status> {
        let deadline = tokio::time::Instant::from_std(ctx.deadline());
        let work = AssertUnwindSafe(async { endpoint.call(ctx, payload).await }).catch_unwind();
        let result = match tokio::time::timeout_at(deadline, work).await {
            Ok(Ok(result)) => result,
            // The panic hook has logged where and why.
            Ok(Err(_panic)) => Err(Status::new(Code::Internal, "internal error")),
            Err(_) => {
                let words = format!("{} took too long", endpoint.names.service.name());
                Err(Status::new(Code::DeadlineExceeded, words))
            }
        };
        if let Err(status) = &result {
            log_cause(endpoint, status);
        }
        result
    }

    /// A reply that the server would refuse costs the connection; the caller gets an error instead.
    fn fitting(&self, endpoint: &Endpoint, result: Result<Bytes, Status>) -> Result<Bytes, Status> {
        /// More than our reply headers ever take.
        const HEADERS: usize = 512;
        let limit = self.client.nats().max_payload();
        match result {
            Ok(reply) if reply.len() + HEADERS > limit => {
                tracing::error!(
                    operation = endpoint.names.rpc_method,
                    bytes = reply.len(),
                    limit,
                    "the reply is larger than NATS takes"
                );
                Err(Status::new(Code::TooLarge, "the reply is too large"))
            }
            result => result,
        }
    }

    async fn pong(self: Arc<Self>, message: Message) {
        self.reply(
            message.reply,
            Answer::Payload(Bytes::from_static(b"{}")),
            Duration::ZERO,
        )
        .await;
    }

    async fn unknown(self: Arc<Self>, message: Message) {
        let status = Status::new(Code::Unimplemented, "no such operation");
        self.reply(message.reply, Answer::Failed(status), Duration::ZERO)
            .await;
    }

    async fn reply(&self, to: Option<Subject>, answer: Answer, queue_wait: Duration) {
        let Some(to) = to else { return };
        let head = ReplyHead {
            replica: self.client.instance().id().to_owned(),
            queue_wait,
            load: Some((self.admission.ongoing(), self.admission.limit())),
        };
        let (headers, payload) = answer.encode(&head);
        self.client.answer(to, headers, payload).await;
    }
}

/// Logs a failure's cause, in the process that had it. A status that came from a call has none: it
/// was logged where it happened.
fn log_cause(endpoint: &Endpoint, status: &Status) {
    let Some(cause) = std::error::Error::source(status) else {
        return;
    };
    let mut chain = cause.to_string();
    let mut next = cause.source();
    while let Some(deeper) = next {
        chain = format!("{chain}: {deeper}");
        next = deeper.source();
    }
    let operation = endpoint.names.rpc_method;
    if status.code().is_server_error() {
        tracing::error!(operation, code = %status.code(), cause = chain, "{}", status.message());
    } else {
        tracing::info!(operation, code = %status.code(), cause = chain, "{}", status.message());
    }
}
