//! A load driver that sends at a constant rate whatever comes back, and accounts for every request.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{settings::strict, stalls, stopwatch::percentile};

/// Connections at a time; a gateway takes 768.
const CONNECTIONS: usize = 512;
/// Longer than any deadline; beyond it a request hangs.
const HANGS: Duration = Duration::from_secs(40);
/// `ATTEMPT_TIMEOUT`, after which a caller takes a replica for frozen.
const PATIENCE: Duration = Duration::from_millis(250);
/// How many failures of a kind are listed in words.
const LISTED: usize = 4;
/// The gateway closes what is idle for 10 s; whoever sends at that moment gets no answer.
const IDLE: Duration = Duration::from_secs(5);

/// What became of one request.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// When it was due; waiting for a connection counts as its time.
    pub(crate) sent: Instant,
    pub(crate) took: Duration,
    /// The HTTP status, or why there is none.
    pub(crate) result: Result<u16, String>,
    trace: String,
    /// Of a registration, the number in its address.
    number: Option<u64>,
}

impl Outcome {
    pub(crate) fn succeeded(&self) -> bool {
        matches!(self.result, Ok(200 | 201))
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
enum Work {
    Get,
    Register,
}

impl Work {
    fn number(self) -> Option<u64> {
        matches!(self, Self::Register).then(|| NEXT.fetch_add(1, Relaxed))
    }
}

fn request(client: &reqwest::Client, url: String, number: Option<u64>) -> reqwest::RequestBuilder {
    match number {
        None => client.get(url),
        Some(n) => {
            let email = format!("load{n}@example.com");
            client
                .post(url)
                .header("idempotency-key", format!("load-{n}"))
                .json(&serde_json::json!({"name": "Quirinus", "email": email}))
        }
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A running load.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    driver: JoinHandle<usize>,
}

#[derive(Debug)]
struct Shared {
    work: Work,
    target: Mutex<String>,
    outcomes: Mutex<Vec<Outcome>>,
    connections: Semaphore,
    stopping: CancellationToken,
}

impl Load {
    /// Begins to `GET` a URL so often a second.
    pub(crate) fn start(url: String, rate: u32) -> Self {
        Self::sending(Work::Get, url, rate)
    }

    /// Begins to register so many a second, each with an address and a key of its own, and once.
    pub(crate) fn registering(url: String, rate: u32) -> Self {
        Self::sending(Work::Register, url, rate)
    }

    fn sending(work: Work, url: String, rate: u32) -> Self {
        stalls::watch();
        let shared = Arc::new(Shared {
            work,
            target: Mutex::new(url),
            outcomes: Mutex::default(),
            connections: Semaphore::new(CONNECTIONS),
            stopping: CancellationToken::new(),
        });
        let driver = tokio::spawn(drive(Arc::clone(&shared), rate));
        Self { shared, driver }
    }

    /// Sends further requests elsewhere, as a balancer does when a gateway leaves.
    pub(crate) fn aim_at(&self, url: String) {
        *self.shared.target.lock().unwrap() = url;
    }

    /// When the first request that was sent after a moment succeeded.
    pub(crate) fn success_since(&self, moment: Instant) -> Option<Instant> {
        let outcomes = self.shared.outcomes.lock().unwrap();
        let good = outcomes
            .iter()
            .filter(|one| one.succeeded() && one.sent >= moment);
        good.map(|one| one.sent + one.took).min()
    }

    /// Sends no more, waits for the end of every request, and accounts for all of them.
    pub(crate) async fn stop(self) -> Report {
        self.shared.stopping.cancel();
        let sent = self.driver.await.unwrap();
        let outcomes = std::mem::take(&mut *self.shared.outcomes.lock().unwrap());
        assert_eq!(sent, outcomes.len(), "every request has an outcome");
        Report(outcomes)
    }
}

async fn drive(shared: Arc<Shared>, rate: u32) -> usize {
    let client = reqwest::Client::builder()
        .timeout(HANGS)
        .pool_idle_timeout(IDLE)
        .build()
        .unwrap();
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut requests = JoinSet::new();
    let mut sent = 0;
    loop {
        let at = tokio::select! {
            biased;
            () = shared.stopping.cancelled() => break,
            at = due.tick() => at.into_std(),
        };
        sent += 1;
        requests.spawn(send(client.clone(), Arc::clone(&shared), at));
        while let Some(done) = requests.try_join_next() {
            done.unwrap();
        }
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    sent
}

async fn send(client: reqwest::Client, shared: Arc<Shared>, sent: Instant) {
    let _connection = shared.connections.acquire().await.unwrap();
    let url = shared.target.lock().unwrap().clone();
    let mut trace = String::new();
    let number = shared.work.number();
    let answered = async {
        let response = request(&client, url, number).send().await?;
        if let Some(header) = response.headers().get("traceparent") {
            let header = header.to_str().unwrap_or_default();
            trace = header.split('-').nth(1).unwrap_or_default().to_owned();
        }
        let status = response.status().as_u16();
        response.bytes().await.map(|_| status)
    };
    let result = answered.await.map_err(|error| format!("{error:?}"));
    let outcome = Outcome {
        sent,
        took: sent.elapsed(),
        result,
        trace,
        number,
    };
    shared.outcomes.lock().unwrap().push(outcome);
}

/// What became of all requests.
#[derive(Debug)]
pub(crate) struct Report(Vec<Outcome>);

impl Report {
    /// Those that were sent between two moments.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Self {
        let within = (self.0.iter()).filter(|one| one.sent >= from && one.sent < to);
        Self(within.cloned().collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn failed(&self) -> usize {
        self.0.iter().filter(|one| !one.succeeded()).count()
    }

    /// How many were answered by none of some statuses, or not at all.
    #[allow(dead_code, reason = "tests/containers restarts a store")]
    pub(crate) fn answered_other_than(&self, statuses: &[u16]) -> usize {
        let is_other =
            |one: &&Outcome| !matches!(&one.result, Ok(status) if statuses.contains(status));
        self.0.iter().filter(is_other).count()
    }

    /// The numbers in the addresses of those that were answered 201.
    #[allow(dead_code, reason = "tests/containers looks for each")]
    pub(crate) fn registered(&self) -> Vec<u64> {
        let registered = self.0.iter().filter(|one| one.result == Ok(201));
        registered.filter_map(|one| one.number).collect()
    }

    /// How long each one took.
    pub(crate) fn took(&self) -> Vec<Duration> {
        self.0.iter().map(|one| one.took).collect()
    }

    pub(crate) fn slowest(&self) -> Duration {
        self.0.iter().map(|one| one.took).max().unwrap_or_default()
    }

    /// Checks that all were answered 200, and returns whether that was measured. Unless the figures are asked
    /// for, a machine that is busy otherwise is allowed for, where this process itself has seen it stall: where
    /// half of the requests take longer than a call's patience the machine is measured and not the runtime, as
    /// long as half of them succeed, and elsewhere a few may fail.
    #[track_caller]
    pub(crate) fn assert_no_failure(&self) -> bool {
        if !strict() && self.is_starved() {
            println!("too busy a machine to measure: {self}");
            return false;
        }
        assert!(!self.0.is_empty(), "nothing was sent");
        let failed = self.0.iter().filter(|one| !one.succeeded());
        let excused =
            failed.filter(|one| !strict() && stalls::concern(one.sent, one.sent + one.took));
        let excused = excused.count();
        assert_eq!(excused, self.failed(), "{self}\n{}", self.failures());
        assert!(10 * excused <= self.len(), "{self}\n{}", self.failures());
        true
    }

    /// Tells whether the machine was too busy for anything to be measured.
    fn is_starved(&self) -> bool {
        let took = self.took();
        let first = self.0.iter().map(|one| one.sent).min();
        let last = self.0.iter().map(|one| one.sent + one.took).max();
        let stalled = match (first, last) {
            (Some(first), Some(last)) => stalls::concern(first, last),
            _ => stalls::seen_any(),
        };
        let is_slow = self.0.is_empty() || percentile(took, 50) > PATIENCE;
        stalled && is_slow && 2 * self.failed() <= self.len()
    }

    /// Checks that all were answered with a status, and half of them within a time.
    #[track_caller]
    pub(crate) fn assert_all(&self, status: u16, typical: Duration) {
        let other = self.0.iter().find(|one| one.result != Ok(status));
        assert!(other.is_none() && !self.0.is_empty(), "{other:?}: {self}");
        let took = self.took();
        let half = percentile(took, 50);
        assert!(half < typical, "{half:?}: {self}");
    }

    /// Checks that all ended within a time.
    #[track_caller]
    pub(crate) fn assert_within(&self, limit: Duration) {
        let slowest = self.slowest();
        assert!(slowest < limit, "{slowest:?}: {self}\n{}", self.failures());
    }

    fn failures(&self) -> String {
        let first = self.0.iter().map(|one| one.sent).min();
        let mut listed = BTreeMap::<&Result<u16, String>, usize>::new();
        let failed = self.0.iter().filter(|one| !one.succeeded());
        let some = failed.filter(|one| {
            let alike = listed.entry(&one.result).or_default();
            *alike += 1;
            *alike <= LISTED
        });
        let lines = some.map(|one| {
            let since = first.map_or(Duration::ZERO, |first| one.sent - first);
            format!(
                "  at {since:.1?}, after {:.1?}: {:?}, trace {}\n",
                one.took, one.result, one.trace
            )
        });
        lines.collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = BTreeMap::<String, usize>::new();
        for one in &self.0 {
            let kind = match &one.result {
                Ok(status) => status.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            *counts.entry(kind).or_default() += 1;
        }
        write!(f, "{} requests", self.len())?;
        for (kind, count) in counts {
            write!(f, ", {count} x {kind}")?;
        }
        let took = self.took();
        write!(
            f,
            "; p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
            percentile(took.clone(), 50),
            percentile(took, 99),
            self.slowest()
        )
    }
}
