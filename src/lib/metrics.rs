//! The figures of a process, in OpenMetrics, for Prometheus and its kin.
//!
//! What is counted anyway is read when somebody asks; only durations are noted as they happen. Every label has a closed
//! set of values: operations, codes, route templates; so there are never more series than a system has of these.
//!
//! `http::Admin` answers `/metrics`. A process without it prints [`Metrics::text`] where it likes.

mod collect;
mod durations;
#[cfg(target_os = "linux")]
mod process;
mod spans;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use prometheus_client::{encoding, metrics::info::Info, registry::Registry};
use tokio::time::timeout;

use collect::Sources;
pub(crate) use collect::{Figures, Label};
#[cfg(feature = "http")]
pub(crate) use durations::HttpDurations;
use durations::{CallDurations, HandleDurations};
pub use prometheus_client;

use crate::Instance;

/// Prefix of what no convention has a name for.
pub(crate) const PREFIX: &str = "nats_serve";
/// Longest wait for figures that have to be asked for; then the last ones are shown. Longer than a check of health may
/// take, which is one of them.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);

/// Collects the figures of a process. Cheap to clone; a client has one, see
/// [`Client::metrics`](crate::Client::metrics).
///
/// The application adds its own:
///
/// ```
/// # use nats_serve::metrics::{Metrics, prometheus_client::metrics::counter::Counter};
/// # fn add(metrics: &Metrics) {
/// let greetings = Counter::<u64>::default();
/// metrics.register(|registry| {
///     registry.register("greetings", "Greetings sent", greetings.clone());
/// });
/// greetings.inc();
/// # }
/// ```
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

type Refresh = dyn Fn() -> BoxFuture<'static, ()> + Send + Sync;

struct Shared {
    registry: Mutex<Registry>,
    sources: Sources,
    refreshes: Mutex<Vec<Arc<Refresh>>>,
    calls: CallDurations,
    handlers: HandleDurations,
}

/// In which format figures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// OpenMetrics 1.0, with exemplars.
    #[default]
    OpenMetrics,
    /// The older text format of Prometheus, 0.0.4, without exemplars.
    Prometheus,
}

impl Metrics {
    pub(crate) fn new(instance: &Instance) -> Self {
        let mut registry = Registry::default();
        let service = instance.service();
        let target = Info::new([
            ("service_name", service.name().to_owned()),
            ("service_instance_id", instance.id().to_owned()),
            ("service_version", env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        registry.register("target", "Which process this is", target);
        let sources = Sources::default();
        registry.register_collector(Box::new(sources.clone()));
        let metrics = Self {
            shared: Arc::new(Shared {
                registry: Mutex::new(registry),
                sources,
                refreshes: Mutex::default(),
                calls: CallDurations::new(),
                handlers: HandleDurations::new(),
            }),
        };
        metrics.shared.calls.show(&metrics);
        metrics.shared.handlers.show(&metrics);
        metrics.collect("spans", spans::collect);
        #[cfg(target_os = "linux")]
        metrics.collect("process", process::collect);
        metrics
    }

    /// Adds figures; `add` gets the registry of `prometheus-client`.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry());
    }

    /// Adds something to be done before figures are read: for those that have to be asked for, like the length of a
    /// table. It has a second; after that the last figures are shown.
    pub fn refresh<F, Fut>(&self, refresh: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let refresh: Arc<Refresh> = Arc::new(move || Box::pin(refresh()));
        lock(&self.shared.refreshes).push(refresh);
    }

    /// Returns all figures as they are now.
    ///
    /// # Errors
    ///
    /// Returns an error where a collector of the application does: half a text would be taken for a whole one.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the refreshes under way; nothing else is changed.
    pub async fn text(&self, format: Format) -> Result<String, fmt::Error> {
        let refreshes = lock(&self.shared.refreshes).clone();
        let _ = timeout(
            REFRESH_TIMEOUT,
            join_all(refreshes.iter().map(|refresh| refresh())),
        )
        .await;
        let mut text = String::new();
        let registry = self.registry();
        match format {
            Format::OpenMetrics => encoding::text::encode(&mut text, &registry)?,
            Format::Prometheus => encoding::prometheus_text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }

    pub(crate) fn calls(&self) -> &CallDurations {
        &self.shared.calls
    }

    pub(crate) fn handlers(&self) -> &HandleDurations {
        &self.shared.handlers
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.shared.registry)
    }
}

impl Format {
    /// Returns its media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Nothing that could be left half done is done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

    use super::*;
    use crate::Service;

    #[derive(Debug)]
    struct Broken;

    impl Collector for Broken {
        fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }

    #[tokio::test]
    async fn half_a_text_is_none() {
        let metrics = Metrics::new(&Instance::new(Service::new("clock")));
        for format in [Format::OpenMetrics, Format::Prometheus] {
            let text = metrics.text(format).await.expect("written");
            assert!(text.contains("service_name=\"clock\""), "{text}");
        }
        metrics.register(|registry| registry.register_collector(Box::new(Broken)));
        assert!(metrics.text(Format::OpenMetrics).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_be_asked_for_is_waited_for_a_second_and_no_longer() {
        let metrics = Metrics::new(&Instance::new(Service::new("clock")));
        metrics.refresh(std::future::pending);
        let began = tokio::time::Instant::now();
        assert!(metrics.text(Format::OpenMetrics).await.is_ok());
        assert_eq!(REFRESH_TIMEOUT, began.elapsed());
    }
}
