//! One message: decide at once, work in a task, answer.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures_util::FutureExt;
use opentelemetry::{context::FutureExt as _, trace::TraceContextExt};
use tokio::{sync::Semaphore, time::sleep_until};
use tokio_util::task::TaskTracker;

use super::{
    Admission, Counters, Ctx, Limits, admission::Arrival, discovery::Profile, endpoint::Endpoint,
    lateness::Lateness, refusals::Refusals, subscriptions::Source,
};
use crate::{
    Client, Code, Status,
    client::PING,
    clock,
    context::{LAST_WORD, RequestScope},
    message::{Answer, RequestHead},
    telemetry::{self, spans},
};

/// Time for a request whose caller set no limit.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// A handler that takes longer has its caller told that it works: most answer sooner, and a caller who
/// hears nothing for `ATTEMPT_TIMEOUT` goes elsewhere.
const ACCEPTED_AFTER: Duration = Duration::from_millis(25);

/// Signs of life, answers to discovery and the like that may be under way beside requests and their tasks.
const MAX_SAYING: usize = 4096;

/// What all requests of a replica share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) client: Client,
    pub(super) limits: Limits,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) reports: Vec<(&'static str, Arc<Counters>)>,
    pub(super) admission: Arc<Admission>,
    pub(super) profile: Profile,
    pub(super) refusals: Refusals,
    saying: Arc<Semaphore>,
    lateness: Lateness,
    /// Where the answers go of what has been announced as accepted.
    pub(super) at_work: Mutex<HashSet<Box<str>>>,
    expired: AtomicU64,
    panics: AtomicU64,
    draining: AtomicBool,
    /// The number of the connection that answers wait for.
    waits_for_connection: AtomicU64,
    /// The group is left: only signs of life are given any more.
    closed: AtomicBool,
}

/// A request as it came in.
struct Incoming {
    /// Position of its endpoint.
    at: usize,
    message: Message,
    arrived: Instant,
    arrival: Arrival,
}

impl Core {
    pub(super) fn new(
        client: &Client,
        limits: Limits,
        admission: Arc<Admission>,
        endpoints: Vec<Endpoint>,
        reports: Vec<(&'static str, Arc<Counters>)>,
        profile: Profile,
    ) -> Self {
        Self {
            client: client.clone(),
            limits,
            endpoints,
            reports,
            admission,
            profile,
            refusals: Refusals::default(),
            saying: Arc::new(Semaphore::new(MAX_SAYING)),
            lateness: Lateness::default(),
            at_work: Mutex::default(),
            expired: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            waits_for_connection: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Notes an answer that can't go out now, and may never if the process leaves before the connection is back.
    pub(super) fn note_connection(&self) {
        if !self.client.is_connected() {
            let next = self.client.connections() + 1;
            self.waits_for_connection.store(next, Relaxed);
        }
    }

    /// Tells whether answers wait for a connection that has not come yet.
    pub(super) fn has_answered_offline(&self) -> bool {
        self.waits_for_connection.load(Relaxed) > self.client.connections()
    }

    /// Returns how many handlers panicked.
    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Refuses whatever still comes.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
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
        let reply = message.reply.as_ref();
        if reply.is_some_and(|reply| !self.client.is_inbox(reply)) {
            return;
        }
        match source {
            Source::Group(at) => self.let_in(at, message, handlers),
            Source::Instance => {
                let operation = message
                    .subject
                    .rsplit_once('.')
                    .map_or("", |(_, last)| last);
                let known = self
                    .endpoints
                    .iter()
                    .position(|endpoint| endpoint.names.operation == operation);
                match known {
                    Some(at) if !self.closed.load(Relaxed) => self.let_in(at, message, handlers),
                    Some(_) => self.say(handlers, |core| core.refuse(message)),
                    None if operation == PING => self.say(handlers, |core| core.pong(message)),
                    None => self.say(handlers, |core| core.unknown(message)),
                }
            }
            Source::Discovery(verb) => self.say(handlers, |core| async move {
                if let Some(reply) = message.reply {
                    let document = verb.answer(&core).into();
                    core.client.answer(reply, HeaderMap::new(), document).await;
                }
            }),
        }
    }

    /// Serves a request if there is room for it, and refuses it otherwise.
    fn let_in(self: &Arc<Self>, at: usize, message: Message, handlers: &TaskTracker) {
        let arrived = Instant::now();
        let Some(arrival) = self.admission.arrive() else {
            return self.turn_away(message.reply, handlers);
        };
        let request = Incoming {
            at,
            message,
            arrived,
            arrival,
        };
        // Boxed: a task's future is moved ten times before it runs, and this one is large.
        handlers.spawn(Box::pin(Arc::clone(self).serve(request, handlers.clone())));
    }

    /// Says something that takes no time and no place.
    fn say<F>(self: &Arc<Self>, handlers: &TaskTracker, saying: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Counted apart from the handlers, and from what those have spawned.
        match Arc::clone(&self.saying).try_acquire_owned() {
            Ok(place) => {
                let saying = saying(Arc::clone(self));
                handlers.spawn(async move {
                    saying.await;
                    drop(place);
                });
            }
            Err(_) => self.refusals.lose(),
        }
    }

    /// Serves one request, from its headers to its reply.
    async fn serve(self: Arc<Self>, request: Incoming, handlers: TaskTracker) {
        let Incoming {
            at,
            message,
            arrived,
            arrival,
        } = request;
        let endpoint = &self.endpoints[at];
        let head = RequestHead::decode(message.headers.as_ref());
        let timeout = head.time_left().unwrap_or(DEFAULT_TIMEOUT);
        let late = self.lateness(&head, message.reply.as_ref());
        let left = timeout.saturating_sub(late.max(arrived.elapsed()));
        if left.is_zero() {
            return self.expire();
        }
        let scope = RequestScope::called_by(left, head.request_id, message.reply.clone());
        drop(arrival);
        let entered = self.admission.enter(left).await;
        // This process may have been frozen, or its thread held up, while the request waited.
        if scope.remaining().is_zero() {
            return self.expire();
        }
        let place = match entered {
            Ok(place) => place,
            Err(refused) => {
                let answer = Answer::NotAccepted(refused.into());
                if self.reply(message.reply, answer, arrived.elapsed()).await {
                    self.refusals.refuse();
                }
                return;
            }
        };
        let waited = arrived.elapsed();
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
        let (result, told) = self
            .handle(endpoint, ctx, message.payload, message.reply.as_ref())
            .with_context(span.clone())
            .await;
        let result = self.fitting(endpoint, result);
        spans::end_handle(&span, result.as_ref().err());
        let spent = arrived.elapsed() - waited;
        let failed = result.as_ref().err().map(Status::code);
        endpoint.counters.note(spent, failed);
        let durations = self.client.metrics().handlers();
        durations.note(endpoint.names, failed, spent, span.span().span_context());
        let answer = result.map_or_else(Answer::Failed, Answer::Payload);
        // Until the answer is on its way a ping must not hear that nobody works on it.
        let announced = message.reply.clone().filter(|_| told);
        self.reply(message.reply, answer, waited).await;
        if let Some(reply) = announced {
            self.at_work().remove(reply.as_str());
        }
        drop(place);
    }

    /// Nobody waits for the answer any more; working on it would only delay others.
    fn expire(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    /// Returns how late a request is beyond what its relative deadline knows.
    fn lateness(&self, head: &RequestHead, reply: Option<&Subject>) -> Duration {
        let sender = reply.and_then(|reply| sender(reply));
        let sent = head.sent_unix_ms.and_then(|sent| i64::try_from(sent).ok());
        let (Some(sender), Some(sent)) = (sender, sent) else {
            return Duration::ZERO;
        };
        let now = i64::try_from(clock::since_epoch().as_millis()).unwrap_or(i64::MAX);
        self.lateness.of(sender, sent, now)
    }

    /// Runs the handler under its deadline, and a moment beyond; whatever it does, there is a result. Returns with it whether the
    /// caller was told that it is at work.
    async fn handle(
        &self,
        endpoint: &Endpoint,
        ctx: Ctx,
        payload: Bytes,
        reply: Option<&Subject>,
    ) -> (Result<Bytes, Status>, bool) {
        let deadline = tokio::time::Instant::from_std(ctx.deadline()) + LAST_WORD;
        let accepted_at = tokio::time::Instant::now() + ACCEPTED_AFTER;
        let mut work =
            pin!(AssertUnwindSafe(async { endpoint.call(ctx, payload).await }).catch_unwind());
        // One timer for both: most handlers need neither.
        let mut timer = pin!(sleep_until(deadline.min(accepted_at)));
        let mut told = false;
        let result = loop {
            tokio::select! {
                biased;
                result = &mut work => break Some(result),
                () = &mut timer => {}
            }
            if told || deadline <= accepted_at {
                break None;
            }
            told = true;
            timer.as_mut().reset(deadline);
            tokio::select! {
                biased;
                result = &mut work => break Some(result),
                () = self.accepted(reply) => {}
                () = &mut timer => break None,
            }
        };
        let result = match result {
            Some(Ok(result)) => result,
            Some(Err(panic)) => {
                self.panics.fetch_add(1, Relaxed);
                telemetry::log_caught_panic(&*panic);
                Err(Status::new(Code::Internal, "internal error"))
            }
            None => {
                let words = format!("{} took too long", endpoint.names.service.name());
                let late = "the handler was not done at its deadline";
                Err(Status::new(Code::DeadlineExceeded, words).with_source(late))
            }
        };
        if let Err(status) = &result {
            log_cause(endpoint, status);
        }
        (result, told)
    }
}

/// Returns the instance of `_INBOX.<caller>.<callee>.<instance>.<token>`; another inbox names nobody.
fn sender(reply: &str) -> Option<&str> {
    let mut tokens = reply.rsplit('.');
    let (_token, instance) = (tokens.next()?, tokens.next()?);
    (tokens.count() == 3).then_some(instance)
}

/// Logs a failure's cause, in the process that had it. A status that came from a call has none: it
/// was logged where it happened.
fn log_cause(endpoint: &Endpoint, status: &Status) {
    let Some(chain) = status.cause() else {
        return;
    };
    let operation = endpoint.names.rpc_method;
    if status.code().is_server_error() {
        tracing::error!(operation, code = %status.code(), cause = chain, "{}", status.message());
    } else {
        tracing::info!(operation, code = %status.code(), cause = chain, "{}", status.message());
    }
}
