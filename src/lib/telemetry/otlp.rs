//! OTLP export, by the standard `OTEL_EXPORTER_OTLP_*` variables.
//!
//! A thread with a runtime of its own sends, because the process's runtime may have one thread that
//! is busy, or gone already, when the last batch leaves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};

use super::{Error, counters, losses::Losses};
use crate::client::without_credentials;

/// Batches that may wait for a slow collector.
const QUEUE: usize = 16;
/// Longest time for one HTTP exchange; `OTEL_EXPORTER_OTLP_TIMEOUT` shortens the whole export.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

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
    queue: SyncSender<Command>,
    /// Spans that were handed over, and those that were then sent or lost.
    queued: u64,
    settled: Arc<AtomicU64>,
    losses: Losses,
}

impl Sender {
    pub(super) fn start(protocol: Protocol, resource: &Resource) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let mut exporter = {
            let _inside = runtime.enter();
            exporter(protocol).map_err(|error| {
                // It quotes an endpoint that it can't read.
                Error::Otlp(without_credentials(&error.to_string()).into())
            })?
        };
        exporter.set_resource(resource);
        let (queue, commands) = sync_channel(QUEUE);
        let settled = Arc::<AtomicU64>::default();
        thread::Builder::new()
            .name("nats-serve-otlp".to_owned())
            .spawn({
                let settled = Arc::clone(&settled);
                move || runtime.block_on(run(&exporter, &commands, &settled))
            })
            .map_err(Error::Thread)?;
        Ok(Self {
            queue,
            queued: 0,
            settled,
            losses: Losses::new("queueing spans for OTLP"),
        })
    }

    pub(super) fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let queued = self.queue.try_send(Command::Batch(batch));
        match &queued {
            Ok(()) => self.queued += spans,
            Err(_) => counters::OTLP.count(spans, false),
        }
        let queued = queued.map_err(|_| "the collector is too slow, or away");
        self.losses.note(spans, queued, Instant::now());
    }

    /// Sends what is queued, until the deadline; the rest is lost.
    pub(super) fn stop(self, deadline: Instant) {
        if !self.is_sent_by(deadline) {
            let left = self.queued - self.settled.load(Relaxed);
            counters::OTLP.count(left, false);
        }
    }

    fn is_sent_by(&self, deadline: Instant) -> bool {
        let (done, wait) = sync_channel(1);
        let mut stop = Command::Stop(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(stop) {
            if Instant::now() >= deadline {
                return false;
            }
            stop = back;
            thread::sleep(Duration::from_millis(20));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        wait.recv_timeout(left).is_ok()
    }
}

/// Everything but the protocol is read from the environment by the exporter itself.
fn exporter(protocol: Protocol) -> Result<SpanExporter, opentelemetry_otlp::ExporterBuildError> {
    match protocol {
        Protocol::Grpc => SpanExporter::builder().with_tonic().build(),
        Protocol::HttpProtobuf => {
            let connector = HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(|error| {
                    opentelemetry_otlp::ExporterBuildError::InternalFailure(error.to_string())
                })?
                .https_or_http()
                .enable_http1()
                .build();
            SpanExporter::builder()
                .with_http()
                .with_http_client(HyperClient::new(connector, HTTP_TIMEOUT, None))
                .build()
        }
    }
}

/// Owns the exporter. Waiting for the queue blocks this thread only; nothing else runs on it.
async fn run(exporter: &SpanExporter, commands: &Receiver<Command>, settled: &AtomicU64) {
    let mut losses = Losses::new("sending spans by OTLP");
    while let Ok(command) = commands.recv() {
        match command {
            Command::Batch(batch) => {
                let spans = batch.len() as u64;
                let sent = exporter.export(batch).await;
                counters::OTLP.count(spans, sent.is_ok());
                settled.fetch_add(spans, Relaxed);
                losses.note(spans, sent, Instant::now());
            }
            Command::Stop(done) => {
                let _ = done.send(());
                return;
            }
        }
    }
}
