//! What a replica sends back: answers, refusals, signs of life.

use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Message, Subject};
use bytes::Bytes;

use super::{dispatch::Core, endpoint::Endpoint};
use crate::{
    Code, Status,
    message::{Answer, Interim, ReplyHead},
};

impl Core {
    /// A reply that the server would refuse costs the connection; the caller gets an error instead.
    pub(super) fn fitting(
        &self,
        endpoint: &Endpoint,
        result: Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        /// More than our reply headers ever take.
        const HEADERS: usize = 1024;
        let limit = self.client.nats().max_payload();
        match result {
            Err(status) if status.to_wire().len() + HEADERS > limit => {
                tracing::error!(
                    operation = endpoint.names.rpc_method,
                    code = %status.code(),
                    "the error is larger than NATS takes"
                );
                Err(Status::new(status.code(), "the error is too large to tell"))
            }
            Ok(reply) if reply.len() + HEADERS > limit => {
                tracing::error!(
                    operation = endpoint.names.rpc_method,
                    bytes = reply.len(),
                    limit,
                    "the reply is larger than NATS takes"
                );
                Err(Status::new(Code::Internal, "the reply is too large"))
            }
            result => result,
        }
    }

    pub(super) async fn pong(self: Arc<Self>, message: Message) {
        let asked = message.reply.as_ref();
        // Who asks in a call's own inbox wants to know of that call.
        let kind = match asked.is_some_and(|reply| self.at_work().contains(reply.as_str())) {
            true => Interim::Pong,
            false => Interim::Idle,
        };
        self.interim(asked, kind).await;
    }

    pub(super) async fn refuse(self: Arc<Self>, message: Message) {
        let status = Status::unavailable("this replica is leaving");
        self.reply(message.reply, Answer::NotAccepted(status), Duration::ZERO)
            .await;
    }

    pub(super) async fn unknown(self: Arc<Self>, message: Message) {
        let status = Status::new(Code::Unimplemented, "no such operation");
        self.reply(message.reply, Answer::Failed(status), Duration::ZERO)
            .await;
    }

    /// Tells the caller that his request is being worked on, and can be asked for.
    pub(super) async fn accepted(&self, reply: Option<&Subject>) {
        if let Some(reply) = reply {
            self.at_work().insert(reply.as_str().into());
        }
        self.interim(reply, Interim::Accepted).await;
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    pub(super) fn at_work(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a sign of life that is not the answer.
    async fn interim(&self, to: Option<&Subject>, kind: Interim) {
        let Some(to) = to else { return };
        let headers = self.head(Duration::ZERO).encode_interim(kind);
        self.client.answer(to.clone(), headers, Bytes::new()).await;
    }

    /// Returns whether it went out, or nobody wanted it.
    pub(super) async fn reply(
        &self,
        to: Option<Subject>,
        answer: Answer,
        queue_wait: Duration,
    ) -> bool {
        let Some(to) = to else { return true };
        let (headers, payload) = answer.encode(&self.head(queue_wait));
        self.note_connection();
        let is_sent = self.client.answer(to, headers, payload).await;
        if !is_sent {
            self.refusals.lose();
        }
        is_sent
    }

    fn head(&self, queue_wait: Duration) -> ReplyHead {
        ReplyHead {
            replica: self.client.instance().shared_id(),
            queue_wait,
            leaving: self.is_draining(),
        }
    }
}
