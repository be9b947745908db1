//! Leaving: take no more, finish what was accepted, lose nothing.
//!
//! A plain drain drops messages that are on their way to us. Instead the server is asked to deliver a
//! few more and then stop; where traffic is too low for those to come, a quiet moment will do.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::{Core, Subscriptions};

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
) {
    let grace_ends = Instant::now() + core.limits.shutdown_grace;
    core.drain();
    // Without a connection nothing can arrive, and unsubscribing would wait for one.
    if core.client.is_connected() {
        let last = (Instant::now() + LAST_DELIVERIES).min(grace_ends);
        let _ = timeout_at(last, async {
            subscriptions.begin_leaving().await;
            while let Ok(Some(message)) = timeout(QUIET, subscriptions.next()).await {
                core.accept(message, &handlers);
            }
        })
        .await;
        let _ = timeout(QUIET, async {
            subscriptions.end().await;
            while let Some(message) = subscriptions.next().await {
                core.accept(message, &handlers);
            }
        })
        .await;
    }
    handlers.close();
    if timeout_at(grace_ends, handlers.wait()).await.is_err() {
        tracing::warn!(
            unfinished = handlers.len(),
            "left with unfinished requests: the grace time is over"
        );
    }
    // A round trip, not a flush of the socket: after it the server has our replies and sends nothing more.
    if core.client.is_connected() {
        let _ = core.client.round_trip(FLUSH_TIMEOUT).await;
    }
}
