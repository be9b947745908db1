//! The reply inbox: one wildcard subscription a process, one entry a waiting call.
//!
//! `_INBOX.<caller>.<callee>.<instance>.<token>`: the callee's name is in the subject so that
//! permissions can keep one service from answering in another's place. An entry takes several
//! messages (interim replies come before the final one) and dies with the future that waits.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use rand::Rng;
use tokio::sync::mpsc;

use crate::{Instance, operation::Names};

#[derive(Debug)]
pub(super) struct Inbox {
    caller: &'static str,
    instance: String,
    waiting: Mutex<HashMap<u64, Entry>>,
    received: AtomicU64,
    late: AtomicU64,
}

/// Somebody who waits.
#[derive(Debug)]
struct Entry {
    signs: mpsc::Sender<Sign>,
    /// What was called, if this is a call.
    names: Option<&'static Names>,
}

/// What reaches somebody who waits.
#[derive(Debug)]
pub(super) enum Sign {
    Message(Message),
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
    pub(super) fn wait<'a>(&'a self, callee: &'a str, capacity: usize) -> Waiter<'a> {
        self.enter(callee, None, capacity)
    }

    /// The same for a call, which the server may refuse to deliver.
    pub(super) fn wait_for_call(&self, names: &'static Names, capacity: usize) -> Waiter<'_> {
        self.enter(names.service.subject(), Some(names), capacity)
    }

    fn enter<'a>(
        &'a self,
        callee: &'a str,
        names: Option<&'static Names>,
        capacity: usize,
    ) -> Waiter<'a> {
        let (signs, replies) = mpsc::channel(capacity);
        let token = rand::rng().random();
        self.waiting().insert(token, Entry { signs, names });
        Waiter {
            inbox: self,
            callee,
            token,
            replies,
        }
    }

    /// Ends the calls that were published on a subject which is forbidden. Tells whether there were any.
    pub(super) fn forbid(&self, subject: &str) -> bool {
        let mut any = false;
        for entry in self.waiting().values() {
            if entry.names.is_some_and(|names| names.goes_to(subject)) {
                any = true;
                // Who has that much unread is not waiting in vain.
                let _ = entry.signs.try_send(Sign::Forbidden);
            }
        }
        any
    }

    /// Tells whether a subject is where this process sends messages to itself.
    pub(super) fn is_own(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        tokens.next() == Some("_INBOX")
            && tokens.next() == Some(self.caller)
            && tokens.next() == Some(self.caller)
    }

    /// Ends every waiting call: its reply can't come any more.
    pub(super) fn abandon(&self) {
        self.waiting().clear();
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

    /// Hands replies to their calls until the connection ends. Never waits for a call.
    pub(super) async fn receive(self: std::sync::Arc<Self>, mut replies: Subscriber) {
        while let Some(reply) = replies.next().await {
            self.deliver(reply);
        }
    }

    fn deliver(&self, reply: Message) {
        self.count();
        let token = token_of(&reply.subject);
        let delivered = token.is_some_and(|token| {
            let waiting = self.waiting();
            waiting
                .get(&token)
                .is_some_and(|call| call.signs.try_send(Sign::Message(reply)).is_ok())
        });
        if !delivered {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token_of(subject: &str) -> Option<u64> {
    let (_, token) = subject.rsplit_once('.')?;
    u64::from_str_radix(token, 16).ok()
}

/// One call's place in the inbox; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    inbox: &'a Inbox,
    callee: &'a str,
    token: u64,
    replies: mpsc::Receiver<Sign>,
}

impl Waiter<'_> {
    /// Returns the subject that answers go to.
    pub(super) fn subject(&self) -> String {
        let Inbox {
            caller, instance, ..
        } = self.inbox;
        format!(
            "_INBOX.{caller}.{}.{instance}.{:016x}",
            self.callee, self.token
        )
    }

    /// Waits for the next sign; `None` means that the connection is lost.
    pub(super) async fn sign(&mut self) -> Option<Sign> {
        self.replies.recv().await
    }

    /// Waits for the next message; `None` means that none can come any more.
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self.sign().await? {
            Sign::Message(message) => Some(message),
            Sign::Forbidden => None,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.inbox.waiting().remove(&self.token);
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Service;

    fn inbox() -> Inbox {
        Inbox::new(&Instance::new(Service::new("caller")))
    }

    #[test]
    fn an_entry_dies_with_its_call() {
        let inbox = inbox();
        let calls: Vec<_> = (0..100).map(|_| inbox.wait("callee", 4)).collect();
        assert_eq!(100, inbox.waiting().len());
        drop(calls);
        assert!(inbox.waiting().is_empty());
    }

    #[test]
    fn the_token_is_found_in_the_reply_subject() {
        let inbox = inbox();
        let call = inbox.wait("callee", 4);
        assert_eq!(Some(call.token), token_of(&call.subject()));
        assert_eq!(None, token_of("_INBOX.caller.callee.x.not-hex"));
    }

    /// The model: an entry is there from the call's begin until its end, however it ends.
    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_unanswered_calls_leave_nothing_behind() {
        use std::time::Duration;

        let inbox = inbox();
        let mut under_way = 0;
        for round in 0..1_000_u64 {
            let calls = (0..100_u64).map(|call| {
                let mut waiter = inbox.wait("callee", 4);
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
        struct Get;
        impl crate::Operation for Get {
            const SERVICE: Service = Service::new("callee");
            const NAME: &'static str = "get";
            type Request = ();
            type Reply = ();
        }
        let inbox = inbox();
        let mut call = inbox.wait_for_call(Names::of::<Get>(), 4);
        let mut other = inbox.wait("callee", 4);
        assert!(!inbox.forbid("svc.callee.put"));
        assert!(inbox.forbid("inst.callee.c1.get"));
        assert!(matches!(call.sign().await, Some(Sign::Forbidden)));
        inbox.abandon();
        assert!(other.next().await.is_none());
    }

    #[tokio::test]
    async fn a_lost_connection_ends_every_wait_at_once() {
        let inbox = inbox();
        let mut call = inbox.wait("callee", 4);
        inbox.abandon();
        assert!(call.next().await.is_none());
    }
}
