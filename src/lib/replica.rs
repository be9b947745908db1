//! The replica's side: handlers behind admission, in a queue group.
//!
//! The receive loop reads, decides and hands on; it never waits for a handler. What is too much is
//! answered `overloaded` at once, what has expired is dropped, and leaving loses nothing that the
//! server has already given to this process.
//!
//! # What is promised
//!
//! - A handler is begun only for a request that somebody still waits for: its time is not up, counted from the
//!   edge and with what it spent in buffers on its way, as far as this process knows the sender's clock.
//! - At most [`Limits::max_ongoing`] handlers run, and at most [`Limits::max_queued`] requests wait, each at
//!   most [`Limits::queue_wait`]. Everything else is answered `overloaded`, marked as not begun, at once, for as long
//!   as requests don't come faster than the connection can be read: then nothing goes out, and all of them count.
//! - A handler that takes longer than 25 ms is announced to the caller by an interim `accepted`. From then on, and
//!   until its last handler has ended, the process answers the caller's pings.
//! - A handler that is not done 20 ms after its deadline is dropped there, and answered `deadline_exceeded`; until then it
//!   may say itself what came too late.
//! - A panic in a handler is answered `internal`, logged with the trace's id, and counted; nothing else is harmed.
//! - A reply that NATS would refuse for its size is answered `internal`; the connection is not harmed.
//! - Leaving answers all that was accepted, within [`Limits::shutdown_grace`].
//!
//! Not promised: that a message is not lost which is on its way when the group is left at a rate of under some
//! twenty a second for an operation, in the moment of a reconnect, or when the process is killed. The caller notices by the
//! silence and repeats what is idempotent.

mod admission;
mod answers;
mod counters;
mod ctx;
mod discovery;
mod dispatch;
mod endpoint;
mod figures;
mod lateness;
mod leave;
mod refusals;
mod subscriptions;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::TaskTracker;

pub(crate) use admission::Admission;
pub(crate) use counters::Counters;
pub use ctx::Ctx;
use discovery::Profile;
use dispatch::Core;
use endpoint::Endpoint;
pub use endpoint::Handler;
use subscriptions::Subscriptions;

use crate::{
    Client, Operation, Shutdown,
    client::{self, RoundTrip},
    health,
    operation::Names,
};

/// How long the server may take to confirm the subscriptions.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than anybody waits for a place, or for a process that leaves.
const MAX_WAIT: Duration = Duration::from_hours(24);
/// How often a replica looks whether it is in its groups.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How much a replica takes on, and how long it stays when told to leave.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests handled at the same time. Default 64.
    pub max_ongoing: usize,
    /// Requests that may wait for one of those places. Default 128.
    pub max_queued: usize,
    /// How long they wait before they are answered `overloaded`. Default 50 ms.
    pub queue_wait: Duration,
    /// How long running handlers may take to finish when the replica leaves. Default 10 s.
    pub shutdown_grace: Duration,
}

impl Limits {
    /// Returns what can be counted with: "no limit" is a wish that somebody has.
    pub(crate) fn bounded(self) -> Self {
        let places = tokio::sync::Semaphore::MAX_PERMITS;
        Self {
            max_ongoing: self.max_ongoing.min(places),
            max_queued: self.max_queued.min(places),
            queue_wait: self.queue_wait.min(MAX_WAIT),
            shutdown_grace: self.shutdown_grace.min(MAX_WAIT),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_ongoing: 64,
            max_queued: 128,
            queue_wait: Duration::from_millis(50),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// Says why a replica could not start to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The subscriptions were not confirmed.
    #[error("the service's subjects can't be subscribed")]
    Subscribe(#[source] client::Error),
    /// The server refused a subscription.
    #[error(
        "NATS forbids {0}: does this process use its own service's key, and has the server its permissions?"
    )]
    Forbidden(String),
}

/// Answers the operations of one service, beside all other replicas of it.
///
/// ```no_run
/// # use nats_serve::*;
/// # use serde::{Deserialize, Serialize};
/// # const CLOCK: Service = Service::new("clock");
/// # struct GetTime;
/// # impl Operation for GetTime {
/// #     const SERVICE: Service = CLOCK;
/// #     const NAME: &'static str = "get_time";
/// #     type Request = String;
/// #     type Reply = String;
/// # }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect(&Instance::new(CLOCK), client::Options::default()).await?;
/// Replica::new(&client)
///     .handle::<GetTime>(async |_ctx, city: String| Ok(format!("noon in {city}")))
///     .run(&Shutdown::on_signals()?)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a replica serves when it is run"]
pub struct Replica {
    client: Client,
    limits: Limits,
    endpoints: Vec<Endpoint>,
    admission: Option<Arc<Admission>>,
    reports: Vec<(&'static str, Arc<Counters>)>,
    metadata: BTreeMap<String, String>,
}

impl Replica {
    /// Makes a replica of the client's service, with default [`Limits`] and no operations yet.
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            limits: Limits::default(),
            endpoints: Vec::new(),
            admission: None,
            reports: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }

    /// Sets how much this replica takes on.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits.bounded();
        self
    }

    /// Adds a fact that discovery shows of this replica: where its admin address is, for one.
    ///
    /// `deployment` is there already and stays as it is.
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Answers an operation with a handler.
    ///
    /// The handler gets the request's [`Ctx`] and the request, and runs inside the request's span
    /// and under its deadline: when the time is up the handler's future is dropped and the caller is
    /// answered `deadline_exceeded`. A panic is answered `internal`; the replica serves on. An error's
    /// cause is logged here, once, and stays here.
    ///
    /// # Panics
    ///
    /// Panics when the operation belongs to another service than the client's, or has a handler.
    pub fn handle<O: Operation>(mut self, handler: impl Handler<O>) -> Self {
        let names = Names::of::<O>();
        let service = self.client.instance().service();
        assert_eq!(
            names.service.subject(),
            service.subject(),
            "{} is no operation of {}",
            names.rpc_method,
            service.name()
        );
        assert!(
            !self
                .endpoints
                .iter()
                .any(|known| known.names.operation == names.operation),
            "{} has a handler",
            names.rpc_method
        );
        self.endpoints.push(Endpoint::new(names, handler));
        self
    }

    /// Shows another entrance's figures and load in discovery, beside the operations.
    #[cfg(feature = "http")]
    pub(crate) fn report(
        mut self,
        name: &'static str,
        counters: Arc<Counters>,
        admission: Arc<Admission>,
    ) -> Self {
        self.admission = Some(admission);
        self.reports.push((name, counters));
        self
    }

    /// Joins the group and returns once the server has confirmed it; requests are served from then on.
    ///
    /// Waits for NATS as long as it takes.
    ///
    /// # Errors
    ///
    /// Returns an error when the subscriptions are not confirmed, most likely for want of permission.
    ///
    /// # Cancellation
    ///
    /// Dropping the future or the result leaves the group without waiting for handlers.
    pub async fn start(self) -> Result<Running, Error> {
        let health = self.client.health().clone();
        health.fail(health::GROUP, "not joined yet");
        self.client.ready().await;
        let admission = self
            .admission
            .unwrap_or_else(|| Arc::new(Admission::new(self.limits)));
        let core = Arc::new(Core::new(
            &self.client,
            self.limits,
            admission,
            self.endpoints,
            self.reports,
            Profile::of(self.client.instance(), self.metadata),
        ));
        figures::show(&core);
        let subscriptions = Subscriptions::open(&core)
            .await
            .map_err(|error| Error::Subscribe(client::Error::Subscribe(error)))?;
        let confirmed = self.client.confirm(CONFIRM_TIMEOUT).await;
        // A refusal comes before the confirmation, but by way of another task. One that is noticed later
        // makes the process not ready.
        tokio::task::yield_now().await;
        if let Some(forbidden) = self.client.forbidden_subscription() {
            return Err(Error::Forbidden(forbidden));
        }
        confirmed.map_err(Error::Subscribe)?;
        health.pass(health::GROUP, "joined");
        Ok(Running {
            core,
            subscriptions,
            handlers: TaskTracker::new(),
        })
    }

    /// Serves until shutdown is requested, then leaves.
    ///
    /// # Errors
    ///
    /// As [`Replica::start`]. Asked to leave before NATS was there, it returns `Ok`.
    pub async fn run(self, shutdown: &Shutdown) -> Result<(), Error> {
        let running = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            running = self.start() => running?,
        };
        running.until(shutdown).await;
        Ok(())
    }
}

/// A replica that has joined its group.
#[derive(Debug)]
#[must_use = "nothing is answered until it is run"]
pub struct Running {
    core: Arc<Core>,
    subscriptions: Subscriptions,
    handlers: TaskTracker,
}

impl Running {
    /// Serves until shutdown is requested, then leaves: takes no more, finishes what it has accepted
    /// within `Limits::shutdown_grace`, and sends the replies.
    ///
    /// Leaving takes 0.3 to 1.3 s where no handler runs longer, a second more at most for the last replies,
    /// and no time without a connection, unless answers wait for it. [`Shutdown::hurry`] ends it at once; what is
    /// unfinished is dropped with the runtime.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the group without waiting for handlers; those that run go on, and their
    /// replies are sent if the runtime lives that long.
    pub async fn until(mut self, shutdown: &Shutdown) {
        let left = Left(self.core.client.clone());
        let client = self.core.client.clone();
        let mut connection = client.connection();
        let mut rejoined = Rejoined::default();
        // Also where the news of a connection got lost, or the server did not confirm in time.
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Ok(()) = connection.changed() => {}
                _ = look.tick() => {}
                told = rejoined.confirmed() => {
                    match told {
                        RoundTrip::Back => client.health().pass(health::GROUP, "joined"),
                        RoundTrip::Lost | RoundTrip::Silent => self.forget_groups(),
                    }
                    continue;
                }
                next = self.subscriptions.next() => match next {
                    Some(message) => {
                        self.core.accept(message, &self.handlers);
                        continue;
                    }
                    // The client's connection was closed for good.
                    None => return,
                },
            }
            // By what the event says, too: the library sets its state after it.
            let is_connected = *connection.borrow_and_update() || client.is_connected();
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                () = self.follow(is_connected, &mut rejoined) => {}
            }
        }
        drop(left);
        // Before anything else, so that nobody sends here who could go elsewhere.
        self.core.client.health().fail(health::GROUP, "leaving");
        leave::leave(self.core, self.subscriptions, self.handlers, shutdown).await;
    }

    /// Joins the groups anew on each connection, and has the server confirm it.
    async fn follow(&mut self, is_connected: bool, rejoined: &mut Rejoined) {
        let client = self.core.client.clone();
        if is_connected && self.subscriptions.were_joined_on(client.connections()) {
            return;
        }
        rejoined.confirming = None;
        self.forget_groups();
        if !is_connected {
            return;
        }
        let joining = timeout(LOOK_EVERY, self.subscriptions.join_groups(&self.core));
        if let Ok(Ok(())) = joining.await {
            let confirming = async move { client.round_trip(CONFIRM_TIMEOUT).await };
            rejoined.confirming = Some(confirming.boxed());
        }
    }

    /// Reads what the groups have brought, and forgets them.
    fn forget_groups(&mut self) {
        while let Some(Some(message)) = self.subscriptions.next().now_or_never() {
            self.core.accept(message, &self.handlers);
        }
        if self.subscriptions.forget_groups() {
            let health = self.core.client.health();
            health.fail(
                health::GROUP,
                "lost with the connection, not joined again yet",
            );
        }
    }
}

/// Says that the group is left, also where nobody was asked to leave it.
struct Left(Client);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.health().fail(health::GROUP, "left");
    }
}

/// Groups that were joined anew, and may not be known to the server yet.
#[derive(Default)]
struct Rejoined {
    confirming: Option<BoxFuture<'static, RoundTrip>>,
}

impl Rejoined {
    /// Waits until the server has confirmed them, or has not; forever if nothing is to be confirmed.
    async fn confirmed(&mut self) -> RoundTrip {
        let Some(confirming) = &mut self.confirming else {
            return std::future::pending().await;
        };
        let told = confirming.await;
        self.confirming = None;
        told
    }
}
