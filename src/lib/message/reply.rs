//! A reply's headers and body: interim or final, payload or status.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, HeaderValue, Message, StatusCode};
use bytes::Bytes;

use super::{header, insert};
use crate::Status;

/// Characters of an error's message that go into its header; the body has all of it.
const MAX_WORDS: usize = 128;

/// What a replica says about itself beside each answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReplyHead {
    /// The instance that answered; empty where another kind of service did.
    pub(crate) replica: Arc<str>,
    pub(crate) queue_wait: Duration,
    /// It finishes what it has accepted and takes no more.
    pub(crate) leaving: bool,
}

/// What a replica says before, or beside, the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interim {
    /// The handler works on it.
    Accepted,
    /// The process lives.
    Pong,
    /// The process lives, and does not work on what the question's reply subject belongs to.
    Idle,
}

impl Interim {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Pong => "pong",
            Self::Idle => "idle",
        }
    }
}

/// One message in a reply inbox.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Nobody listens on the subject. The server says so; no replica was involved.
    NoResponders,
    /// The callee lives; the answer comes later. Unknown kinds of interim replies count as this.
    Interim(ReplyHead),
    /// The callee lives, and does not work on this.
    Idle(ReplyHead),
    /// The answer.
    Final { head: ReplyHead, answer: Answer },
}

/// How a call ended at the replica.
#[derive(Debug)]
pub(crate) enum Answer {
    Payload(Bytes),
    Failed(Status),
    /// The replica refused before its handler began, so repeating is always safe.
    NotAccepted(Status),
}

impl ReplyHead {
    /// Writes the headers of a reply that is not the answer.
    pub(crate) fn encode_interim(&self, kind: Interim) -> HeaderMap {
        let mut headers = self.encode();
        insert(&mut headers, header::INTERIM, kind.as_str());
        headers
    }

    fn encode(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert(&mut headers, header::REPLICA, &self.replica);
        let waited = self.queue_wait.as_millis();
        if waited > 0 {
            insert(&mut headers, header::QUEUE_WAIT_MS, &waited.to_string());
        }
        if self.leaving {
            insert(&mut headers, header::LEAVING, "true");
        }
        headers
    }
}

/// A reply's headers as they came.
#[derive(Default)]
struct Headers<'a> {
    head: ReplyHead,
    interim: Option<&'a str>,
    /// Words of an error.
    error: Option<&'a str>,
    has_failed: bool,
    not_accepted: bool,
}

impl<'a> Headers<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut read = Self::default();
        // A message has few of them, and each look-up would hash a name.
        for (name, values) in headers.iter() {
            let value = values.first().map_or("", HeaderValue::as_str);
            match name.as_ref() {
                header::REPLICA => read.head.replica = value.into(),
                header::QUEUE_WAIT_MS => {
                    read.head.queue_wait = Duration::from_millis(value.parse().unwrap_or(0));
                }
                header::LEAVING => read.head.leaving = true,
                header::INTERIM => read.interim = Some(value),
                header::NOT_ACCEPTED => read.not_accepted = true,
                header::ERROR => {
                    read.error = Some(value);
                    read.has_failed = true;
                }
                header::ERROR_CODE => read.has_failed = true,
                _ => {}
            }
        }
        read
    }
}

impl Answer {
    pub(crate) fn encode(self, head: &ReplyHead) -> (HeaderMap, Bytes) {
        let mut headers = head.encode();
        let status = match self {
            Self::Payload(payload) => return (headers, payload),
            Self::Failed(status) => status,
            Self::NotAccepted(status) => {
                insert(&mut headers, header::NOT_ACCEPTED, "true");
                status
            }
        };
        // Messages may hold what a user typed; a header may hold no line breaks.
        let words = status.message().chars().take(MAX_WORDS);
        let words = words.map(|c| if c.is_control() { ' ' } else { c });
        insert(&mut headers, header::ERROR, &words.collect::<String>());
        let code = status.code().http_status().to_string();
        insert(&mut headers, header::ERROR_CODE, &code);
        (headers, status.to_wire().into())
    }
}

impl Reply {
    pub(crate) fn decode(message: Message) -> Self {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Self::NoResponders;
        }
        let Some(headers) = &message.headers else {
            return Self::Final {
                head: ReplyHead::default(),
                answer: Answer::Payload(message.payload),
            };
        };
        let Headers {
            head,
            interim,
            error,
            has_failed,
            not_accepted,
        } = Headers::read(headers);
        match interim {
            Some("idle") => return Self::Idle(head),
            Some(_) => return Self::Interim(head),
            None => {}
        }
        let status = || Status::from_wire(&message.payload, error.unwrap_or("internal error"));
        let answer = match (has_failed, not_accepted) {
            (false, _) => Answer::Payload(message.payload),
            (true, true) => Answer::NotAccepted(status()),
            (true, false) => Answer::Failed(status()),
        };
        Self::Final { head, answer }
    }
}
