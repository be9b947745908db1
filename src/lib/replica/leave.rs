//! Leaving: take no more, finish what was accepted, lose nothing.
//!
//! A plain drain drops messages that are on their way to us. Instead the server is asked to deliver a
//! few more and then stop; where traffic is too low for those to come, a quiet moment will do.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::{Core, Subscriptions};
use crate::Shutdown;

/// How long arrivals are counted, to know how many may be under way.
const COUNTING: Duration = Duration::from_millis(100);
/// Without a message for so long nothing is under way any more.
const QUIET: Duration = Duration::from_millis(200);
/// Longest time in the group after it was left.
const LAST_DELIVERIES: Duration = Duration::from_secs(1);
/// Longest time for the last replies to reach the server.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn leave(
    core: Arc<Core>,
    mut subscriptions: Subscriptions,
    handlers: TaskTracker,
    shutdown: &Shutdown,
) {
    let grace_ends = Instant::now() + core.limits.shutdown_grace;
    core.drain();
    let finished = tokio::select! {
        finished = finish(&core, &mut subscriptions, &handlers, grace_ends) => finished,
        () = shutdown.hurried() => false,
    };
    if !finished {
        tracing::warn!(
            unfinished = handlers.len(),
            "left with unfinished requests: the time for them is over"
        );
    }
    core.close();
    // What was answered meanwhile waits in the library for a connection.
    if core.has_answered_offline() {
        tokio::select! {
            _ = timeout_at(grace_ends, core.client.ready()) => {}
            () = shutdown.hurried() => {}
        }
    }
    if core.client.is_connected() {
        end(&core, subscriptions, &handlers, finished).await;
    }
}

/// Leaves the groups and finishes what was accepted; `false` when the time was too short for that.
async fn finish(
    core: &Arc<Core>,
    subscriptions: &mut Subscriptions,
    handlers: &TaskTracker,
    grace_ends: Instant,
) -> bool {
    // Without a connection nothing can arrive, and unsubscribing would wait for one. The groups are not joined
    // again with the next.
    if core.client.is_connected() {
        leave_groups(core, subscriptions, handlers, grace_ends).await;
    } else {
        read_and_forget(core, subscriptions, handlers);
    }
    core.close();
    handlers.close();
    // Callers ask whether we still work on what we have accepted; hence the instance's own subjects stay.
    let finishing = async {
        loop {
            tokio::select! {
                biased;
                next = subscriptions.next() => match next {
                    Some(message) => core.accept(message, handlers),
                    None => return handlers.wait().await,
                },
                () = handlers.wait() => return,
            }
        }
    };
    timeout_at(grace_ends, finishing).await.is_ok()
}

/// Takes what the groups have brought, and forgets them.
fn read_and_forget(core: &Arc<Core>, subscriptions: &mut Subscriptions, handlers: &TaskTracker) {
    while let Some(Some(message)) = subscriptions.next().now_or_never() {
        core.accept(message, handlers);
    }
    subscriptions.forget_groups();
}

async fn leave_groups(
    core: &Arc<Core>,
    subscriptions: &mut Subscriptions,
    handlers: &TaskTracker,
    grace_ends: Instant,
) {
    // On another connection than the one on which they were joined the server counts anew, and the library does not.
    let stays = |subscriptions: &Subscriptions| {
        let is_so = subscriptions.were_joined_on(core.client.connections());
        is_so && core.client.is_connected()
    };
    let before = subscriptions.delivered();
    let counted = (Instant::now() + COUNTING).min(grace_ends);
    while let Ok(Some(message)) = timeout_at(counted, subscriptions.next()).await {
        core.accept(message, handlers);
    }
    if !stays(subscriptions) {
        read_and_forget(core, subscriptions, handlers);
        return;
    }
    let last = (Instant::now() + LAST_DELIVERIES).min(grace_ends);
    let _ = timeout_at(last, async {
        subscriptions.begin_leaving(&before).await;
        while let Ok(Some(message)) = timeout(QUIET, subscriptions.next_of_groups()).await {
            core.accept(message, handlers);
        }
    })
    .await;
    if !stays(subscriptions) {
        read_and_forget(core, subscriptions, handlers);
        return;
    }
    let _ = timeout(QUIET, async {
        subscriptions.drain_groups().await;
        while let Some(message) = subscriptions.next_of_groups().await {
            core.accept(message, handlers);
        }
    })
    .await;
}

/// Gives up the instance's own subjects too, and sees that the server has all replies.
async fn end(
    core: &Arc<Core>,
    mut subscriptions: Subscriptions,
    handlers: &TaskTracker,
    finished: bool,
) {
    let _ = timeout(QUIET, async {
        subscriptions.drain_rest().await;
        // Refusals and signs of life, which take no time.
        while let Some(message) = subscriptions.next().await {
            core.accept(message, handlers);
        }
    })
    .await;
    let _ = timeout(FLUSH_TIMEOUT, async {
        if finished {
            handlers.wait().await;
        }
        // A round trip, not a flush of the socket: after it the server has our replies and sends nothing more.
        core.client.round_trip(FLUSH_TIMEOUT).await;
        // What has arrived is in the channels by now.
        while let Ok(Some(_)) = timeout(Duration::ZERO, subscriptions.next()).await {}
    })
    .await;
    let read = subscriptions.delivered_in_all() + core.client.dropped_messages();
    let unread = core.client.arrived().saturating_sub(read);
    if unread > 0 {
        tracing::warn!(
            unread,
            "messages came after the subscriptions had ended; idempotent calls are repeated by their callers"
        );
    }
}
