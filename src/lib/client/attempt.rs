//! One attempt of a call: a message out, and what comes back until the answer or the deadline.
//!
//! A live replica gives a sign within `ATTEMPT_TIMEOUT`: the answer, or `accepted` when its handler takes
//! longer. After `accepted` it is asked now and then whether it is still there.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, Subject, client::PublishErrorKind};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{
    Client, Unanswered,
    call::Failure,
    inbox::{Sent, Sign, Waiter},
    peer::Peer,
};
use crate::{
    Code, Service, Status,
    message::{Answer, Reply, ReplyHead},
    operation::Names,
};

/// The operation that every replica answers without admission.
pub(crate) const PING: &str = "_ping";
/// Messages that one attempt may have unread: `accepted`, a sign of life, the answer.
const UNREAD: usize = 4;
/// A replica that lives has said by then that it works: that takes it 25 ms.
const HEARD_BY: Duration = Duration::from_millis(50);
/// Longest pause between two questions whether an instance lives.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// An attempt under way. Dropping it forgets it.
pub(super) struct Attempt<'a> {
    client: &'a Client,
    peer: &'a Peer,
    names: &'static Names,
    waiter: Waiter<'a>,
    deadline: Instant,
    sent: Instant,
    /// When the next sign of life is due.
    due: Instant,
    /// Who has accepted it.
    accepted: Option<Arc<str>>,
    /// A sign of life has been asked for, and is due.
    asked: bool,
    /// Nobody listened to the last question.
    missed: bool,
    /// Pause before the next question.
    pause: Duration,
}

/// What an attempt has come to.
pub(super) enum Event {
    /// The answer, or a refusal.
    Final(ReplyHead, Answer),
    NoResponders,
    /// No sign of life. Waiting on is possible.
    Silent,
    /// The replica that had accepted it died.
    Gone(Arc<str>),
    /// The replica that had accepted it has done with it, and no answer came.
    Lost,
    Disconnected,
    Forbidden,
    Deadline,
}

impl Client {
    /// Sends an attempt to the group, or to one instance.
    pub(super) async fn attempt<'a>(
        &'a self,
        names: &'static Names,
        peer: &'a Peer,
        instance: Option<&str>,
        headers: HeaderMap,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Attempt<'a>, Box<Failure>> {
        let subject = match instance {
            None => Subject::from_static(names.subject),
            Some(id) => instance_subject(names.service, id, names.operation).into(),
        };
        let sent = Sent::To(subject.clone());
        let callee = names.service.subject();
        let mut waiter = self.shared.inbox.wait(callee, sent, UNREAD);
        let reply = waiter.subject();
        let sent = Instant::now();
        let nats = &self.shared.nats;
        let sending = nats.publish_with_reply_and_headers(subject, reply, headers, payload);
        tokio::select! {
            biased;
            sending = timeout_at(deadline, sending) => match sending {
                Err(_) => return Err(Failure::deadline(names)),
                Ok(Err(error)) => return Err(not_sent(names, error)),
                Ok(Ok(())) => {}
            },
            // Nothing of it is sent: the library had no room for it yet.
            None = waiter.sign() => {
                let words = "the connection to NATS was lost before the call was sent";
                return Err(Failure::unavailable(Unanswered::Disconnected, true, words));
            }
        }
        Ok(Attempt {
            client: self,
            peer,
            names,
            waiter,
            deadline,
            sent,
            due: sent + self.shared.options.attempt_timeout,
            accepted: None,
            asked: false,
            missed: false,
            pause: self.shared.options.attempt_timeout,
        })
    }
}

impl Attempt<'_> {
    /// Tells whether a replica works on it, or would not have had the time to say so.
    pub(super) fn is_or_may_be_accepted(&self) -> bool {
        self.accepted.is_some() || self.sent.elapsed() < HEARD_BY
    }

    /// Waits for the next thing that somebody has to decide about.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let until = self.due.min(self.deadline);
            let Ok(sign) = timeout_at(until, self.waiter.sign()).await else {
                if until == self.deadline {
                    return Event::Deadline;
                }
                match self.accepted.clone() {
                    Some(_) if self.client.shared.trouble.may_not_ping(self.names.service) => {
                        self.alive();
                    }
                    Some(id) if !self.asked => self.ask(&id).await,
                    _ => return Event::Silent,
                }
                continue;
            };
            let message = match sign {
                Some(Sign::Message(message)) => *message,
                Some(Sign::Forbidden) => return Event::Forbidden,
                None => return Event::Disconnected,
            };
            match Reply::decode(message) {
                Reply::Interim(head) => {
                    self.alive();
                    self.peer.answered(&head);
                    if !head.replica.is_empty() {
                        self.accepted = Some(head.replica);
                    }
                }
                Reply::Idle(head) => {
                    self.peer.answered(&head);
                    return Event::Lost;
                }
                Reply::NoResponders => match self.accepted.clone() {
                    None => return Event::NoResponders,
                    // One that reconnects listens to nothing for a moment.
                    Some(_) if !self.missed && !self.names.idempotent => {
                        self.missed = true;
                        self.asked = false;
                        self.due = Instant::now() + self.patience();
                    }
                    Some(id) => return Event::Gone(id),
                },
                Reply::Final { head, answer } => return Event::Final(head, answer),
            }
        }
    }

    /// Goes on waiting after silence: there will be no other attempt. One that nobody has accepted waits
    /// until the deadline, another goes on asking.
    pub(super) fn wait_on(&mut self) {
        if self.accepted.is_some() {
            self.alive();
        } else {
            self.due = self.deadline;
        }
    }

    /// Returns a moment after which the replica that stays silent has surely said nothing: half-way
    /// between the attempt and now. It may have answered others in the first half, before it froze.
    pub(super) fn silent_since(&self) -> Instant {
        self.sent + self.sent.elapsed() / 2
    }

    /// Returns who has accepted it and was asked in vain.
    pub(super) fn accepted_by(&self) -> Option<&str> {
        self.accepted.as_deref()
    }

    /// Asks again after a pause that doubles, so that calls which take long cost little.
    fn alive(&mut self) {
        self.asked = false;
        self.missed = false;
        self.due = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(self.patience().max(MAX_PAUSE));
    }

    fn patience(&self) -> Duration {
        self.client.shared.options.attempt_timeout
    }

    /// Asks whoever has accepted this for a sign of life; if it is gone the server answers.
    async fn ask(&mut self, id: &str) {
        self.asked = true;
        self.due = Instant::now() + self.patience();
        let subject = instance_subject(self.names.service, id, PING);
        let nats = &self.client.shared.nats;
        let asking = nats.publish_with_reply(subject, self.waiter.subject(), Bytes::new());
        // A question that can't be sent is one without an answer.
        let _ = timeout_at(self.due.min(self.deadline), asking).await;
    }
}

/// Returns the subject of an operation at one instance.
pub(super) fn instance_subject(service: Service, id: &str, operation: &str) -> String {
    format!("inst.{}.{id}.{operation}", service.subject())
}

fn not_sent(names: &Names, error: async_nats::PublishError) -> Box<Failure> {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => {
            let words = format!("the request to {} is too large", names.service.name());
            let status = Status::new(Code::TooLarge, words).with_source(error);
            Failure::new("too_large", false, status)
        }
        _ => {
            let status = Status::unavailable("the call could not be sent")
                .with_source(error)
                .with_unanswered(Unanswered::Disconnected);
            Failure::new("not_sent", true, status)
        }
    }
}
