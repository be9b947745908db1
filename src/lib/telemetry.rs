//! Traces and logs of a process: made here, sent from threads of their own.
//!
//! [`init`] installs the process's tracer and its subscriber, and returns a [`Guard`] that flushes on the way out. One span processor feeds the span files and, where it is
//! configured, OTLP; neither is ever on a request's path, and neither can stall the other.

mod attach;
pub(crate) mod counters;
mod detail;
mod files;
pub(crate) mod lines;
mod logs;
mod losses;
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "the names of the edge")
)]
pub(crate) mod names;
mod otlp;
mod processor;
pub(crate) mod propagation;
pub(crate) mod spans;
mod unrecorded;

use std::{
    any::Any,
    panic,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing_subscriber::{
    EnvFilter, Layer, filter::FilterFn, layer::SubscriberExt, util::SubscriberInitExt,
};

use lines::Lines;
pub use otlp::Protocol;
use processor::Processor;
pub use unrecorded::unrecorded;

use crate::Instance;

/// Longest time that a process waits on its way out for spans to be written and sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What span files have unless told otherwise, in bytes.
pub(crate) const SPANS_MAX_BYTES: u64 = 256 << 20;
/// With less the lines of a few busy processes would not find room.
pub(crate) const MIN_SPANS_MAX_BYTES: u64 = 16 << 20;

/// Log filter unless told otherwise: what the dependencies have to say at `info` is noise.
const DEFAULT_FILTER: &str = "info,async_nats=off,sqlx=warn,h2=warn,hyper=warn,hyper_util=warn,tonic=warn,tower=warn,rustls=warn,opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off,opentelemetry-otlp=off";

/// Crates whose spans and events never belong in a trace of the application.
const FOREIGN: [&str; 10] = [
    "async_nats",
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "reqwest",
    "rustls",
    "sqlx",
    "tonic",
    "tower",
];

/// How a process records and exports.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether anything is recorded at all. Default: `true`. With `false` the runtime makes spans only below those that
    /// another tracer provider records.
    pub enabled: bool,
    /// Share of new traces that is kept, 0 to 1. A caller's decision is followed (parent-based).
    /// Default `None`: `OTEL_TRACES_SAMPLER` if set, else all.
    pub sampling_ratio: Option<f64>,
    /// Folder of the span files, `<service>-<instance>.jsonl`. Default `.nats-serve/spans`; `None`
    /// writes none.
    pub spans_dir: Option<PathBuf>,
    /// What the span files of all processes together may have, in bytes: the oldest are removed. Give all that share a
    /// folder the same. Default 256 MiB; less than 16 MiB counts as 16 MiB.
    pub spans_max_bytes: u64,
    /// Sends to a collector as well, by the `OTEL_EXPORTER_OTLP_*` variables. Default: `None`.
    pub otlp: Option<Protocol>,
    /// Which log lines are written, in the syntax of `RUST_LOG`. Default: `info`, without the chatter
    /// of dependencies.
    pub log_filter: Option<String>,
    /// How much of a request is told. Default: [`Detail::Hops`].
    pub detail: Detail,
}

/// Says how much of a request its trace tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// The hops, and what happened on them as events.
    #[default]
    Hops,
    /// What is below the hops, too, each statement and each step of a mail, and what is bookkeeping:
    /// [`unrecorded()`] work is recorded.
    Full,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            sampling_ratio: None,
            spans_dir: Some(PathBuf::from(".nats-serve/spans")),
            spans_max_bytes: SPANS_MAX_BYTES,
            otlp: None,
            log_filter: None,
            detail: Detail::Hops,
        }
    }
}

/// Says why telemetry could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log filter does not parse.
    #[error("the log filter `{filter}` is not valid")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The OTLP exporter can't be built from its variables. The source shows no login of a URL.
    #[error("the OTLP exporter can't be set up; check OTEL_EXPORTER_OTLP_ENDPOINT and its kin")]
    Otlp(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A thread could not be started.
    #[error("the telemetry thread can't be started")]
    Thread(#[source] std::io::Error),
    /// Something else has installed a `tracing` subscriber in this process.
    #[error("this process has a tracing subscriber already; call telemetry::init only once")]
    Subscriber(#[source] tracing_subscriber::util::TryInitError),
}

/// Installs tracer and log output for this process.
///
/// Logs go to standard error: readable on a terminal, one JSON object a line otherwise. Call it once,
/// in `main`, and hold the guard until everything else has ended.
///
/// # Errors
///
/// Returns an error when the filter or the OTLP variables are wrong, or when it was called before.
pub fn init(instance: &Instance, config: &Config) -> Result<Guard, Error> {
    let filter = log_filter(config.log_filter.as_deref())?;
    detail::configure(config.detail);
    let logs =
        Lines::start(std::io::stderr(), logs::note_of_loss(instance)).map_err(Error::Thread)?;
    let provider = if config.enabled {
        Some(provider(instance, config)?)
    } else {
        None
    };
    let tracing_layer = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("app"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .and_then(attach::BareEvents)
            .with_filter(FilterFn::new(belongs_in_a_trace))
    });
    tracing_subscriber::registry()
        .with(tracing_layer)
        .with(logs::layer(instance, logs.clone()).with_filter(filter))
        .try_init()
        .map_err(Error::Subscriber)?;
    match &provider {
        Some(provider) => {
            spans::install(spans::Mode::On {
                tracer: provider.tracer(spans::SCOPE),
                // `OTEL_TRACES_SAMPLER` may say otherwise.
                follows_parents: config.sampling_ratio.is_some(),
            });
            global::set_tracer_provider(provider.clone());
        }
        None => spans::install(spans::Mode::Off),
    }
    Ok(Guard { provider, logs })
}

fn provider(instance: &Instance, config: &Config) -> Result<SdkTracerProvider, Error> {
    // OTEL_RESOURCE_ATTRIBUTES adds to this; the names that join trace and process are ours.
    let resource = Resource::builder()
        .with_service_name(instance.service().name())
        .with_attribute(KeyValue::new(
            names::SERVICE_INSTANCE_ID,
            instance.id().to_owned(),
        ))
        .build();
    let processor = Processor::start(instance, config, &resource)?;
    let mut builder = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(processor);
    if let Some(ratio) = config.sampling_ratio {
        builder = builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))));
    }
    Ok(builder.build())
}

fn log_filter(given: Option<&str>) -> Result<EnvFilter, Error> {
    let filter = given.unwrap_or(DEFAULT_FILTER);
    EnvFilter::builder()
        .parse(filter)
        .map_err(|source| Error::Filter {
            filter: filter.to_owned(),
            source,
        })
}

fn belongs_in_a_trace(metadata: &tracing::Metadata<'_>) -> bool {
    let target = metadata.target();
    *metadata.level() <= tracing::Level::INFO
        && target != names::ACCESS_LOG
        && !FOREIGN.iter().any(|foreign| {
            target
                .strip_prefix(foreign)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '-', '_']))
        })
}

/// Makes panics of this process log lines, with the ids of the request that they hit.
///
/// Without it the standard library prints them, over several lines. Replaces the process's panic hook,
/// so it is for a `main` to call.
pub fn log_panics() {
    panic::set_hook(Box::new(log_panic));
    PANICS_ARE_LOGGED.store(true, Ordering::Relaxed);
}

static PANICS_ARE_LOGGED: AtomicBool = AtomicBool::new(false);

/// Logs a panic of a handler, with the trace that it belongs to, unless [`log_panics`] has done so.
pub(crate) fn log_caught_panic(panic: &(dyn Any + Send)) {
    if PANICS_ARE_LOGGED.load(Ordering::Relaxed) {
        return;
    }
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!("panicked: {}", text.unwrap_or("no message"));
}

fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("no message");
    tracing::error!(location, "panicked: {message}");
}

/// Flushes spans when the process ends.
#[derive(Debug)]
#[must_use = "dropping the guard ends telemetry"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    logs: Lines,
}

impl Guard {
    /// Writes and sends what is still queued, for at most 2 seconds. Blocks; call it after the runtime's
    /// work is done. Dropping the guard does the same.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            let in_time = provider.shutdown_with_timeout(FLUSH_TIMEOUT).is_ok();
            counters::read().say(in_time);
        }
        self.logs.flush();
    }
}
