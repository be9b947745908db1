//! Everything a replica listens to, read as one stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use async_nats::{Message, SubscribeError, Subscriber};
use futures_util::Stream;
use tokio::task::coop::unconstrained;

use super::{discovery::Verb, dispatch::Core};

/// Where a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The queue group of the endpoint at this position.
    Group(usize),
    /// This one replica: `inst.<service>.<instance>.<operation>`.
    Instance,
    /// `$SRV.<verb>`, `$SRV.<verb>.<name>`, `$SRV.<verb>.<name>.<id>`.
    Discovery(Verb),
}

/// Messages that are asked for beyond those that are surely under way. The server delivers exactly as many
/// as it is told and then ends the subscription, so none is lost on the wire; too many would never come
/// at low traffic.
const MARGIN: u64 = 16;

#[derive(Debug)]
struct Subscription {
    source: Source,
    subscriber: Subscriber,
    delivered: u64,
    ended: bool,
}

/// The subscriptions of one replica, polled in turn so that none starves another.
#[derive(Debug)]
pub(super) struct Subscriptions {
    all: Vec<Subscription>,
    turn: usize,
    /// Of the client's connections, the one on which the groups were joined.
    joined_on: Option<u64>,
    /// What was delivered by groups that were joined on an earlier one.
    delivered_before: u64,
}

impl Subscriptions {
    /// Subscribes the groups, the instance's own subjects and discovery.
    pub(super) async fn open(core: &Core) -> Result<Self, SubscribeError> {
        let nats = core.client.nats();
        let instance = core.client.instance();
        let (service, id) = (instance.service(), instance.id());
        let mut this = Self {
            all: Vec::new(),
            turn: 0,
            joined_on: None,
            delivered_before: 0,
        };
        this.join_groups(core).await?;
        let own = format!("inst.{}.{id}.*", service.subject());
        this.add(Source::Instance, nats.subscribe(own).await?);
        for verb in Verb::ALL {
            for subject in verb.subjects(service.name(), id) {
                this.add(Source::Discovery(verb), nats.subscribe(subject).await?);
            }
        }
        Ok(this)
    }

    /// Joins the groups, on the present connection.
    pub(super) async fn join_groups(&mut self, core: &Core) -> Result<(), SubscribeError> {
        let connection = core.client.connections();
        let group = core.client.instance().service().subject();
        for (at, endpoint) in core.endpoints.iter().enumerate() {
            let joining = core.client.nats();
            let joining = joining.queue_subscribe(endpoint.names.subject, group.to_owned());
            self.add(Source::Group(at), joining.await?);
        }
        self.joined_on = Some(connection);
        Ok(())
    }

    /// Forgets groups that were joined on a connection which is gone; `true` if there were any. What they have
    /// brought must have been read.
    ///
    /// The library would join them again by itself. But it counts a subscription's messages over all connections
    /// and the server over one, and who leaves after a number of messages needs both to count the same. And who
    /// leaves while there is no connection would be back in the group with the next.
    pub(super) fn forget_groups(&mut self) -> bool {
        self.joined_on = None;
        let before = self.all.len();
        let (groups, others) = std::mem::take(&mut self.all)
            .into_iter()
            .partition(|one| matches!(one.source, Source::Group(_)));
        let groups: Vec<Subscription> = groups;
        self.delivered_before += groups.iter().map(|group| group.delivered).sum::<u64>();
        self.all = others;
        self.all.len() < before
    }

    /// Tells whether the groups were joined on a connection.
    pub(super) fn were_joined_on(&self, connection: u64) -> bool {
        self.joined_on == Some(connection)
    }

    fn add(&mut self, source: Source, subscriber: Subscriber) {
        self.all.push(Subscription {
            source,
            subscriber,
            delivered: 0,
            ended: false,
        });
    }

    /// Waits for the next message; `None` when every subscription has ended.
    ///
    /// Reads on for as long as there are messages, whatever tokio thinks of the time that this takes: what is not
    /// read by the time that the connection has read its next share may find no room in the library's channel.
    pub(super) async fn next(&mut self) -> Option<(Source, Message)> {
        unconstrained(std::future::poll_fn(|context| self.poll_next(context))).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(Source, Message)>> {
        let count = self.all.len();
        let mut open = false;
        for step in 0..count {
            let at = (self.turn + step) % count;
            let subscription = &mut self.all[at];
            if subscription.ended {
                continue;
            }
            match Pin::new(&mut subscription.subscriber).poll_next(context) {
                Poll::Ready(Some(message)) => {
                    subscription.delivered += 1;
                    self.turn = at + 1;
                    return Poll::Ready(Some((subscription.source, message)));
                }
                Poll::Ready(None) => subscription.ended = true,
                Poll::Pending => open = true,
            }
        }
        if open {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    }

    /// The same, but `None` once all groups are left.
    pub(super) async fn next_of_groups(&mut self) -> Option<(Source, Message)> {
        std::future::poll_fn(|context| {
            let next = self.poll_next(context);
            let in_a_group = self.all.iter().any(Subscription::is_in_group);
            if next.is_pending() && !in_a_group {
                return Poll::Ready(None);
            }
            next
        })
        .await
    }

    /// Returns how many messages there were in all.
    pub(super) fn delivered_in_all(&self) -> u64 {
        self.delivered_before + self.delivered().iter().sum::<u64>()
    }

    /// Returns how many messages each subscription has brought.
    pub(super) fn delivered(&self) -> Vec<u64> {
        let all = self.all.iter();
        all.map(|subscription| subscription.delivered).collect()
    }

    /// Leaves discovery at once, and the groups after what is under way: twice what has come since
    /// `before`, and a few more.
    pub(super) async fn begin_leaving(&mut self, before: &[u64]) {
        for (subscription, before) in self.all.iter_mut().zip(before) {
            let _ = match subscription.source {
                Source::Discovery(_) => subscription.subscriber.drain().await,
                Source::Group(_) => {
                    let come = subscription.delivered - before;
                    let last = subscription.delivered + 2 * come + MARGIN;
                    subscription.subscriber.unsubscribe_after(last).await
                }
                Source::Instance => Ok(()),
            };
        }
    }

    /// Leaves the groups whose last messages have not come.
    ///
    /// A drain keeps what the server sends until the connection is next busy, where `unsubscribe` drops
    /// it at once.
    pub(super) async fn drain_groups(&mut self) {
        for subscription in self.all.iter_mut().filter(|one| one.is_in_group()) {
            let _ = subscription.subscriber.drain().await;
        }
    }

    /// Ends what is left; what has arrived can still be read.
    pub(super) async fn drain_rest(&mut self) {
        for subscription in self.all.iter_mut().filter(|one| !one.ended) {
            let _ = subscription.subscriber.drain().await;
        }
    }
}

impl Subscription {
    fn is_in_group(&self) -> bool {
        matches!(self.source, Source::Group(_)) && !self.ended
    }
}
