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

use crate::Instance;

#[derive(Debug)]
pub(super) struct Inbox {
    caller: &'static str,
    instance: String,
    waiting: Mutex<HashMap<u64, mpsc::Sender<Message>>>,
    late: AtomicU64,
}

impl Inbox {
    pub(super) fn new(instance: &Instance) -> Self {
        Self {
            caller: instance.service().subject(),
            instance: instance.id().to_owned(),
            waiting: Mutex::default(),
            late: AtomicU64::new(0),
        }
    }

    /// Returns the one subject to subscribe.
    pub(super) fn subject(&self) -> String {
        format!("_INBOX.{}.*.{}.*", self.caller, self.instance)
    }

    /// Opens an entry that may hold `capacity` messages nobody has read yet.
    pub(super) fn wait<'a>(&'a self, callee: &'a str, capacity: usize) -> Waiter<'a> {
        let (sender, replies) = mpsc::channel(capacity);
        let token = rand::rng().random();
        self.waiting().insert(token, sender);
        Waiter {
            inbox: self,
            callee,
            token,
            replies,
        }
    }

    /// Ends every waiting call: its reply can't come any more.
    pub(super) fn abandon(&self) {
        self.waiting().clear();
    }

    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Hands replies to their calls until the connection ends. Never waits for a call.
    pub(super) async fn receive(self: std::sync::Arc<Self>, mut replies: Subscriber) {
        while let Some(reply) = replies.next().await {
            let token = token_of(&reply.subject);
            let delivered = token.is_some_and(|token| {
                let waiting = self.waiting();
                waiting
                    .get(&token)
                    .is_some_and(|call| call.try_send(reply).is_ok())
            });
            if !delivered {
                self.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Message>>> {
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
    replies: mpsc::Receiver<Message>,
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

    /// Waits for the next message; `None` means that the connection is lost.
    pub(super) async fn next(&mut self) -> Option<Message> {
        self.replies.recv().await
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.inbox.waiting().remove(&self.token);
    }
}

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

    #[tokio::test]
    async fn a_lost_connection_ends_every_wait_at_once() {
        let inbox = inbox();
        let mut call = inbox.wait("callee", 4);
        inbox.abandon();
        assert!(call.next().await.is_none());
    }
}
