//! A gate: lets a callee prepare its work and wait for the caller's word before the point of no return.
//!
//! The caller opens a gate, sends its [`GateAddress`] along in a request, and decides later. The
//! callee asks the gate with a plain request and goes on only if it hears *proceed*. Silence, a caller
//! that is gone and a lost message all mean *abort*. Asking makes no span.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::{task::coop::unconstrained, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{ANSWER_TIMEOUT, Client, Inbox, RoundTrip, Shared, Trouble, inbox::Sent};
use crate::{
    Status,
    context::{Caller, RequestScope},
    message::Reply,
};

/// Who may wait at one gate: one callee, and its repeated attempts. Further ones are sent back.
const MAX_ASKERS: usize = 16;

/// What a callee is told at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, if the work takes no longer than this.
    Proceed {
        /// How much time was left when the gate answered.
        time_left: Duration,
    },
    /// Undo what was prepared.
    Abort,
}

/// Where to ask. Travels in a request's payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GateAddress(String);

impl GateAddress {
    /// Returns who keeps the gate; `None` if this is no gate's address. It came in a payload, and nobody may make us
    /// publish to a subject of his choice.
    fn keeper(&self) -> Option<Caller> {
        let tokens: Vec<&str> = self.0.split('.').collect();
        let plain = |token: &&str| {
            !token.is_empty()
                && token.len() <= 32
                && token
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        match tokens.as_slice() {
            ["gate", service, instance, _token] if tokens.iter().all(plain) => Some(Caller {
                service: (*service).into(),
                instance: (*instance).into(),
            }),
            _ => None,
        }
    }
}

/// A decision that others wait for. Dropping an undecided gate aborts.
#[derive(Debug)]
pub struct Gate {
    client: Client,
    kept: Arc<Mutex<Kept>>,
    token: u64,
}

#[derive(Debug)]
pub(super) struct Gates {
    kept: Arc<Mutex<Kept>>,
    _answering: AbortOnDropHandle<()>,
}

type Kept = HashMap<u64, State>;

#[derive(Debug)]
enum State {
    /// Nobody has decided; these wait.
    Undecided(Vec<Subject>),
    Proceed {
        until: Instant,
    },
}

#[derive(Serialize, Deserialize)]
struct Wire {
    verdict: WireVerdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_left_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireVerdict {
    Proceed,
    Abort,
}

impl Client {
    /// Opens a gate that this process keeps.
    ///
    /// The first one subscribes, and waits until the server has confirmed it: the address may reach whoever
    /// asks by another way than this connection.
    ///
    /// # Errors
    ///
    /// Returns `unavailable` when the gates' subject can't be subscribed before the deadline of the request
    /// that is being handled.
    pub async fn open_gate(&self) -> Result<Gate, Status> {
        // Who comes while another keeps the gates for the first time waits no longer than he has patience himself.
        let gates = self.shared.gates.get_or_try_init(|| self.keep_gates());
        let gates = timeout(self.patience(), gates).await.unwrap_or_else(|_| {
            Err(Status::unavailable("NATS did not confirm the gate in time"))
        })?;
        let token = rand::rng().random();
        lock(&gates.kept).insert(token, State::Undecided(Vec::new()));
        Ok(Gate {
            client: self.clone(),
            kept: Arc::clone(&gates.kept),
            token,
        })
    }

    /// Asks a gate and waits for its word, until the deadline of the request that is being handled.
    ///
    /// Never fails: whatever keeps the word from coming is an abort. So is a gate that another process keeps than the
    /// one that sent the request: nobody but the caller has a say, and a stranger's address, which NATS may
    /// refuse, would be trouble of ours.
    pub async fn ask(&self, gate: &GateAddress) -> Verdict {
        timeout(self.patience(), self.word_of(gate))
            .await
            .ok()
            .flatten()
            .unwrap_or(Verdict::Abort)
    }

    async fn keep_gates(&self) -> Result<Gates, Status> {
        let gates = Gates::start(&self.shared)
            .await
            .map_err(|error| Status::unavailable("NATS is not connected").with_source(error))?;
        match self.round_trip(self.patience()).await {
            RoundTrip::Back => Ok(gates),
            RoundTrip::Lost | RoundTrip::Silent => {
                Err(Status::unavailable("NATS did not confirm the gate in time"))
            }
        }
    }

    /// Returns how long whoever runs this may wait.
    pub(super) fn patience(&self) -> Duration {
        RequestScope::current().map_or(self.shared.options.request_timeout, |scope| {
            scope.remaining()
        })
    }

    async fn word_of(&self, gate: &GateAddress) -> Option<Verdict> {
        let keeper = gate.keeper()?;
        let asked_by = RequestScope::current().and_then(|scope| scope.asked_by);
        if asked_by.is_some_and(|reply| Caller::of(&reply).as_ref() != Some(&keeper)) {
            tracing::warn!("a request names a gate that is not its sender's; it counts as closed");
            return None;
        }
        let sent = Sent::To(gate.0.as_str().into());
        let keeper = String::from(keeper.service);
        let mut waiter = self.shared.inbox.wait(keeper, sent, 1);
        self.nats()
            .publish_with_reply(gate.0.clone(), waiter.subject(), Bytes::new())
            .await
            .ok()?;
        let message = waiter.next().await?;
        let payload = message.payload.clone();
        if matches!(Reply::decode(message), Reply::NoResponders) {
            return None;
        }
        let wire: Wire = serde_json::from_slice(&payload).ok()?;
        Some(match wire.verdict {
            WireVerdict::Proceed => Verdict::Proceed {
                time_left: Duration::from_millis(wire.time_left_ms?),
            },
            WireVerdict::Abort => Verdict::Abort,
        })
    }
}

impl Gate {
    /// Returns the address to send along.
    #[must_use]
    pub fn address(&self) -> GateAddress {
        let instance = self.client.instance();
        GateAddress(format!(
            "gate.{}.{}.{:016x}",
            instance.service().subject(),
            instance.id(),
            self.token
        ))
    }

    /// Lets everybody through who asks until then, and whoever has asked already.
    ///
    /// Keep the gate for as long as somebody may ask: a dropped one aborts.
    pub async fn proceed(&self, until: Instant) {
        let decided = State::Proceed { until };
        let answer = decided.answer();
        let before = lock(&self.kept).insert(self.token, decided);
        if let Some(State::Undecided(asked)) = before {
            for asker in asked {
                // An answer that can't be sent is silence, and silence is an abort.
                self.client
                    .answer(asker, HeaderMap::new(), answer.clone())
                    .await;
            }
        }
    }

    /// Sends everybody back who has asked or will.
    pub async fn abort(self) {
        let before = lock(&self.kept).remove(&self.token);
        if let Some(State::Undecided(asked)) = before {
            for asker in asked {
                self.client.answer(asker, HeaderMap::new(), abort()).await;
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        lock(&self.kept).remove(&self.token);
    }
}

impl Gates {
    async fn start(shared: &Shared) -> Result<Self, async_nats::SubscribeError> {
        let (service, id) = (shared.instance.service(), shared.instance.id());
        let subject = format!("gate.{}.{id}.*", service.subject());
        let keeper = Keeper {
            nats: shared.nats.clone(),
            inbox: Arc::clone(&shared.inbox),
            trouble: Arc::clone(&shared.trouble),
            kept: Arc::default(),
        };
        let questions = shared.nats.subscribe(subject).await?;
        let kept = Arc::clone(&keeper.kept);
        let answering = tokio::spawn(keeper.answer(questions));
        Ok(Self {
            kept,
            _answering: AbortOnDropHandle::new(answering),
        })
    }
}

/// Answers those who ask.
struct Keeper {
    nats: async_nats::Client,
    inbox: Arc<Inbox>,
    trouble: Arc<Trouble>,
    kept: Arc<Mutex<Kept>>,
}

impl Keeper {
    /// Makes way to nobody while there are questions, like the inbox.
    async fn answer(self, mut questions: Subscriber) {
        unconstrained(async {
            while let Some(question) = questions.next().await {
                self.inbox.count();
                if let Some((asker, answer)) = self.answer_to(question) {
                    let _ = timeout(ANSWER_TIMEOUT, self.nats.publish(asker, answer)).await;
                }
            }
        })
        .await;
    }

    /// Returns what to answer now; an undecided gate notes who asked.
    fn answer_to(&self, question: Message) -> Option<(Subject, Bytes)> {
        let asker = question.reply?;
        if !self.trouble.is_inbox(&asker) {
            return None;
        }
        let token = question.subject.rsplit_once('.').map(|(_, token)| token);
        let token = token.and_then(|token| u64::from_str_radix(token, 16).ok());
        let mut kept = lock(&self.kept);
        let answer = match token.and_then(|token| kept.get_mut(&token)) {
            Some(State::Undecided(asked)) if asked.len() < MAX_ASKERS => {
                asked.push(asker);
                return None;
            }
            Some(State::Undecided(_)) | None => abort(),
            Some(decided) => decided.answer(),
        };
        Some((asker, answer))
    }
}

impl State {
    fn answer(&self) -> Bytes {
        let time_left = match self {
            Self::Proceed { until } => until.saturating_duration_since(Instant::now()),
            Self::Undecided(_) => Duration::ZERO,
        };
        if time_left.is_zero() {
            return abort();
        }
        encode(&Wire {
            verdict: WireVerdict::Proceed,
            time_left_ms: u64::try_from(time_left.as_millis()).ok(),
        })
    }
}

fn abort() -> Bytes {
    encode(&Wire {
        verdict: WireVerdict::Abort,
        time_left_ms: None,
    })
}

fn encode(wire: &Wire) -> Bytes {
    serde_json::to_vec(wire).unwrap_or_default().into()
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gates_address_is_asked() {
        let keeper = |address: &str| GateAddress(address.to_owned()).keeper();
        let user = keeper("gate.user.u1.00ff").map(|keeper| (keeper.service, keeper.instance));
        assert_eq!(Some(("user".into(), "u1".into())), user);
        for other in [
            "",
            "svc.database.create_user",
            "gate.user.u1",
            "gate.user.u1.t.more",
            "gate.user.u1.*",
            "gate.user.>.t",
            "gate..u1.t",
            "gate.user.u1.t\r\nPUB x 0",
            "_INBOX.gateway.user.g1.t",
        ] {
            assert_eq!(None, keeper(other), "{other:?}");
        }
    }

    #[test]
    fn a_word_is_read_as_it_was_written() {
        let proceed = State::Proceed {
            until: Instant::now() + Duration::from_secs(5),
        };
        let wire: Wire = serde_json::from_slice(&proceed.answer()).expect("own format");
        assert!(matches!(wire.verdict, WireVerdict::Proceed));
        assert!(wire.time_left_ms.is_some_and(|left| left > 4_000));
        assert_eq!(&br#"{"verdict":"abort"}"#[..], abort());
    }

    #[test]
    fn a_gate_past_its_time_aborts() {
        let past = State::Proceed {
            until: Instant::now(),
        };
        assert_eq!(abort(), past.answer());
    }
}
