//! What is refused at the door, before it is read: answered by one task, one after the other.
//!
//! A task for each of a hundred thousand requests would be the very queue that admission is there to prevent.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::Subject;
use tokio::task::coop::unconstrained;
use tokio_util::task::TaskTracker;

use super::{admission::Refused, dispatch::Core};
use crate::{message::Answer, pace::Pace};

/// Refusals that may wait to be sent. A refused request leaves its reply subject here, some 60 bytes.
const WAITING: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: Mutex<VecDeque<Subject>>,
    refused: AtomicU64,
    lost: AtomicU64,
    losses_logged: Pace,
}

impl Refusals {
    /// Counts a request that was refused for load, and told so.
    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Returns how many requests were refused for load.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Returns how many requests got no answer: too many refusals waited, or nothing could be sent.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Counts a request that gets no answer.
    pub(super) fn lose(&self) {
        self.lose_some(1);
    }

    fn lose_some(&self, number: usize) {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.lost.fetch_add(number, Relaxed);
        if self.losses_logged.is_due() {
            tracing::warn!(
                "requests come faster than they can be answered, and some go unanswered"
            );
        }
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Subject>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Answers a request `overloaded` without looking at it.
    pub(super) fn turn_away(self: &Arc<Self>, reply: Option<Subject>, handlers: &TaskTracker) {
        let Some(reply) = reply else {
            return self.refusals.refuse();
        };
        let mut waiting = self.refusals.waiting();
        if waiting.len() >= WAITING {
            drop(waiting);
            return self.refusals.lose();
        }
        // A copy, for the original keeps all that was read from the socket together with it.
        waiting.push_back(Subject::from(reply.as_str()));
        if waiting.len() == 1 {
            // For as long as the connection takes them: a task that makes way after some is soon behind.
            handlers.spawn(unconstrained(Arc::clone(self).send_refusals()));
        }
    }

    /// Sends what waits, until nothing does. A refusal leaves the queue once it is sent: an empty queue has no
    /// task.
    async fn send_refusals(self: Arc<Self>) {
        loop {
            let Some(next) = self.refusals.waiting().front().cloned() else {
                return;
            };
            if !self.client.is_connected() {
                // Their callers have been told by their own connections, or will not be told by this one in time.
                let given_up = std::mem::take(&mut *self.refusals.waiting());
                return self.refusals.lose_some(given_up.len());
            }
            let answer = Answer::NotAccepted(Refused.into());
            if self.reply(Some(next), answer, Duration::ZERO).await {
                self.refusals.refuse();
            }
            let mut waiting = self.refusals.waiting();
            waiting.pop_front();
            if waiting.is_empty() {
                return;
            }
        }
    }
}
