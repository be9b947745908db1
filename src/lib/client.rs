//! The caller's side: typed calls with a deadline, over a reply inbox of our own.
//!
//! async-nats' own `request` keeps an entry for every call that never got an answer, and can wait
//! beyond its timeout while disconnected; hence `client/inbox.rs`.

mod attempt;
mod call;
mod connection;
mod figures;
mod gate;
mod inbox;
mod nkey;
mod peer;
mod publish;
mod servers;
mod survey;
mod tls;
mod trouble;
mod unanswered;
mod violation;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use opentelemetry::{Context, trace::TraceContextExt};
use tokio::sync::{OnceCell, watch};
use tokio_util::task::AbortOnDropHandle;

pub use gate::{Gate, GateAddress, Verdict};
pub use nkey::Nkey;
pub use survey::{EndpointStats, ServiceStats};
pub use tls::{Identity, Tls};
pub use unanswered::Unanswered;

use crate::{
    Code, Health, Instance, Operation, Status, context::RequestScope, message::MAX_TIMEOUT,
    metrics::Metrics, operation::Names, telemetry::spans,
};
pub(crate) use attempt::PING;
use connection::Connection;
pub(crate) use connection::without_credentials;
use gate::Gates;
use inbox::{Inbox, Sent};
use peer::Peers;
use servers::Servers;
use trouble::Trouble;

/// An answer is worth this much waiting for a connection, no more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How a process connects and how long it waits. A time above 30 s counts as 30 s.
#[derive(Debug, Clone)]
pub struct Options {
    /// Servers of one NATS cluster, comma-separated. Default `nats://127.0.0.1:4222`.
    pub url: String,
    /// The key that this process shows. Default none: the server lets everybody in.
    pub nkey: Option<Nkey>,
    /// Whom it trusts and what it shows where the servers speak TLS. Default: the system's authorities.
    pub tls: Tls,
    /// Time for a call that no request is waiting for, and so has no deadline to inherit. Default 2 s.
    pub request_timeout: Duration,
    /// How long an attempt may go without a sign of life from a replica: an answer, or its word that it
    /// is working on one, which comes after 25 ms. Then another attempt is made, if the operation is
    /// idempotent. Default 250 ms, at least 10 ms.
    pub attempt_timeout: Duration,
    /// How long a call waits for the connection to come back before it is `unavailable`. Default 40 ms.
    pub reconnect_wait: Duration,
    /// How long calls wait for a service of which no replica listens, from the first that finds it so: its replicas
    /// may all be restarting. Once it has been away for that time no call waits, unless there was none for that time, and for a
    /// second: then it may well have been there. Default 0: it is `unavailable` at once, after three attempts.
    pub absence_wait: Duration,
    /// How often the server is asked whether it is there: after three of these without an answer the connection is given
    /// up, and another server taken. Default 5 s, at least 100 ms; the library's own is a minute.
    pub ping_interval: Duration,
}

/// Less would be a question after the other.
const MIN_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(10);
const MIN_PING_INTERVAL: Duration = Duration::from_millis(100);

impl Options {
    /// No wait is longer than a request may take.
    fn bounded(mut self) -> Self {
        self.attempt_timeout = self.attempt_timeout.max(MIN_ATTEMPT_TIMEOUT);
        self.ping_interval = self.ping_interval.max(MIN_PING_INTERVAL);
        for wait in [
            &mut self.request_timeout,
            &mut self.attempt_timeout,
            &mut self.reconnect_wait,
            &mut self.absence_wait,
            &mut self.ping_interval,
        ] {
            *wait = MAX_TIMEOUT.min(*wait);
        }
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            nkey: None,
            tls: Tls::default(),
            request_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_millis(250),
            reconnect_wait: Duration::from_millis(40),
            absence_wait: Duration::ZERO,
            ping_interval: Duration::from_secs(5),
        }
    }
}

/// Says why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL does not name a server.
    #[error("`{url}` is not a NATS URL; one looks like nats://127.0.0.1:4222")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// The text is no key.
    #[error(
        "there is no seed of a user's nkey; one is a line of 58 characters that begins with SU"
    )]
    Nkey,
    /// The connection can't be set up.
    #[error("the NATS connection can't be set up")]
    Connect(#[source] async_nats::ConnectError),
    /// The connection ended before the inbox was subscribed.
    #[error("the reply inbox can't be subscribed")]
    Subscribe(#[source] async_nats::SubscribeError),
    /// The server did not send our own message back in time.
    #[error("NATS did not confirm the subscriptions within {0:?}; are they permitted?")]
    Unconfirmed(Duration),
}

/// Calls operations of other services.
///
/// Cheap to clone; all clones share one connection and one reply inbox, which end with the last.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    nats: async_nats::Client,
    instance: Instance,
    health: Health,
    metrics: Metrics,
    options: Options,
    servers: Arc<Servers>,
    connected: watch::Receiver<bool>,
    refused: Arc<AtomicBool>,
    inbox: Arc<Inbox>,
    trouble: Arc<Trouble>,
    peers: Peers,
    gates: OnceCell<Gates>,
    _inbox_task: AbortOnDropHandle<()>,
    _looking: AbortOnDropHandle<()>,
}

impl Client {
    /// Sets up the connection and the reply inbox of this process.
    ///
    /// Returns at once, whether or not a server answers: it goes on trying for as long as the client
    /// lives, also while a server refuses the key, which is logged once and
    /// [`is_refused`](Self::is_refused) tells. [`ready`](Self::ready) waits for the server.
    ///
    /// # Errors
    ///
    /// Returns an error when the URL is malformed.
    pub async fn connect(instance: &Instance, options: Options) -> Result<Self, Error> {
        let options = options.bounded();
        let inbox = Arc::new(Inbox::new(instance));
        let health = Health::default();
        let trouble = Arc::new(Trouble::new(&health));
        let Connection {
            nats,
            servers,
            connected,
            refused,
            looking,
        } = Connection::open(instance, &options, &inbox, &trouble, &health).await?;
        let replies = nats
            .subscribe(inbox.subject())
            .await
            .map_err(Error::Subscribe)?;
        let receiving = tokio::spawn(Inbox::receive(Arc::clone(&inbox), replies));
        let client = Self {
            shared: Arc::new(Shared {
                nats,
                instance: instance.clone(),
                health,
                metrics: Metrics::new(instance),
                options,
                servers,
                connected,
                refused,
                inbox,
                trouble,
                peers: Peers::default(),
                gates: OnceCell::new(),
                _inbox_task: AbortOnDropHandle::new(receiving),
                _looking: looking,
            }),
        };
        figures::show(&client.shared);
        Ok(client)
    }

    /// Waits until a server has accepted the connection, for as long as that takes.
    ///
    /// Dropping the future changes nothing.
    pub async fn ready(&self) {
        // The sender lives in the connection's callback, so this fails only when that is gone.
        let _ = self.shared.connected.clone().wait_for(|up| *up).await;
    }

    /// Tells whether a server is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.nats.connection_state() == async_nats::connection::State::Connected
    }

    /// Tells whether a server answers and has refused our key, or wants one that we have not.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Returns why the last attempt to connect failed, in the library's words.
    #[cfg(feature = "app")]
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.servers.failure()
    }

    /// Calls an operation and waits for its answer.
    ///
    /// The call is a span (`proxy_route_to_replica`) below the current one. Called while a request is
    /// being handled it has that request's deadline and id, otherwise `Options::request_timeout`.
    ///
    /// # Attempts
    ///
    /// What was surely not begun (no replica, a replica that refused for load) is repeated, and what may
    /// have begun (no sign of life, a replica that died, a lost connection) if the operation is
    /// idempotent: up to three attempts within the deadline, with pauses of 10 to 40 ms (after silence until
    /// another instance has given a sign of life, `attempt_timeout` at most), and over ten
    /// seconds no more repetitions of calls to a service than 100 and a tenth of its calls. A replica that
    /// says that it is working is waited for, whatever it takes. After a silent attempt first
    /// attempts go for 15 s to instances that have answered since. Where no replica listens, `absence_wait` says whether
    /// that is waited out; this is no attempt more.
    ///
    /// # Errors
    ///
    /// | code | [`Status::unanswered`] | when |
    /// |---|---|---|
    /// | `unavailable` | `NoResponders` | no replica listens |
    /// | `unavailable` | `Disconnected` | NATS is not connected, or the connection was lost meanwhile |
    /// | `unavailable` | `Gone` | the replica died while it worked on it, or its answer was lost, and it can't be repeated |
    /// | `overloaded`, or `unavailable` from one that leaves | `Busy` | the last replica that was tried refused |
    /// | `deadline_exceeded` | `TimedOut` | the time ran out; whether the work was done is unknown |
    /// | `internal` | `Forbidden` | NATS's permissions refuse the call |
    /// | `too_large` | | the request is over the server's `max_payload` |
    /// | any | `None` | as the handler answered |
    ///
    /// The call's own fate stays in the process that called; the handler's answer has none.
    ///
    /// # Cancellation
    ///
    /// Dropping the future forgets the call at once, and its place in the reply inbox; the replica is not
    /// told and may finish its work.
    pub async fn call<O: Operation>(&self, request: &O::Request) -> Result<O::Reply, Status> {
        let names = Names::of::<O>();
        let parent = Context::current();
        let scope = parent
            .get::<RequestScope>()
            .cloned()
            .unwrap_or_else(|| RequestScope::own_work(self.shared.options.request_timeout));
        let began = Instant::now();
        let span = spans::route(
            names,
            || self.shared.servers.current(),
            &scope.request_id,
            &parent,
        );
        let result = match serde_json::to_vec(request) {
            Ok(payload) => self.attempts(names, payload.into(), &scope, &span).await,
            Err(error) => Err(Status::internal(error)),
        };
        let result = result.and_then(|reply| decode_reply::<O>(&reply));
        let failed = result.as_ref().err();
        spans::end_route(&span, failed);
        let (spent, span) = (began.elapsed(), span.span());
        let durations = self.shared.metrics.calls();
        durations.note(names, failed, spent, span.span_context());
        result
    }

    /// Returns the process that this client calls for.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.shared.instance
    }

    /// Returns whether this process is ready, as far as the runtime knows; add checks of your own.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// Returns the figures of this process; add some of your own.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Returns how many replies came for calls that had been given up.
    #[must_use]
    pub fn late_replies(&self) -> u64 {
        self.shared.inbox.late()
    }

    /// Tells whether an answer may go there. Whoever asks names the subject, and our permissions would
    /// carry the answer to services that he may not reach.
    pub(crate) fn is_inbox(&self, reply: &str) -> bool {
        self.shared.trouble.is_inbox(reply)
    }

    /// Returns what this process needs and NATS's permissions have refused on this connection, in words.
    #[cfg(feature = "app")]
    pub(crate) fn forbidden(&self) -> Option<String> {
        self.shared.trouble.first_forbidden()
    }

    /// The same for subscriptions alone: a refused message says nothing of what can be listened to.
    pub(crate) fn forbidden_subscription(&self) -> Option<String> {
        self.shared.trouble.forbidden_subscription()
    }

    /// Follows whether a server is connected.
    pub(crate) fn connection(&self) -> watch::Receiver<bool> {
        self.shared.connected.clone()
    }

    /// Returns how many connections there have been.
    pub(crate) fn connections(&self) -> u64 {
        let connects = &self.shared.nats.statistics().connects;
        connects.load(Ordering::Relaxed)
    }

    /// Returns how many messages found a full channel and were dropped, as far as the library tells: of a burst it
    /// tells of 128.
    #[must_use]
    pub fn dropped_messages(&self) -> u64 {
        self.shared.trouble.dropped()
    }

    /// Returns how many messages have arrived that the client itself has not read.
    pub(crate) fn arrived(&self) -> u64 {
        let arrived = &self.shared.nats.statistics().in_messages;
        let arrived = arrived.load(Ordering::Relaxed);
        arrived.saturating_sub(self.shared.inbox.received())
    }

    pub(crate) fn nats(&self) -> &async_nats::Client {
        &self.shared.nats
    }

    /// Sends an answer that has no deadline of its own. The library waits without bound while it is
    /// disconnected and its buffer full; whoever asked has given up by then.
    /// Returns whether the library has taken it.
    pub(crate) async fn answer(&self, to: Subject, headers: HeaderMap, payload: Bytes) -> bool {
        let sending = self.shared.nats.publish_with_headers(to, headers, payload);
        match tokio::time::timeout(ANSWER_TIMEOUT, sending).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => self.shared.trouble.unsent(&error),
            Err(_) => self.shared.trouble.unsent(&"NATS takes no more"),
        }
        false
    }

    /// Waits until the server has processed everything sent before, subscriptions included.
    ///
    /// A connection that is lost meanwhile is waited for, and asked again: only a server that is there
    /// and stays silent is an error.
    pub(crate) async fn confirm(&self, within: Duration) -> Result<(), Error> {
        loop {
            self.ready().await;
            match self.round_trip(within).await {
                RoundTrip::Back => return Ok(()),
                RoundTrip::Silent if self.is_connected() => return Err(Error::Unconfirmed(within)),
                RoundTrip::Silent | RoundTrip::Lost => {}
            }
        }
    }

    /// Sends a message to our own inbox: it comes back after everything that was sent before it.
    pub(crate) async fn round_trip(&self, within: Duration) -> RoundTrip {
        let this = self.shared.instance.service().subject();
        let mut waiter = self.shared.inbox.wait(this, Sent::Other, 1);
        let turn = async {
            let subject = waiter.subject();
            self.shared.nats.publish(subject, Bytes::new()).await.ok()?;
            waiter.next().await
        };
        match tokio::time::timeout(within, turn).await {
            Ok(Some(_)) => RoundTrip::Back,
            Ok(None) => RoundTrip::Lost,
            Err(_) => RoundTrip::Silent,
        }
    }

    /// Waits a short while for a lost connection; a call must not wait for it in a buffer.
    async fn connected(&self, at_most: Duration) -> bool {
        if self.is_connected() {
            return true;
        }
        let mut changes = self.shared.connected.clone();
        let back = async {
            loop {
                changes.mark_unchanged();
                if self.is_connected() || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(at_most, back).await;
        self.is_connected()
    }
}

/// How a message to ourselves fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoundTrip {
    Back,
    /// The connection was lost meanwhile.
    Lost,
    /// It did not come in time.
    Silent,
}

fn decode_reply<O: Operation>(reply: &[u8]) -> Result<O::Reply, Status> {
    serde_json::from_slice(reply).map_err(|error| {
        // The parser's words could repeat what the reply held.
        let (line, column) = (error.line(), error.column());
        tracing::error!(
            operation = Names::of::<O>().rpc_method,
            "the reply can't be read: line {line}, column {column}; do caller and replica run matching versions?"
        );
        Status::new(Code::Internal, "internal error")
    })
}
