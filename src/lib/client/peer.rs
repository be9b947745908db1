//! What a client knows of a service that it calls: how much it may repeat, and who answered lately.
//!
//! NATS picks the member of a queue group, and goes on picking one that is frozen until the server's
//! pings fail. So after an attempt that stayed silent first attempts go to instances that have answered
//! since, until the server has thrown the frozen one out.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rand::seq::IndexedRandom;
use tokio::{sync::Notify, time::Instant};
use tower::retry::budget::{Budget, TpsBudget};

use crate::{Service, message::ReplyHead};

/// The budget's window.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// Repeated attempts a second that are always allowed.
const BUDGET_MINIMUM: u32 = 10;
/// Share of calls that may be repeated on top of that.
const BUDGET_SHARE: f32 = 0.1;
/// How long first attempts avoid the group after a silent one. The server of `nats/` throws a frozen
/// member out after 12 s.
const STEERING_TIME: Duration = Duration::from_secs(15);
/// Pause between two rounds of asking who is alive.
const PROOF_INTERVAL: Duration = Duration::from_millis(250);
/// Calls that are further apart say nothing of each other's absence.
const ABSENCE_GAP: Duration = Duration::from_secs(1);
/// Instances that are remembered of a service.
const MAX_KNOWN: usize = 64;

/// Every service that this client has called. There are few, and none is ever forgotten.
#[derive(Debug, Default)]
pub(super) struct Peers(RwLock<Vec<Arc<Peer>>>);

/// One service, as seen by its callers in this process.
#[derive(Debug)]
pub(super) struct Peer {
    service: Service,
    budget: TpsBudget,
    withheld: AtomicU64,
    /// Whether `steering` may be set, without taking the lock.
    steers: AtomicBool,
    /// Somebody has answered while `steers` was set.
    alive: Notify,
    instances: Mutex<Instances>,
}

#[derive(Debug, Default)]
struct Instances {
    known: Vec<Known>,
    steering: Option<Steering>,
    proved_at: Option<Instant>,
    /// When a call first found nobody, since somebody has answered, and when one did last.
    absent: Option<(Instant, Instant)>,
}

#[derive(Debug)]
struct Known {
    id: Arc<str>,
    answered: Instant,
    leaving: bool,
}

#[derive(Debug, Clone, Copy)]
struct Steering {
    /// Who has answered after this is not the one that stayed silent.
    since: Instant,
    until: Instant,
}

impl Peers {
    pub(super) fn of(&self, service: Service) -> Arc<Peer> {
        let find = |peers: &[Arc<Peer>]| {
            let found = peers
                .iter()
                .find(|peer| peer.service.subject() == service.subject());
            found.map(Arc::clone)
        };
        if let Some(peer) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return peer;
        }
        let mut peers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        find(&peers).unwrap_or_else(|| {
            let peer = Arc::new(Peer::new(service));
            peers.push(Arc::clone(&peer));
            peer
        })
    }
}

impl Peers {
    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        let peers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        peers.clone()
    }
}

impl Peer {
    fn new(service: Service) -> Self {
        Self {
            service,
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_MINIMUM, BUDGET_SHARE),
            withheld: AtomicU64::new(0),
            steers: AtomicBool::new(false),
            alive: Notify::new(),
            instances: Mutex::default(),
        }
    }

    pub(super) fn service(&self) -> Service {
        self.service
    }

    /// Counts a call, which earns a tenth of a repetition.
    pub(super) fn called(&self) {
        self.budget.deposit();
    }

    /// Takes a repetition from the budget, if there is one.
    pub(super) fn may_repeat(&self) -> bool {
        let may = self.budget.withdraw();
        if !may {
            self.withheld.fetch_add(1, Relaxed);
        }
        may
    }

    /// Returns how often a call was not repeated because the budget was spent.
    pub(super) fn withheld(&self) -> u64 {
        self.withheld.load(Relaxed)
    }

    /// Returns whom to address: `None` for the group.
    pub(super) fn target(&self) -> Option<Arc<str>> {
        if !self.steers.load(Relaxed) {
            return None;
        }
        let mut instances = self.instances();
        let steering = instances.steering?;
        if Instant::now() >= steering.until {
            instances.steering = None;
            self.steers.store(false, Relaxed);
            return None;
        }
        let proven: Vec<_> = instances
            .known
            .iter()
            .filter(|known| known.answered > steering.since && !known.leaving)
            .collect();
        proven
            .choose(&mut rand::rng())
            .map(|known| Arc::clone(&known.id))
    }

    /// Notes that an instance lives.
    pub(super) fn answered(&self, head: &ReplyHead) {
        if head.replica.is_empty() {
            return;
        }
        self.instances().answered(head);
        if self.steers.load(Relaxed) {
            self.alive.notify_waiters();
        }
    }

    /// Notes that nobody listens, and returns for how long calls have found it so. A finding that is older than the wait
    /// for a service is another absence's: in between it may well have been there.
    pub(super) fn absent_for(&self, wait: Duration) -> Duration {
        let now = Instant::now();
        let mut instances = self.instances();
        let known = instances
            .absent
            .filter(|(_, last)| now - *last <= wait.max(ABSENCE_GAP));
        let since = known.map_or(now, |(since, _)| since);
        instances.absent = Some((since, now));
        now - since
    }

    /// Waits until there is an instance to steer to.
    pub(super) async fn somebody_is_alive(&self) {
        loop {
            let next = self.alive.notified();
            if self.target().is_some() {
                return;
            }
            next.await;
        }
    }

    /// Notes that an instance is gone, or as good as gone.
    pub(super) fn forget(&self, id: &str) {
        self.instances().known.retain(|known| &*known.id != id);
    }

    /// Notes that some member of the group gave no sign of life to what was sent then.
    pub(super) fn went_silent(&self, since: Instant) {
        let mut instances = self.instances();
        let since = instances
            .steering
            .map_or(since, |steering| steering.since.max(since));
        instances.steering = Some(Steering {
            since,
            until: Instant::now() + STEERING_TIME,
        });
        self.steers.store(true, Relaxed);
    }

    /// Returns whom to ask for a sign of life; `None` if somebody else has just asked.
    pub(super) fn unproven(&self) -> Option<Vec<Arc<str>>> {
        let now = Instant::now();
        let mut instances = self.instances();
        let asked = instances.proved_at;
        if asked.is_some_and(|asked| now < asked + PROOF_INTERVAL) {
            return None;
        }
        instances.proved_at = Some(now);
        let known = instances.known.iter();
        Some(known.map(|known| Arc::clone(&known.id)).collect())
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instances {
    fn answered(&mut self, head: &ReplyHead) {
        self.absent = None;
        let now = Instant::now();
        if let Some(known) = self.find(&head.replica) {
            known.answered = now;
            known.leaving = head.leaving;
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            let oldest = self.known.iter().enumerate();
            if let Some((at, _)) = oldest.min_by_key(|(_, known)| known.answered) {
                self.known.swap_remove(at);
            }
        }
        self.known.push(Known {
            id: Arc::clone(&head.replica),
            answered: now,
            leaving: head.leaving,
        });
    }

    fn find(&mut self, id: &str) -> Option<&mut Known> {
        self.known.iter_mut().find(|known| &*known.id == id)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SERVICE: Service = Service::new("service");

    fn peer() -> Peer {
        let peer = Peer::new(SERVICE);
        for id in ["a", "b", "frozen"] {
            peer.answered(&by(id));
        }
        peer
    }

    fn by(id: &str) -> ReplyHead {
        ReplyHead {
            replica: id.into(),
            ..ReplyHead::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_absence_grows_while_calls_find_it_and_an_old_one_is_another() {
        let peer = peer();
        let (wait, second) = (Duration::from_millis(1_500), Duration::from_secs(1));
        assert_eq!(Duration::ZERO, peer.absent_for(wait));
        advance(second).await;
        assert_eq!(second, peer.absent_for(wait));
        advance(second).await;
        assert_eq!(2 * second, peer.absent_for(wait));
        // Nobody has called since, and who knows what was in between.
        advance(60 * second).await;
        assert_eq!(Duration::ZERO, peer.absent_for(wait));
        advance(second).await;
        peer.answered(&by("a"));
        assert_eq!(Duration::ZERO, peer.absent_for(wait));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_go_to_the_group_until_an_attempt_stays_silent() {
        let peer = peer();
        assert_eq!(None, peer.target());
        let sent = Instant::now();
        advance(Duration::from_millis(250)).await;
        peer.answered(&by("a"));
        peer.went_silent(sent);
        assert_eq!(Some("a".into()), peer.target());
    }

    #[tokio::test(start_paused = true)]
    async fn steering_ends_when_the_server_has_thrown_the_frozen_one_out() {
        let peer = peer();
        let sent = Instant::now();
        advance(Duration::from_millis(250)).await;
        peer.went_silent(sent);
        peer.answered(&by("b"));
        advance(STEERING_TIME - Duration::from_millis(1)).await;
        assert_eq!(Some("b".into()), peer.target());
        advance(Duration::from_millis(1)).await;
        assert_eq!(None, peer.target());
        assert!(!peer.steers.load(Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn without_anybody_proven_the_group_is_asked() {
        let peer = peer();
        advance(Duration::from_millis(1)).await;
        peer.went_silent(Instant::now());
        assert_eq!(None, peer.target());
        assert_eq!(Some(3), peer.unproven().map(|unproven| unproven.len()));
        assert_eq!(None, peer.unproven(), "asked a moment ago");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_is_alive_and_gets_no_more() {
        let peer = peer();
        let sent = Instant::now();
        advance(Duration::from_millis(250)).await;
        peer.went_silent(sent);
        let leaving = ReplyHead {
            leaving: true,
            ..by("a")
        };
        peer.answered(&leaving);
        assert_eq!(None, peer.target());
        peer.answered(&by("b"));
        assert_eq!(Some("b".into()), peer.target());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_sign_of_life_is_woken_by_the_first() {
        let peer = peer();
        let sent = Instant::now();
        advance(Duration::from_millis(250)).await;
        peer.went_silent(sent);
        let ((), ()) = tokio::join!(peer.somebody_is_alive(), async {
            tokio::task::yield_now().await;
            peer.answered(&by("b"));
        });
        assert_eq!(Some("b".into()), peer.target());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_is_not_addressed() {
        let peer = peer();
        let sent = Instant::now();
        advance(Duration::from_millis(1)).await;
        peer.answered(&by("a"));
        peer.went_silent(sent);
        peer.forget("a");
        assert_eq!(None, peer.target());
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_instances_are_remembered_as_there_is_room_for() {
        let peer = Peer::new(SERVICE);
        for id in 0..1_000 {
            peer.answered(&by(&id.to_string()));
            advance(Duration::from_millis(1)).await;
        }
        let instances = peer.instances();
        assert_eq!(MAX_KNOWN, instances.known.len());
        assert!(instances.known.iter().any(|known| &*known.id == "999"));
    }

    /// The model: a hundred in ten seconds, and one for every ten calls of that time.
    #[tokio::test(start_paused = true)]
    async fn repetitions_keep_to_the_budget() {
        let peer = Peer::new(SERVICE);
        let mut repeated = 0;
        let (mut calls, mut last_window) = (0_u32, 0);
        for tick in 0..6_000 {
            calls += 1;
            peer.called();
            if peer.may_repeat() {
                repeated += 1;
                last_window += u32::from(tick >= 4_000);
            }
            advance(Duration::from_millis(5)).await;
        }
        assert_eq!(6_000, calls);
        // 2,000 calls in the last ten seconds.
        assert!((200..=330).contains(&last_window), "{last_window}");
        assert!(repeated <= 6_000 / 10 + 400, "{repeated}");
    }

    #[test]
    fn a_service_has_one_budget_however_many_callers() {
        let peers = Peers::default();
        let (one, other) = (peers.of(SERVICE), peers.of(SERVICE));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(!Arc::ptr_eq(&one, &peers.of(Service::new("other"))));
    }
}
