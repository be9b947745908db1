//! OTLP export, by the standard `OTEL_EXPORTER_OTLP_*` variables.
//!
//! A thread with a runtime of its own sends, because the process's runtime may have one thread that
//! is busy, or gone already, when the last batch leaves.

mod transport;

use std::{
    env,
    fmt::Display,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, Sender as Queue, SyncSender, channel, sync_channel},
    },
    thread,
    time::Instant,
};

use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};

use self::transport::{Cause, http};
use super::{Error, counters, losses::Losses};
use crate::client::without_credentials;

/// Spans that may wait for a slow collector, those that it has not answered for included.
const QUEUE: u64 = 8192;
/// With so many together nothing more is taken along: receivers take 4 MiB by gRPC, unless told otherwise.
const EXPORT: usize = 1024;

/// How spans are sent: the values of `OTEL_EXPORTER_OTLP_PROTOCOL` that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`, by default to port 4317.
    Grpc,
    /// `http/protobuf`, by default to port 4318.
    HttpProtobuf,
}

enum Command {
    Batch(Vec<SpanData>),
    Stop(SyncSender<()>),
}

/// Hands batches to the sending thread; while the collector is away the newest are dropped.
#[derive(Debug)]
pub(super) struct Sender {
    queue: Queue<Command>,
    shared: Arc<Shared>,
}

/// What both threads know.
#[derive(Debug)]
struct Shared {
    /// Spans that were handed over and are neither sent nor lost yet.
    waiting: AtomicU64,
    /// Said once, whether the queue is full or sending fails: it is the same collector.
    losses: Mutex<Losses>,
}

impl Shared {
    fn note(&self, spans: u64, sent: Result<(), impl Display>) {
        counters::OTLP.count(spans, sent.is_ok());
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.note(spans, sent, Instant::now());
    }
}

impl Sender {
    pub(super) fn start(protocol: Protocol, resource: &Resource) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let cause = Cause::default();
        let mut exporter = {
            let _inside = runtime.enter();
            exporter(protocol, cause.clone()).map_err(|error| {
                // It quotes an endpoint that it can't read.
                Error::Otlp(without_credentials(&error.to_string()).into())
            })?
        };
        exporter.set_resource(resource);
        let (queue, commands) = channel();
        let to = endpoint(protocol);
        let shared = Arc::new(Shared {
            waiting: AtomicU64::new(0),
            losses: Mutex::new(Losses::new(format!("sending spans by OTLP to {to}"))),
        });
        thread::Builder::new()
            .name("nats-serve-otlp".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || runtime.block_on(run(&exporter, &cause, &commands, &shared))
            })
            .map_err(Error::Thread)?;
        Ok(Self { queue, shared })
    }

    pub(super) fn send(&self, mut batch: Vec<SpanData>) {
        // Thousands of small ones may wait.
        batch.shrink_to_fit();
        let spans = batch.len() as u64;
        if self.shared.waiting.load(Relaxed) + spans > QUEUE {
            self.shared
                .note(spans, Err("the collector is too slow, or away"));
            return;
        }
        self.shared.waiting.fetch_add(spans, Relaxed);
        if self.queue.send(Command::Batch(batch)).is_err() {
            self.shared.waiting.fetch_sub(spans, Relaxed);
            self.shared.note(spans, Err("its thread has ended"));
        }
    }

    /// Sends what is queued, until the deadline; the rest is lost.
    pub(super) fn stop(self, deadline: Instant) {
        let (done, wait) = sync_channel(1);
        let stopping = self.queue.send(Command::Stop(done));
        let left = deadline.saturating_duration_since(Instant::now());
        if stopping.is_err() || wait.recv_timeout(left).is_err() {
            counters::OTLP.count(self.shared.waiting.load(Relaxed), false);
        }
    }
}

/// Everything but the protocol is read from the environment by the exporter itself.
fn exporter(protocol: Protocol, cause: Cause) -> Result<SpanExporter, ExporterBuildError> {
    match protocol {
        Protocol::Grpc => SpanExporter::builder().with_tonic().build(),
        Protocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_http_client(http(cause)?)
            .build(),
    }
}

/// Names the collector as the exporter reads it, for those who look for why it does not answer.
#[expect(
    clippy::disallowed_methods,
    reason = "the exporter reads its own variables, wherever settings come from, and does not tell"
)]
fn endpoint(protocol: Protocol) -> String {
    let variables = [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    let mut set = variables.into_iter().filter_map(|name| env::var(name).ok());
    set.find(|url| !url.is_empty()).map_or_else(
        || match protocol {
            Protocol::Grpc => "localhost:4317".to_owned(),
            Protocol::HttpProtobuf => "localhost:4318".to_owned(),
        },
        // Some keep a token in the query.
        |url| without_credentials(url.split('?').next().unwrap_or_default()),
    )
}

/// Owns the exporter. Waiting for the queue blocks this thread only; nothing else runs on it.
async fn run(
    exporter: &SpanExporter,
    cause: &Cause,
    commands: &Receiver<Command>,
    shared: &Shared,
) {
    while let Ok(first) = commands.recv() {
        let (batch, stopping) = gather(first, commands);
        if !batch.is_empty() {
            let spans = batch.len() as u64;
            let sent = exporter.export(batch).await;
            shared.waiting.fetch_sub(spans, Relaxed);
            let sent = sent.map_err(|error| cause.take().unwrap_or_else(|| error.to_string()));
            shared.note(spans, sent);
        }
        if let Some(done) = stopping {
            let _ = done.send(());
            return;
        }
    }
}

/// Takes along what has come while the last batch was on its way: the further the collector, the more goes at a time.
fn gather(first: Command, commands: &Receiver<Command>) -> (Vec<SpanData>, Option<SyncSender<()>>) {
    let mut spans = Vec::new();
    let mut next = Some(first);
    while let Some(command) = next {
        match command {
            Command::Batch(batch) => spans.extend(batch),
            Command::Stop(done) => return (spans, Some(done)),
        }
        next = (spans.len() < EXPORT)
            .then(|| commands.try_recv().ok())
            .flatten();
    }
    (spans, None)
}
