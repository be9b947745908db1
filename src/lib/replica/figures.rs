//! What a replica counts anyway, as metrics.

use std::{fmt, sync::Arc};

use super::dispatch::Core;
use crate::metrics::{Figures, Label};

/// Where requests come in: the operations are on NATS, an edge has a name of its own.
const NATS: Label = ("entrance", "nats");

/// Makes the replica's figures a part of its process's metrics, for as long as it lives.
pub(super) fn show(core: &Arc<Core>) {
    let weak = Arc::downgrade(core);
    core.client.metrics().collect("replica", move |figures| {
        weak.upgrade().map_or(Ok(()), |core| core.collect(figures))
    });
}

impl Core {
    fn collect(&self, figures: &mut Figures<'_>) -> fmt::Result {
        let admission = &self.admission;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        figures.gauge(
            "requests_in_flight",
            "Requests that are worked on",
            count(admission.ongoing()),
        )?;
        figures.gauge(
            "requests_queued",
            "Requests that wait for a place",
            count(admission.queued()),
        )?;
        figures.gauge(
            "requests_limit",
            "Requests that may be worked on at once",
            count(admission.limit()),
        )?;
        figures.gauge(
            "draining",
            "Whether the process is leaving",
            u64::from(self.is_draining()),
        )?;
        figures.counter(
            "requests_expired",
            "Requests that came too late to be begun",
            self.expired(),
        )?;
        figures.counter(
            "requests_unanswered",
            "Requests that came faster than they could be refused",
            self.refusals.lost(),
        )?;
        let entrances: Vec<[Label; 1]> = (self.reports.iter())
            .map(|(name, _)| [("entrance", *name)])
            .chain([[NATS]])
            .collect();
        let edges = || self.reports.iter().map(|(_, counters)| counters);
        let mut write = |name, help, values: Vec<u64>| {
            let values: Vec<(&[Label], u64)> = (entrances.iter().zip(values))
                .map(|(entrance, value)| (entrance.as_slice(), value))
                .collect();
            figures.counters(name, help, &values)
        };
        let shed = edges().map(|edge| edge.refused());
        let shed = shed.chain([self.refusals.refused()]).collect();
        write("requests_shed", "Requests that were refused for load", shed)?;
        let panics = edges().map(|edge| edge.panics());
        let panics = panics.chain([self.panics()]).collect();
        write("handler_panics", "Handlers that panicked", panics)?;
        let abandoned = edges().map(|edge| edge.abandoned()).collect();
        write(
            "requests_abandoned",
            "Requests whose client went before the answer",
            abandoned,
        )
    }
}
