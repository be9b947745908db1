//! Figures that are kept elsewhere, written when somebody asks.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Unit,
};

use super::{Metrics, PREFIX, lock};

/// A label and its value.
pub(crate) type Label = (&'static str, &'static str);

/// Writes figures of our own.
#[derive(Debug)]
pub(crate) struct Figures<'a>(DescriptorEncoder<'a>);

type Source = dyn Fn(&mut Figures<'_>) -> fmt::Result + Send + Sync;

/// Where such figures come from, each by its name.
#[derive(Clone, Default)]
pub(super) struct Sources(Arc<Mutex<BTreeMap<&'static str, Arc<Source>>>>);

impl Metrics {
    /// Adds figures that are read when somebody asks, in the place of those that the name had before.
    pub(crate) fn collect<F>(&self, name: &'static str, collect: F)
    where
        F: Fn(&mut Figures<'_>) -> fmt::Result + Send + Sync + 'static,
    {
        lock(&self.shared.sources.0).insert(name, Arc::new(collect));
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut figures = Figures(encoder);
        let sources = lock(&self.0).clone();
        sources.values().try_for_each(|source| source(&mut figures))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(lock(&self.0).keys()).finish()
    }
}

impl Figures<'_> {
    /// Writes a count, once for each set of labels.
    pub(crate) fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: &[(&[Label], u64)],
    ) -> fmt::Result {
        let name = format!("{PREFIX}_{name}");
        let mut family = self.describe(&name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            let none: Option<&Exemplar<NoLabelSet, f64>> = None;
            family.encode_family(labels)?.encode_counter(value, none)?;
        }
        Ok(())
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, &[(&[], value)])
    }

    /// Writes a state, once for each set of labels.
    pub(crate) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: &[(&[Label], u64)],
    ) -> fmt::Result {
        let name = format!("{PREFIX}_{name}");
        let mut family = self.describe(&name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            family.encode_family(labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauges(name, help, &[(&[], value)])
    }

    /// Writes a figure by its common name, which has no prefix.
    #[cfg(target_os = "linux")]
    pub(super) fn common(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        value: f64,
    ) -> fmt::Result {
        let mut metric = self.describe(name, help, None, kind)?;
        match kind {
            MetricType::Counter => {
                let none: Option<&Exemplar<NoLabelSet, f64>> = None;
                metric.encode_counter(&value, none)
            }
            _ => metric.encode_gauge(&value),
        }
    }

    /// The help of a registered metric ends with a full stop, so that of these does as well.
    pub(super) fn describe<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        let help = format!("{help}.");
        self.0.encode_descriptor(name, &help, unit, kind)
    }
}
