//! Everything a replica listens to, read as one stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use async_nats::{Message, SubscribeError, Subscriber};
use futures_util::Stream;

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

/// More than can be under way to this process when it leaves a group: the server delivers exactly
/// that many more before it ends the subscription, so none is lost on the wire.
const MARGIN: u64 = 64;

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
        };
        for (at, endpoint) in core.endpoints.iter().enumerate() {
            let group = nats.queue_subscribe(endpoint.names.subject, service.subject().to_owned());
            this.add(Source::Group(at), group.await?);
        }
        let own = format!("inst.{}.{id}.*", service.subject());
        this.add(Source::Instance, nats.subscribe(own).await?);
        for verb in Verb::ALL {
            for subject in verb.subjects(service.name(), id) {
                this.add(Source::Discovery(verb), nats.subscribe(subject).await?);
            }
        }
        Ok(this)
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
    pub(super) async fn next(&mut self) -> Option<(Source, Message)> {
        std::future::poll_fn(|context| self.poll_next(context)).await
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

    /// Leaves discovery at once and the groups after what is under way.
    pub(super) async fn begin_leaving(&mut self) {
        for subscription in &mut self.all {
            let _ = match subscription.source {
                Source::Discovery(_) => subscription.subscriber.unsubscribe().await,
                _ => {
                    let last = subscription.delivered + MARGIN;
                    subscription.subscriber.unsubscribe_after(last).await
                }
            };
        }
    }

    /// Ends every subscription; what has arrived can still be read.
    pub(super) async fn end(&mut self) {
        for subscription in &mut self.all {
            let _ = subscription.subscriber.unsubscribe().await;
        }
    }
}
