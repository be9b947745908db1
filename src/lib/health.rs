//! Whether this process is ready, and if not, why: named checks in plain words.
//!
//! The runtime sets `nats` and `group`, the application adds its own. `http::Admin` shows them to who
//! starts and watches processes.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use serde::{Serialize, Serializer};
use tokio::time::{Instant, timeout};

/// The check that a NATS server is connected.
pub(crate) const NATS: &str = "nats";
/// The check that NATS's permissions let this process do what it needs; there from the first refusal.
pub(crate) const PERMISSIONS: &str = "permissions";
/// The check that the replica is in its group.
pub(crate) const GROUP: &str = "group";

/// Longest time for a probe to answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Who asks more often than this is told what the last probe found.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Says by named checks whether a process is ready.
///
/// It is ready when every check has passed. Each has a few words for whoever asks; they are shown to
/// anybody who reaches the admin address, so they hold nothing secret.
///
/// Cheap to clone; clones share one state. A client has one, see [`Client::health`](crate::Client::health):
///
/// | check | set by | passes while |
/// |---|---|---|
/// | `nats` | the client | a server is connected |
/// | `permissions` | the client | no subscription that the process needs has been refused on this connection, and no message in the last 30 s; there from the first refusal |
/// | `group` | the replica | it is in its queue group and has not been told to leave |
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Checks>>,
}

type Checks = BTreeMap<&'static str, Check>;
type Words = Cow<'static, str>;
type Erased = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;

#[derive(Debug)]
struct Check {
    outcome: Outcome,
    probe: Option<Probe>,
}

#[derive(Debug, Clone)]
struct Outcome {
    passed: bool,
    words: Words,
    /// Until when it counts.
    until: Option<Instant>,
}

struct Probe {
    ask: Arc<Erased>,
    asked: Option<Instant>,
}

impl Health {
    /// Notes that a check has passed: `connected`.
    pub fn pass(&self, name: &'static str, words: impl Into<Cow<'static, str>>) {
        self.note(name, true, words.into());
    }

    /// Notes that a check has failed, and why. The process is not ready until it passes.
    pub fn fail(&self, name: &'static str, reason: impl Into<Cow<'static, str>>) {
        self.note(name, false, reason.into());
    }

    /// The same, for a while: after that it counts as passed, unless it was noted again.
    pub(crate) fn fail_for(&self, name: &'static str, reason: String, lasting: Duration) {
        self.fail(name, reason);
        if let Some(check) = self.lock().get_mut(name) {
            check.outcome.until = Some(Instant::now() + lasting);
        }
    }

    /// Adds a check that is made when somebody asks for a [`report`](Self::report).
    ///
    /// It runs at most once a second and for at most 500 ms; its error is the reason. Until it has run
    /// for the first time the process is not ready.
    pub fn probe<F, Fut>(&self, name: &'static str, probe: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check = Check {
            outcome: Outcome {
                passed: false,
                words: "not checked yet".into(),
                until: None,
            },
            probe: Some(Probe {
                ask: Arc::new(move || Box::pin(probe())),
                asked: None,
            }),
        };
        self.lock().insert(name, check);
    }

    /// Makes the probes that are due and returns how every check stands.
    ///
    /// # Cancellation
    ///
    /// A dropped future's probes go on, each within its 500 ms, and are told of in the next report.
    pub async fn report(&self) -> Report {
        // Each in a task of its own: whoever asks may be less patient than the probe is slow.
        let probes = self.due().into_iter().map(|(name, ask)| {
            let health = self.clone();
            let made = tokio::spawn(async move {
                let (passed, words) = match timeout(PROBE_TIMEOUT, ask()).await {
                    Ok(Ok(())) => (true, Words::from("ok")),
                    Ok(Err(reason)) => (false, reason.into()),
                    Err(_) => (false, format!("no answer within {PROBE_TIMEOUT:?}").into()),
                };
                health.note(name, passed, words);
            });
            async move {
                if made.await.is_err() {
                    self.fail(name, "the check panicked");
                }
            }
        });
        join_all(probes).await;
        let now = Instant::now();
        let mut checks = self.lock();
        let over = |check: &Check| check.outcome.until.is_some_and(|until| now >= until);
        for check in checks.values_mut().filter(|check| over(check)) {
            check.outcome = Outcome {
                passed: true,
                words: "no trouble lately".into(),
                until: None,
            };
        }
        let checks = checks
            .iter()
            .map(|(name, check)| (*name, check.outcome.clone()));
        Report {
            checks: checks.collect(),
        }
    }

    /// Returns the probes whose last answer is too old. They count as made from now on.
    fn due(&self) -> Vec<(&'static str, Arc<Erased>)> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (name, check) in self.lock().iter_mut() {
            let Some(probe) = &mut check.probe else {
                continue;
            };
            if probe.asked.is_none_or(|asked| now - asked >= PROBE_EVERY) {
                probe.asked = Some(now);
                due.push((*name, Arc::clone(&probe.ask)));
            }
        }
        due
    }

    fn note(&self, name: &'static str, passed: bool, words: Words) {
        let outcome = Outcome {
            passed,
            words,
            until: None,
        };
        let mut checks = self.lock();
        match checks.get_mut(name) {
            Some(check) => check.outcome = outcome,
            None => {
                let probe = None;
                checks.insert(name, Check { outcome, probe });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How all checks stood at a moment.
///
/// As JSON: `{"status":"ready","checks":{"group":"joined","nats":"connected"}}`, or
/// `{"status":"not ready","reason":"group: leaving","checks":{...}}`.
#[derive(Debug, Clone)]
pub struct Report {
    checks: BTreeMap<&'static str, Outcome>,
}

impl Report {
    /// Tells whether every check had passed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.values().all(|outcome| outcome.passed)
    }

    /// Returns the words of a check.
    #[must_use]
    pub fn words(&self, name: &str) -> Option<&str> {
        self.checks.get(name).map(|outcome| &*outcome.words)
    }

    /// Names each check that failed, with its reason; `None` where all have passed.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let failed = self.checks.iter().filter(|(_, outcome)| !outcome.passed);
        let failed: Vec<String> = failed
            .map(|(name, outcome)| format!("{name}: {}", outcome.words))
            .collect();
        (!failed.is_empty()).then(|| failed.join("; "))
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            status: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<String>,
            checks: BTreeMap<&'a str, &'a str>,
        }
        Wire {
            status: if self.is_ready() {
                "ready"
            } else {
                "not ready"
            },
            reason: self.reason(),
            checks: (self.checks.iter())
                .map(|(name, outcome)| (*name, &*outcome.words))
                .collect(),
        }
        .serialize(serializer)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[tokio::test]
    async fn one_failed_check_is_enough_and_is_named() {
        let health = Health::default();
        health.pass(NATS, "connected");
        health.fail(GROUP, "not joined yet");
        let report = health.report().await;
        assert!(!report.is_ready());
        assert_eq!(
            r#"{"status":"not ready","reason":"group: not joined yet","checks":{"group":"not joined yet","nats":"connected"}}"#,
            serde_json::to_string(&report).unwrap()
        );
        health.clone().pass(GROUP, "joined");
        assert_eq!(
            r#"{"status":"ready","checks":{"group":"joined","nats":"connected"}}"#,
            serde_json::to_string(&health.report().await).unwrap()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_is_made_at_most_once_a_second() {
        let health = Health::default();
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        health.probe("store", move || {
            let nth = count.fetch_add(1, Relaxed);
            async move {
                if nth == 0 {
                    Ok(())
                } else {
                    Err("gone".to_owned())
                }
            }
        });
        for _ in 0..3 {
            assert!(health.report().await.is_ready());
        }
        assert_eq!(1, made.load(Relaxed));
        tokio::time::sleep(PROBE_EVERY).await;
        let report = health.report().await;
        assert_eq!(Some("store: gone"), report.reason().as_deref());
        assert_eq!(2, made.load(Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_keeps_nobody_waiting() {
        let health = Health::default();
        health.probe("store", std::future::pending);
        let asked = Instant::now();
        // Who asks meanwhile is not kept at all.
        let (first, second) = tokio::join!(health.report(), health.report());
        assert_eq!(PROBE_TIMEOUT, asked.elapsed());
        assert_eq!(Some("no answer within 500ms"), first.words("store"));
        assert_eq!(Some("not checked yet"), second.words("store"));
    }

    #[tokio::test]
    async fn a_probe_that_panics_has_failed() {
        let health = Health::default();
        health.probe("store", || async { panic!("a bug") });
        let report = health.report().await;
        assert_eq!(Some("the check panicked"), report.words("store"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_outlives_an_impatient_asker() {
        let health = Health::default();
        health.probe("store", std::future::pending);
        let impatient = timeout(PROBE_TIMEOUT / 2, health.report()).await;
        assert!(impatient.is_err());
        tokio::time::sleep(PROBE_TIMEOUT).await;
        let next = health.report().await;
        assert_eq!(Some("no answer within 500ms"), next.words("store"));
    }
}
