//! What a client counts anyway, as metrics.

use std::sync::{Arc, Weak};

use super::Shared;
use crate::metrics::{Figures, Label, PREFIX, prometheus_client::metrics::gauge::Gauge};

/// Makes the client's figures a part of its process's metrics, for as long as it lives.
pub(super) fn show(client: &Arc<Shared>) {
    show_readiness(client);
    let weak: Weak<Shared> = Arc::downgrade(client);
    client.metrics.collect("client", move |figures| {
        weak.upgrade()
            .map_or(Ok(()), |client| client.collect(figures))
    });
}

/// Whether the process is ready is asked for: an application's checks may have to look.
fn show_readiness(client: &Shared) {
    let ready = Gauge::<i64>::default();
    client.metrics.register(|registry| {
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let help = "Whether the process is ready, as /readyz tells it";
        registry.register("ready", help, ready.clone());
    });
    let health = client.health.clone();
    client.metrics.refresh(move || {
        let (health, ready) = (health.clone(), ready.clone());
        async move {
            let report = health.report().await;
            ready.set(report.is_ready().into());
        }
    });
}

impl Shared {
    fn collect(&self, figures: &mut Figures<'_>) -> std::fmt::Result {
        let is_connected = u64::from(*self.connected.borrow());
        figures.gauge(
            "nats_connected",
            "Whether a NATS server is connected",
            is_connected,
        )?;
        figures.counter(
            "nats_disconnects",
            "Connections to NATS that were lost",
            self.trouble.disconnects(),
        )?;
        figures.counter(
            "replies_without_caller",
            "Replies to calls that had been given up",
            self.inbox.late(),
        )?;
        figures.counter(
            "messages_dropped",
            "Messages that found a full channel in the NATS library",
            self.trouble.dropped(),
        )?;
        let peers = self.peers.all();
        let labels: Vec<[Label; 1]> = peers
            .iter()
            .map(|peer| [("callee", peer.service().name())])
            .collect();
        let withheld: Vec<(&[Label], u64)> = (labels.iter().zip(&peers))
            .map(|(labels, peer)| (labels.as_slice(), peer.withheld()))
            .collect();
        figures.counters(
            "repetitions_withheld",
            "Calls that were not repeated because the budget for that was spent",
            &withheld,
        )
    }
}
