//! A family of series, of which the first are found without hashing their labels.

use std::{
    fmt,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{
        TypedMetric,
        family::{Family, MetricConstructor},
    },
};

/// As many are compared with. A process has a few operations, and most of what it does ends well: those come first.
const COMPARED: usize = 16;

/// Clones share the series.
#[derive(Clone)]
pub(super) struct Series<L, M, C = fn() -> M> {
    family: Family<L, M, C>,
    first: Arc<RwLock<Vec<(L, M)>>>,
}

impl<L, M, C> Series<L, M, C>
where
    L: Clone + Hash + Eq,
    M: Clone,
    C: MetricConstructor<M>,
{
    pub(super) fn new(constructor: C) -> Self {
        Self {
            family: Family::new_with_constructor(constructor),
            first: Arc::default(),
        }
    }

    /// Notes something in the series of these labels.
    pub(super) fn note(&self, labels: &L, note: impl FnOnce(&M)) {
        // Nothing panics while the lock is held, so a poisoned one is as good as new.
        let first = self.first.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, metric)) = first.iter().find(|(known, _)| known == labels) {
            return note(metric);
        }
        let has_room = first.len() < COMPARED;
        drop(first);
        let metric = self.family.get_or_create_owned(labels);
        note(&metric);
        if has_room {
            self.remember(labels, metric);
        }
    }

    fn remember(&self, labels: &L, metric: M) {
        let mut first = self.first.write().unwrap_or_else(PoisonError::into_inner);
        if first.len() < COMPARED && first.iter().all(|(known, _)| known != labels) {
            first.push((labels.clone(), metric));
        }
    }
}

impl<L, M, C> Series<L, M, C>
where
    L: Clone + Hash + Eq + EncodeLabelSet,
    M: EncodeMetric + TypedMetric,
    C: MetricConstructor<M>,
{
    pub(super) fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.family.encode(encoder)
    }
}

impl<L, M, C> fmt::Debug for Series<L, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn more_series_than_are_compared_with_are_all_counted() {
        let series: Series<_, Counter> = Series::new(Counter::default);
        let all = || (0..3 * COMPARED).map(|number| [("number", number.to_string())]);
        for _ in 0..2 {
            all().for_each(|labels| series.note(&labels, |counter| _ = counter.inc()));
        }
        let counted = all().map(|labels| series.family.get_or_create(&labels).get());
        assert!(counted.into_iter().all(|count| count == 2));
        assert_eq!(COMPARED, series.first.read().expect("no panic").len());
    }
}
