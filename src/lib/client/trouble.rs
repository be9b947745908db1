//! What went wrong on the connection beside the calls: refusals by permission, dropped messages.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    attempt::PING,
    inbox::Inbox,
    violation::{self, Violation},
};
use crate::{Health, Service, health, pace::Pace};

/// A reply subject that is longer is nobody's: each token of ours has 32 characters at most.
const LONGEST_INBOX: usize = 256;
/// Subjects that are remembered as forbidden.
const MAX_FORBIDDEN: usize = 64;
/// A refused message says how things stood then: permissions can be mended on the running server.
const REFUSAL_COUNTS: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Trouble {
    health: Health,
    forbidden: Mutex<Forbidden>,
    dropped: AtomicU64,
    disconnects: AtomicU64,
    drops_logged: Pace,
    answers_logged: Pace,
    strays_logged: Pace,
    unsent_logged: Pace,
    /// Of subjects that are not remembered.
    forbidden_logged: Pace,
}

impl Trouble {
    pub(super) fn new(health: &Health) -> Self {
        Self {
            health: health.clone(),
            forbidden: Mutex::default(),
            dropped: AtomicU64::new(0),
            disconnects: AtomicU64::new(0),
            drops_logged: Pace::default(),
            answers_logged: Pace::default(),
            strays_logged: Pace::default(),
            unsent_logged: Pace::default(),
            forbidden_logged: Pace::default(),
        }
    }

    /// Reads an error that the server has sent.
    pub(super) fn refused(&self, error: &str, inbox: &Inbox) {
        match violation::parse(error) {
            Some(Violation::Publish(subject)) if inbox.forbid(subject) => {
                self.forbid_publishing(subject);
            }
            // Where our right is whole nobody can name such a subject that is refused.
            Some(Violation::Publish(subject)) if inbox.is_answered_at(subject) => {
                self.forbid_publishing("where it answers");
            }
            Some(Violation::Publish(subject)) if pinged(subject).is_some() => {
                self.forbid_pinging(pinged(subject).unwrap_or_default());
                self.forbid_publishing(subject);
            }
            // A reply subject is the asker's choice: it says nothing about us.
            Some(Violation::Publish(subject)) => {
                if self.answers_logged.is_due() {
                    tracing::warn!(
                        "NATS does not permit a message to {subject:?}: a permission is missing, or somebody wants an answer there"
                    );
                }
            }
            Some(Violation::Subscription(subject)) => self.forbid_subscription(subject),
            // After a freeze; the connection comes back by itself.
            None if error.eq_ignore_ascii_case("stale connection") => {
                tracing::warn!("this process was silent for too long; NATS closed its connection");
            }
            None => tracing::error!("NATS refused: {error}"),
        }
    }

    /// Tells whether an answer may go to a subject, and notes a question whose answer should go to another
    /// service instead of an inbox: whoever asks names the subject, and the answer goes out by our right.
    pub(super) fn is_inbox(&self, subject: &str) -> bool {
        let is_inbox = subject.starts_with("_INBOX.") && subject.len() <= LONGEST_INBOX;
        if !is_inbox && self.strays_logged.is_due() {
            tracing::warn!(
                "dropped a request that wants its answer at {:?}, which is no inbox",
                subject.get(..LONGEST_INBOX).unwrap_or(subject)
            );
        }
        is_inbox
    }

    /// Notes an answer that nobody will get.
    pub(super) fn unsent(&self, why: &dyn std::fmt::Display) {
        if self.unsent_logged.is_due() {
            tracing::warn!("answers can't be sent: {why}");
        }
    }

    /// A subscription that was refused is missing until the next connection.
    fn forbid_subscription(&self, subject: &str) {
        let mut forbidden = self.forbidden();
        if forbidden.subscription.is_some() {
            // Who has the wrong key is refused everything; the first says it.
            return tracing::debug!("NATS forbids subscribing {subject}");
        }
        let what = format!("subscribing {subject}");
        complain(&what);
        self.health
            .fail(health::PERMISSIONS, format!("NATS forbids {what}"));
        forbidden.subscription = Some(what);
    }

    fn forbid_publishing(&self, to: &str) {
        let mut forbidden = self.forbidden();
        let what = format!("publishing to {to}");
        let now = Instant::now();
        let before = forbidden.publishing.get(&what).copied();
        let is_remembered = before.is_some() || forbidden.publishing.len() < MAX_FORBIDDEN;
        let is_news = match before {
            Some(before) => now >= before + REFUSAL_COUNTS,
            None => is_remembered || self.forbidden_logged.is_due(),
        };
        if is_news {
            complain(&what);
        }
        if is_remembered {
            forbidden.publishing.insert(what.clone(), now);
        }
        if forbidden.subscription.is_none() {
            let reason = format!("NATS forbids {what}");
            self.health
                .fail_for(health::PERMISSIONS, reason, REFUSAL_COUNTS);
        }
    }

    /// Forgets refusals: a new connection may have other permissions.
    pub(super) fn connected(&self) {
        let mut forbidden = self.forbidden();
        forbidden.pings.clear();
        if forbidden.first().is_some() {
            *forbidden = Forbidden::default();
            self.health.pass(health::PERMISSIONS, "nothing refused");
        }
    }

    fn forbid_pinging(&self, service: &str) {
        let mut forbidden = self.forbidden();
        let now = Instant::now();
        match forbidden.pings.iter_mut().find(|(of, _)| of == service) {
            Some((_, last)) => *last = now,
            None => forbidden.pings.push((service.to_owned(), now)),
        }
    }

    /// Tells whether NATS lets no question through whether an instance of a service lives: then its silence means
    /// nothing. After a while one is tried again.
    pub(super) fn may_not_ping(&self, service: Service) -> bool {
        let forbidden = self.forbidden();
        let mut pings = forbidden.pings.iter();
        let refused = pings.find(|(of, _)| of == service.subject());
        refused.is_some_and(|(_, at)| Instant::now() < *at + REFUSAL_COUNTS)
    }

    /// Returns what is forbidden, if anything that this process needs.
    #[cfg(feature = "app")]
    pub(super) fn first_forbidden(&self) -> Option<String> {
        self.forbidden().first().cloned()
    }

    pub(super) fn forbidden_subscription(&self) -> Option<String> {
        self.forbidden().subscription.clone()
    }

    /// Counts a message that found its subscription's channel full.
    pub(super) fn dropped_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
        if self.drops_logged.is_due() {
            tracing::warn!("messages were dropped: this process can't keep up");
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Counts a connection that was lost.
    pub(super) fn disconnected(&self) {
        self.disconnects.fetch_add(1, Relaxed);
    }

    pub(super) fn disconnects(&self) -> u64 {
        self.disconnects.load(Relaxed)
    }

    fn forbidden(&self) -> MutexGuard<'_, Forbidden> {
        self.forbidden
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was refused on this connection.
#[derive(Debug, Default)]
struct Forbidden {
    /// The first of them.
    subscription: Option<String>,
    /// And when last.
    publishing: BTreeMap<String, Instant>,
    /// When last a ping was, by the service that it was for: one that is called.
    pings: Vec<(String, Instant)>,
}

impl Forbidden {
    fn first(&self) -> Option<&String> {
        self.subscription.as_ref().or(self.publishing.keys().next())
    }
}

/// Returns the service of `inst.<service>.<instance>._ping`.
fn pinged(subject: &str) -> Option<&str> {
    let tokens: Vec<&str> = subject.split('.').collect();
    match tokens[..] {
        ["inst", service, _, PING] => Some(service),
        _ => None,
    }
}

fn complain(what: &str) {
    tracing::error!(
        "NATS forbids {what}: does this process use its own service's key, and has the server its permissions?"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Instance, Service};

    const INBOX_OF: Service = Service::new("caller");

    #[tokio::test]
    async fn a_strangers_reply_subject_is_no_trouble_of_ours() {
        let (health, inbox) = (Health::default(), Inbox::new(&Instance::new(INBOX_OF)));
        let trouble = Trouble::new(&health);
        trouble.refused("Permissions Violation for Publish to \"svc.x.y\"", &inbox);
        assert_eq!(None, health.report().await.reason());
    }

    #[tokio::test]
    async fn a_refused_subscription_is_trouble_until_the_next_connection() {
        let (health, inbox) = (Health::default(), Inbox::new(&Instance::new(INBOX_OF)));
        let trouble = Trouble::new(&health);
        trouble.refused(
            "Permissions Violation for Subscription to \"svc.x.y\"",
            &inbox,
        );
        assert_eq!(
            Some("permissions: NATS forbids subscribing svc.x.y".to_owned()),
            health.report().await.reason()
        );
        trouble.connected();
        assert_eq!(None, health.report().await.reason());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_message_is_trouble_for_a_while_and_the_first_refusal_is_named() {
        let (health, inbox) = (Health::default(), Inbox::new(&Instance::new(INBOX_OF)));
        let trouble = Trouble::new(&health);
        let own = "Permissions Violation for Publish to \"_INBOX.caller.caller.x.1\"";
        trouble.refused(own, &inbox);
        assert_eq!(
            Some("permissions: NATS forbids publishing to where it answers".to_owned()),
            health.report().await.reason()
        );
        tokio::time::advance(REFUSAL_COUNTS).await;
        assert_eq!(None, health.report().await.reason());
        for subject in ["svc.b.x", "svc.a.x"] {
            let refusal = format!("Permissions Violation for Subscription to \"{subject}\"");
            trouble.refused(&refusal, &inbox);
        }
        tokio::time::advance(REFUSAL_COUNTS).await;
        assert_eq!(
            Some("permissions: NATS forbids subscribing svc.b.x".to_owned()),
            health.report().await.reason()
        );
    }
}
