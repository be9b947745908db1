//! A call: its attempts, what may be repeated, where they go, and when to stop.
//!
//! Only the hop that failed repeats, only what is safe, inside the deadline, three times at most, and
//! within a budget, so that trouble is not multiplied on its way up.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use opentelemetry::{Context, trace::TraceContextExt};
use rand::Rng;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    Client, Unanswered,
    attempt::{Attempt, Event, PING, instance_subject},
    inbox::Sent,
    peer::Peer,
};
use crate::{
    Code, Status, clock,
    context::RequestScope,
    message::{Answer, Reply, ReplyHead, RequestHead},
    operation::Names,
    telemetry::spans,
};

/// Attempts a call, the first included.
const MAX_ATTEMPTS: u32 = 3;
/// Pause before the next attempt, jittered to between half and all of it, doubled each time.
const BACKOFF: Duration = Duration::from_millis(20);

/// Pause before a service that nobody offers is asked for again, jittered like the others, and doubled up to four times
/// that: many calls may wait.
const ASKING_AGAIN: Duration = Duration::from_millis(40);
const ASKING_AGAIN_AT_MOST: Duration = Duration::from_millis(160);

/// How an attempt ended without a payload. Boxed where it is returned: answers are the rule.
pub(super) struct Failure {
    status: Status,
    /// In the span's event.
    reason: &'static str,
    /// The handler surely has not begun, or may safely begin twice.
    repeatable: bool,
    /// Who answered, if anybody did.
    answered: Option<ReplyHead>,
    /// A replica that lives has it, and says itself what became of it.
    is_anothers: bool,
}

impl Failure {
    /// Logs why no handler answered, where that was noticed. What was refused for load is told by its code alone:
    /// there is much of it.
    fn log(&self, names: &Names) {
        let how = self.status.unanswered();
        if let Some(how) = how.filter(|how| *how != Unanswered::Busy && !self.is_anothers) {
            tracing::warn!(
                operation = names.rpc_method,
                code = %self.status.code(),
                cause = how.as_str(),
                "{}",
                self.status.message()
            );
        }
    }

    pub(super) fn new(reason: &'static str, repeatable: bool, status: Status) -> Box<Self> {
        Box::new(Self {
            status,
            reason,
            repeatable,
            answered: None,
            is_anothers: false,
        })
    }

    pub(super) fn deadline(names: &Names) -> Box<Self> {
        let words = format!("no answer from {} in time", names.service.name());
        Self::unanswered(
            Unanswered::TimedOut,
            false,
            Status::new(Code::DeadlineExceeded, words),
        )
    }

    fn unanswered(how: Unanswered, repeatable: bool, status: Status) -> Box<Self> {
        Self::new(how.as_str(), repeatable, status.with_unanswered(how))
    }

    pub(super) fn unavailable(
        how: Unanswered,
        repeatable: bool,
        words: impl Into<String>,
    ) -> Box<Self> {
        Self::unanswered(how, repeatable, Status::unavailable(words.into()))
    }
}

/// What stays the same over the attempts of a call.
struct Call<'a> {
    names: &'static Names,
    scope: &'a RequestScope,
    span: &'a Context,
    payload: Bytes,
    peer: Arc<Peer>,
    deadline: Instant,
}

type Outcome = Result<(ReplyHead, Bytes), Box<Failure>>;

impl Client {
    pub(super) async fn attempts(
        &self,
        names: &'static Names,
        payload: Bytes,
        scope: &RequestScope,
        span: &Context,
    ) -> Result<Bytes, Status> {
        let call = Call {
            names,
            scope,
            span,
            payload,
            peer: self.shared.peers.of(names.service),
            deadline: Instant::from_std(scope.deadline),
        };
        let durations = self.shared.metrics.calls();
        call.peer.called();
        let mut attempt = 0;
        let mut waits_until = None;
        loop {
            attempt += 1;
            let pause = backoff(attempt);
            let mut outcome = self.outcome(&call, attempt, pause).await;
            if !self.shared.options.absence_wait.is_zero() && is_absence(&outcome) {
                let waiting = self.when_present(&call, attempt, pause, &mut waits_until, outcome);
                outcome = Box::pin(waiting).await;
            }
            let failure = match outcome {
                Ok((head, reply)) => {
                    durations.attempted(names, ANSWERED);
                    call.peer.answered(&head);
                    spans::answered(span, &head.replica, attempt, head.queue_wait);
                    return Ok(reply);
                }
                Err(failure) => failure,
            };
            if let Some(head) = &failure.answered {
                call.peer.answered(head);
                spans::answered(span, &head.replica, attempt, head.queue_wait);
            }
            if failure.answered.is_none() || failure.repeatable {
                durations.attempted(names, failure.reason);
                spans::attempt_failed(span, attempt, failure.reason);
            } else {
                durations.attempted(names, ANSWERED);
            }
            if failure.reason == SILENT {
                // It was given up for another attempt, which has been taken from the budget.
                self.prove(&call, pause).await;
                continue;
            }
            if !failure.repeatable || !call.may_repeat(attempt, pause) {
                if !scope.is_own_work {
                    failure.log(names);
                }
                return Err(failure.status);
            }
            sleep(pause).await;
        }
    }

    /// Asks again for a while where nobody listens: a service that is restarted is back soon, and of this nobody has
    /// begun anything, so it is no further attempt. What was found last counts. A call has one such wait: where others have
    /// answers, and this operation alone is offered by nobody, the service's absence never grows old.
    async fn when_present(
        &self,
        call: &Call<'_>,
        attempt: u32,
        pause: Duration,
        waits_until: &mut Option<Instant>,
        mut outcome: Outcome,
    ) -> Outcome {
        let wait = self.shared.options.absence_wait;
        let mut next = ASKING_AGAIN;
        while is_absence(&outcome)
            && next < call.scope.remaining()
            && waits_until.is_none_or(|until| Instant::now() < until)
            && call.peer.absent_for(wait) < wait
        {
            if waits_until.is_none() {
                *waits_until = Some(Instant::now() + wait);
                // The wait shows in the trace, and not each question.
                spans::waits_for_the_absent(call.span);
            }
            let share = rand::rng().random_range(0.5..1.0);
            sleep(next.mul_f64(share)).await;
            next = (next * 2).min(ASKING_AGAIN_AT_MOST);
            outcome = self.outcome(call, attempt, pause).await;
        }
        outcome
    }

    /// Makes an attempt; one that went to an instance which is no more goes to the group instead.
    async fn outcome(&self, call: &Call<'_>, attempt: u32, pause: Duration) -> Outcome {
        if call.scope.remaining().is_zero() {
            return Err(Failure::deadline(call.names));
        }
        let wait = self.shared.options.reconnect_wait;
        if !self.connected(wait.min(call.scope.remaining())).await {
            let words = "NATS is not connected";
            return Err(Failure::unavailable(Unanswered::Disconnected, false, words));
        }
        let mut target = call.peer.target();
        loop {
            let sent = self.attempt(
                call.names,
                &call.peer,
                target.as_deref(),
                call.head(attempt).encode(),
                call.payload.clone(),
                call.deadline,
            );
            let mut sent = sent.await?;
            match (
                call.result(&mut sent, attempt, pause, target.as_deref())
                    .await,
                target,
            ) {
                (None, Some(id)) => {
                    call.peer.forget(&id);
                    target = None;
                }
                (None, None) => {
                    let words = format!("no {} is running", call.names.service.name());
                    return Err(Failure::unavailable(Unanswered::NoResponders, true, words));
                }
                (Some(outcome), _) => return outcome,
            }
        }
    }

    /// Lets a pause pass after silence, and goes on until an instance has given a sign of life: another
    /// attempt on the group might meet the same frozen member. Waits no longer than for an attempt.
    async fn prove(&self, call: &Call<'_>, pause: Duration) {
        let peer = &call.peer;
        let start = Instant::now();
        let at_most = self.shared.options.attempt_timeout.max(pause);
        let until = (start + at_most).min(call.deadline);
        let alive = timeout_at(until, peer.somebody_is_alive());
        tokio::join!(sleep_until((start + pause).min(until)), async {
            tokio::select! {
                _ = alive => {}
                () = self.ping(peer) => {}
            }
        });
    }

    /// Pings the instances that are known, and notes who answers. Returns only if there is nobody to ask.
    async fn ping(&self, peer: &Peer) {
        let Some(unproven) = peer.unproven() else {
            // Somebody else has just asked.
            return std::future::pending().await;
        };
        if unproven.is_empty() {
            return;
        }
        let service = peer.service();
        let mut waiter = self
            .shared
            .inbox
            .wait(service.subject(), Sent::Other, unproven.len());
        for id in &unproven {
            let subject = instance_subject(service, id, PING);
            let reply = waiter.subject();
            let nats = &self.shared.nats;
            // A question that can't be sent is one without an answer.
            let _ = nats.publish_with_reply(subject, reply, Bytes::new()).await;
        }
        while let Some(message) = waiter.next().await {
            if let Reply::Interim(head) | Reply::Idle(head) = Reply::decode(message) {
                peer.answered(&head);
            }
        }
    }
}

/// Outcome of an attempt that a handler has answered, whatever it said.
const ANSWERED: &str = "answered";
/// Reason of an attempt that gave no sign of life.
const SILENT: &str = "silent";

impl Call<'_> {
    fn head(&self, attempt: u32) -> RequestHead {
        RequestHead::new(
            Some(self.span.span().span_context().clone()).filter(|trace| trace.is_valid()),
            self.scope.request_id.clone(),
            self.scope.remaining(),
            clock::since_epoch(),
            attempt,
        )
    }

    /// Takes a repetition from the budget, if there may be another attempt at all.
    fn may_repeat(&self, attempt: u32, pause: Duration) -> bool {
        attempt < MAX_ATTEMPTS && pause < self.scope.remaining() && self.peer.may_repeat()
    }

    /// Waits for the attempt's end. `None`: nobody listens on the subject, or an instance's may not be used.
    async fn result(
        &self,
        attempt: &mut Attempt<'_>,
        number: u32,
        pause: Duration,
        target: Option<&str>,
    ) -> Option<Outcome> {
        let idempotent = self.names.idempotent;
        let service = self.names.service.name();
        let failure = loop {
            match attempt.next().await {
                Event::Final(head, answer) => return Some(finish(head, answer)),
                Event::NoResponders => return None,
                Event::Deadline => {
                    let mut late = Failure::deadline(self.names);
                    late.is_anothers = attempt.is_or_may_be_accepted();
                    break late;
                }
                Event::Silent => {
                    match target {
                        Some(id) => self.peer.forget(id),
                        None => self.peer.went_silent(attempt.silent_since()),
                    }
                    if let Some(id) = attempt.accepted_by() {
                        self.peer.forget(id);
                    }
                    if idempotent && self.may_repeat(number, pause) {
                        break self.silent();
                    }
                    attempt.wait_on();
                }
                Event::Gone(id) => {
                    self.peer.forget(&id);
                    let words = format!("the {service} that worked on it died");
                    break Failure::unavailable(Unanswered::Gone, idempotent, words);
                }
                Event::Lost => {
                    let words = format!("the answer of {service} was lost");
                    break Failure::unavailable(Unanswered::Gone, idempotent, words);
                }
                Event::Disconnected => {
                    let words = "the connection to NATS was lost during the call";
                    break Failure::unavailable(Unanswered::Disconnected, idempotent, words);
                }
                Event::Forbidden if target.is_some() => return None,
                Event::Forbidden => {
                    let words = format!("NATS does not permit calls to {service}");
                    let status = Status::new(Code::Internal, words);
                    break Failure::unanswered(Unanswered::Forbidden, false, status);
                }
            }
        };
        Some(Err(failure))
    }

    fn silent(&self) -> Box<Failure> {
        let words = format!("no sign of life from {}", self.names.service.name());
        let status = Status::unavailable(words).with_unanswered(Unanswered::TimedOut);
        Failure::new(SILENT, true, status)
    }
}

fn is_absence(outcome: &Outcome) -> bool {
    let how = |failure: &Failure| failure.status.unanswered();
    matches!(outcome, Err(failure) if how(failure) == Some(Unanswered::NoResponders))
}

fn finish(head: ReplyHead, answer: Answer) -> Outcome {
    let (status, repeatable) = match answer {
        Answer::Payload(payload) => return Ok((head, payload)),
        Answer::NotAccepted(status) if status.is_retryable() => {
            (status.with_unanswered(Unanswered::Busy), true)
        }
        Answer::Failed(status) | Answer::NotAccepted(status) => (status, false),
    };
    let mut failure = Failure::new(status.code().as_str(), repeatable, status);
    failure.answered = Some(head);
    Err(failure)
}

fn backoff(attempt: u32) -> Duration {
    (BACKOFF * 2_u32.pow(attempt.min(MAX_ATTEMPTS) - 1)).mul_f64(rand::rng().random_range(0.5..1.0))
}
