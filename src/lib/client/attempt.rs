//! The attempts of one call: what may be repeated, and when to stop.

use std::time::{Duration, SystemTime};

use async_nats::client::PublishErrorKind;
use bytes::Bytes;
use opentelemetry::{Context, trace::TraceContextExt};
use rand::Rng;
use tokio::time::{Instant, sleep, timeout_at};

use super::Client;
use crate::{
    Code, Status,
    context::RequestScope,
    message::{Answer, Reply, ReplyHead, RequestHead},
    operation::Names,
    telemetry::spans,
};

/// Attempts a call, the first included.
const MAX_ATTEMPTS: u32 = 3;
/// Pause before the next attempt, jittered to between half and all of it, doubled each time.
const BACKOFF: Duration = Duration::from_millis(20);
/// Messages that one attempt may have unread: some interim replies and the final one.
const UNREAD: usize = 4;

/// How one attempt ended without a payload. Boxed where it is returned: answers are the rule.
struct Failure {
    status: Status,
    /// In the span's event.
    reason: &'static str,
    /// The handler surely has not begun, or may safely begin twice.
    repeatable: bool,
    /// Who answered, if anybody did.
    answered: Option<ReplyHead>,
}

impl Failure {
    fn unanswered(reason: &'static str, repeatable: bool, status: Status) -> Box<Self> {
        Box::new(Self {
            status,
            reason,
            repeatable,
            answered: None,
        })
    }

    fn deadline(names: &Names) -> Box<Self> {
        let words = format!("no answer from {} in time", names.service.name());
        let status = Status::new(Code::DeadlineExceeded, words);
        Self::unanswered("deadline_exceeded", false, status)
    }
}

impl Client {
    pub(super) async fn attempts(
        &self,
        names: &Names,
        payload: Bytes,
        scope: &RequestScope,
        span: &Context,
    ) -> Result<Bytes, Status> {
        for attempt in 1.. {
            let outcome = self
                .attempt(names, payload.clone(), scope, span, attempt)
                .await;
            let failure = match outcome {
                Ok((head, reply)) => {
                    spans::answered(span, &head.replica, attempt, head.queue_wait);
                    return Ok(reply);
                }
                Err(failure) => failure,
            };
            if let Some(head) = &failure.answered {
                spans::answered(span, &head.replica, attempt, head.queue_wait);
            }
            if failure.answered.is_none() || failure.repeatable {
                spans::attempt_failed(span, attempt, failure.reason);
            }
            let pause = backoff(attempt);
            if !failure.repeatable || attempt >= MAX_ATTEMPTS || pause >= scope.remaining() {
                return Err(failure.status);
            }
            sleep(pause).await;
        }
        unreachable!("attempts are counted and end")
    }

    async fn attempt(
        &self,
        names: &Names,
        payload: Bytes,
        scope: &RequestScope,
        span: &Context,
        attempt: u32,
    ) -> Result<(ReplyHead, Bytes), Box<Failure>> {
        let wait = self.shared.options.reconnect_wait.min(scope.remaining());
        if !self.connected(wait).await {
            let status = Status::unavailable("NATS is not connected");
            return Err(Failure::unanswered("disconnected", false, status));
        }
        let deadline = Instant::from_std(scope.deadline);
        let mut waiter = self.shared.inbox.wait(names.service.subject(), UNREAD);
        let head = RequestHead::new(
            Some(span.span().span_context().clone()).filter(|trace| trace.is_valid()),
            scope.request_id.clone(),
            scope.remaining(),
            SystemTime::now(),
            attempt,
        );
        let sending = self.shared.nats.publish_with_reply_and_headers(
            names.subject,
            waiter.subject(),
            head.encode(),
            payload,
        );
        match timeout_at(deadline, sending).await {
            Err(_) => return Err(Failure::deadline(names)),
            Ok(Err(error)) => return Err(not_sent(names, error)),
            Ok(Ok(())) => {}
        }
        loop {
            let Ok(message) = timeout_at(deadline, waiter.next()).await else {
                return Err(Failure::deadline(names));
            };
            let Some(message) = message else {
                let status = Status::unavailable("the connection to NATS was lost during the call");
                return Err(Failure::unanswered(
                    "disconnected",
                    names.idempotent,
                    status,
                ));
            };
            match Reply::decode(message) {
                // The callee lives and works; its answer comes.
                Reply::Interim => {}
                Reply::NoResponders => {
                    let words = format!("no {} is running", names.service.name());
                    let status = Status::unavailable(words);
                    return Err(Failure::unanswered("no_responders", true, status));
                }
                Reply::Final { head, answer } => return finish(head, answer),
            }
        }
    }
}

fn finish(head: ReplyHead, answer: Answer) -> Result<(ReplyHead, Bytes), Box<Failure>> {
    let (status, repeatable) = match answer {
        Answer::Payload(payload) => return Ok((head, payload)),
        Answer::Failed(status) => (status, false),
        Answer::NotAccepted(status) => {
            let repeatable = status.is_retryable();
            (status, repeatable)
        }
    };
    Err(Box::new(Failure {
        reason: status.code().as_str(),
        status,
        repeatable,
        answered: Some(head),
    }))
}

fn not_sent(names: &Names, error: async_nats::PublishError) -> Box<Failure> {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => {
            let words = format!("the request to {} is too large", names.service.name());
            let status = Status::new(Code::TooLarge, words).with_source(error);
            Failure::unanswered("too_large", false, status)
        }
        _ => {
            let status = Status::unavailable("the call could not be sent").with_source(error);
            Failure::unanswered("not_sent", true, status)
        }
    }
}

fn backoff(attempt: u32) -> Duration {
    (BACKOFF * 2_u32.pow(attempt.min(MAX_ATTEMPTS) - 1)).mul_f64(rand::rng().random_range(0.5..1.0))
}
