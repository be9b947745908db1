//! The reply inbox: one wildcard subscription a process, one entry a waiting call.
//!
//! `_INBOX.<caller>.<callee>.<instance>.<token>`: the callee's name is in the subject so that
//! permissions can keep one service from answering in another's place. An entry takes several
//! messages (interim replies come before the final one) and dies with the future that waits.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use async_nats::{Message, Subject, Subscriber};
use futures_util::StreamExt;
use rand::Rng;
use tokio::task::coop::unconstrained;

use crate::{Instance, telemetry::propagation::hex};

#[derive(Debug)]
pub(super) struct Inbox {
    caller: &'static str,
    instance: String,
    waiting: Mutex<HashMap<u64, Entry>>,
    received: AtomicU64,
    late: AtomicU64,
}

/// Somebody who waits. A channel for each would be two large pieces of memory a call.
#[derive(Debug)]
struct Entry {
    /// What nobody has read yet.
    signs: VecDeque<Sign>,
    capacity: usize,
    /// No other sign can come.
    is_closed: bool,
    reader: Option<Waker>,
    callee: Cow<'static, str>,
    sent: Sent,
}

impl Entry {
    /// Adds a sign if there is room. Whoever waits for it must be woken then.
    fn add(&mut self, sign: Sign) -> Result<Option<Waker>, ()> {
        if self.is_closed || self.signs.len() >= self.capacity {
            return Err(());
        }
        self.signs.push_back(sign);
        Ok(self.reader.take())
    }

    /// Takes no more. Whoever waits must be woken then.
    fn close(&mut self) -> Option<Waker> {
        self.is_closed = true;
        self.reader.take()
    }

    /// Takes the next sign; `None` when none can come. Returns whom nobody needs to wake any more, too: dropping him may
    /// do anything, and must not under the lock.
    fn poll(&mut self, context: &Context<'_>) -> (Poll<Option<Sign>>, Option<Waker>) {
        match self.signs.pop_front() {
            None if !self.is_closed => {}
            sign => return (Poll::Ready(sign), None),
        }
        let is_known = (self.reader.as_ref()).is_some_and(|it| it.will_wake(context.waker()));
        let replaced = match is_known {
            true => None,
            false => self.reader.replace(context.waker().clone()),
        };
        (Poll::Pending, replaced)
    }
}

/// What went out to whom the answer is expected from; the server may refuse to deliver it.
#[derive(Debug)]
pub(super) enum Sent {
    To(Subject),
    /// Something whose refusal means nothing here.
    Other,
}

impl Sent {
    fn goes_to(&self, subject: &str) -> bool {
        matches!(self, Self::To(sent) if sent.as_str() == subject)
    }
}

/// What reaches somebody who waits.
#[derive(Debug)]
pub(super) enum Sign {
    /// Boxed, for a queue makes room for four at once, though one comes.
    Message(Box<Message>),
    /// The server refused to deliver the call.
    Forbidden,
}

impl Inbox {
    pub(super) fn new(instance: &Instance) -> Self {
        Self {
            caller: instance.service().subject(),
            instance: instance.id().to_owned(),
            waiting: Mutex::default(),
            received: AtomicU64::new(0),
            late: AtomicU64::new(0),
        }
    }

    /// Returns the one subject to subscribe.
    pub(super) fn subject(&self) -> String {
        format!("_INBOX.{}.*.{}.*", self.caller, self.instance)
    }

    /// Opens an entry that may hold `capacity` messages nobody has read yet.
    pub(super) fn wait(
        &self,
        callee: impl Into<Cow<'static, str>>,
        sent: Sent,
        capacity: usize,
    ) -> Waiter<'_> {
        let callee = callee.into();
        let token = rand::rng().random();
        let entry = Entry {
            signs: VecDeque::new(),
            capacity,
            is_closed: false,
            reader: None,
            callee: callee.clone(),
            sent,
        };
        self.waiting().insert(token, entry);
        Waiter {
            inbox: self,
            callee,
            token,
        }
    }

    /// Ends the waits for what was published on a subject which is forbidden. Tells whether there were any.
    pub(super) fn forbid(&self, subject: &str) -> bool {
        let mut any = false;
        // Answers go there, where whoever asks wants them: no question of ours does.
        if subject.starts_with("_INBOX.") {
            return any;
        }
        let mut readers = Vec::new();
        for entry in self.waiting().values_mut() {
            if entry.sent.goes_to(subject) {
                any = true;
                // Who has that much unread is not waiting in vain.
                readers.extend(entry.add(Sign::Forbidden).ok().flatten());
            }
        }
        readers.into_iter().for_each(Waker::wake);
        any
    }

    /// Tells whether a subject is where this process answers: its service's place in anybody's inbox.
    pub(super) fn is_answered_at(&self, subject: &str) -> bool {
        let tokens: Vec<&str> = subject.split('.').collect();
        let is_whole = tokens.len() == 5 && tokens.iter().all(|token| !token.is_empty());
        is_whole && tokens[0] == "_INBOX" && tokens[2] == self.caller
    }

    /// Ends every waiting call: its reply can't come any more. What has come is read before.
    pub(super) fn abandon(&self) {
        let mut waiting = self.waiting();
        let readers: Vec<Waker> = waiting.values_mut().filter_map(Entry::close).collect();
        drop(waiting);
        readers.into_iter().for_each(Waker::wake);
    }

    /// Counts a message that was read, here or in another subscription of the client's own.
    pub(super) fn count(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many messages were counted.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Hands replies to their calls until the connection ends. Never waits for a call, and makes way to nobody while
    /// there are replies: those that are not read by the next share may find no room.
    pub(super) async fn receive(self: std::sync::Arc<Self>, mut replies: Subscriber) {
        unconstrained(async {
            while let Some(reply) = replies.next().await {
                self.deliver(reply);
            }
        })
        .await;
    }

    fn deliver(&self, reply: Message) {
        self.count();
        let mut waiting = self.waiting();
        let entry = place_of(&reply.subject).and_then(|(callee, token)| {
            // The server lets each service publish under its own name alone, so the name tells who answers.
            let entry = waiting.get_mut(&token);
            entry.filter(|entry| entry.callee == callee)
        });
        let added = entry.map_or(Err(()), |entry| entry.add(Sign::Message(reply.into())));
        drop(waiting);
        match added {
            Ok(Some(reader)) => reader.wake(),
            // Whoever waits has not slept since the sign before.
            Ok(None) => {}
            Err(()) => {
                self.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `_INBOX.<caller>.<callee>.<instance>.<token>`.
fn place_of(subject: &str) -> Option<(&str, u64)> {
    let (place, token) = subject.rsplit_once('.')?;
    let (place, _instance) = place.rsplit_once('.')?;
    let (_caller, callee) = place.rsplit_once('.')?;
    Some((callee, u64::from_str_radix(token, 16).ok()?))
}

/// One call's place in the inbox; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    inbox: &'a Inbox,
    callee: Cow<'static, str>,
    token: u64,
}

impl Waiter<'_> {
    /// Returns the subject that answers go to.
    pub(super) fn subject(&self) -> String {
        let Inbox {
            caller, instance, ..
        } = self.inbox;
        // By hand: it is made for each attempt, and `format!` takes ten times as long.
        let mut subject = String::with_capacity(64);
        for part in ["_INBOX", caller, &self.callee, instance] {
            subject.push_str(part);
            subject.push('.');
        }
        let token = self.token.to_be_bytes().map(hex);
        subject.push_str(str::from_utf8(token.as_flattened()).unwrap_or_default());
        subject
    }

    /// Waits for the next sign; `None` means that the connection is lost.
    pub(super) async fn sign(&mut self) -> Option<Sign> {
        poll_fn(|context| {
            let mut waiting = self.inbox.waiting();
            let (polled, replaced) = match waiting.get_mut(&self.token) {
                Some(entry) => entry.poll(context),
                None => (Poll::Ready(None), None),
            };
            drop(waiting);
            drop(replaced);
            polled
        })
        .await
    }

    /// Waits for the next message; `None` means that none can come any more.
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self.sign().await? {
            Sign::Message(message) => Some(*message),
            Sign::Forbidden => None,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let entry = self.inbox.waiting().remove(&self.token);
        // Without the lock: whom it would have woken is somebody else's.
        drop(entry);
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::Arc, task::Wake};

    use futures_util::FutureExt;

    use super::*;
    use crate::Service;

    fn inbox() -> Inbox {
        Inbox::new(&Instance::new(Service::new("caller")))
    }

    #[test]
    fn an_entry_dies_with_its_call() {
        let inbox = inbox();
        let calls: Vec<_> = (0..100)
            .map(|_| inbox.wait("callee", Sent::Other, 4))
            .collect();
        assert_eq!(100, inbox.waiting().len());
        drop(calls);
        assert!(inbox.waiting().is_empty());
    }

    #[test]
    fn the_token_is_found_in_the_reply_subject() {
        let inbox = inbox();
        let call = inbox.wait("callee", Sent::Other, 4);
        assert_eq!(Some(("callee", call.token)), place_of(&call.subject()));
        for other in [
            "_INBOX.caller.callee.x.not-hex",
            "_INBOX.caller.callee.x",
            "",
        ] {
            assert_eq!(None, place_of(other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_under_another_services_name_reaches_nobody() {
        let inbox = inbox();
        let mut call = inbox.wait("callee", Sent::Other, 4);
        let others = call.subject().replace(".callee.", ".other.");
        inbox.deliver(message(&others));
        assert_eq!(1, inbox.late());
        inbox.deliver(message(&call.subject()));
        assert!(call.next().await.is_some());
    }

    fn message(subject: &str) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    /// The model: an entry is there from the call's begin until its end, however it ends.
    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_unanswered_calls_leave_nothing_behind() {
        use std::time::Duration;

        let inbox = inbox();
        let mut under_way = 0;
        for round in 0..1_000_u64 {
            let calls = (0..100_u64).map(|call| {
                let mut waiter = inbox.wait("callee", Sent::Other, 4);
                let patience = Duration::from_millis(1 + (round * 7 + call * 13) % 50);
                async move { tokio::time::timeout(patience, waiter.next()).await.is_err() }
            });
            let calls: Vec<_> = calls.collect();
            under_way += inbox.waiting().len();
            let unanswered = futures_util::future::join_all(calls).await;
            assert!(unanswered.into_iter().all(|timed_out| timed_out));
            assert!(inbox.waiting().is_empty());
        }
        assert_eq!(100_000, under_way);
    }

    #[tokio::test]
    async fn a_forbidden_subject_ends_the_calls_that_were_sent_there() {
        let inbox = inbox();
        let call = |subject: &'static str| {
            inbox.wait("callee", Sent::To(Subject::from_static(subject)), 4)
        };
        let (mut call, mut steered) = (call("svc.callee.get"), call("inst.callee.c1.get"));
        let mut gate = inbox.wait("callee", Sent::To("gate.callee.c1.00ff".into()), 1);
        let mut other = inbox.wait("callee", Sent::Other, 4);
        assert!(!inbox.forbid("svc.callee.put"));
        assert!(inbox.forbid("gate.callee.c1.00ff"));
        assert!(gate.next().await.is_none());
        // One attempt's refusal is not another's.
        assert!(inbox.forbid("inst.callee.c1.get"));
        assert!(matches!(steered.sign().await, Some(Sign::Forbidden)));
        assert!(call.sign().now_or_never().is_none());
        assert!(inbox.forbid("svc.callee.get"));
        assert!(matches!(call.sign().await, Some(Sign::Forbidden)));
        inbox.abandon();
        assert!(other.next().await.is_none());
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn poll(self: &Arc<Self>, waiter: &mut Waiter<'_>) -> bool {
            let waker = Arc::clone(self).into();
            let sign = pin!(waiter.sign());
            sign.poll(&mut Context::from_waker(&waker)).is_ready()
        }

        fn times(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn who_waits_is_woken_by_whatever_ends_the_wait() {
        let inbox = inbox();
        let subject = || Sent::To(Subject::from_static("svc.callee.get"));
        let ends: [fn(&Inbox, &str); 3] = [
            |inbox, reply| inbox.deliver(message(reply)),
            |inbox, _| assert!(inbox.forbid("svc.callee.get")),
            |inbox, _| inbox.abandon(),
        ];
        for end in ends {
            let mut call = inbox.wait("callee", subject(), 4);
            let (before, now) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
            // The future may move from one task to another.
            assert!(!before.poll(&mut call) && !now.poll(&mut call) && !now.poll(&mut call));
            end(&inbox, &call.subject());
            assert_eq!((0, 1), (before.times(), now.times()));
            assert!(now.poll(&mut call));
        }
    }

    #[tokio::test]
    async fn what_came_before_the_connection_was_lost_is_read() {
        let inbox = inbox();
        let mut call = inbox.wait("callee", Sent::Other, 4);
        inbox.deliver(message(&call.subject()));
        inbox.abandon();
        assert!(call.next().await.is_some());
        assert!(call.next().await.is_none());
    }

    #[tokio::test]
    async fn a_lost_connection_ends_every_wait_at_once() {
        let inbox = inbox();
        let mut call = inbox.wait("callee", Sent::Other, 4);
        inbox.abandon();
        assert!(call.next().await.is_none());
    }
}
