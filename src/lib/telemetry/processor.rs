//! The one span processor: a bounded queue on the request's side, a thread on the other.
//!
//! The SDK clones each span for every further processor, on the request's thread, so there is one.
//! The thread writes a batch to the file first and hands it to OTLP after, through a queue of its
//! own: a dead collector stalls nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanProcessor},
};

use super::{Config, Error, files::SpanFile, otlp::Sender};
use crate::Instance;

/// Spans that may wait for the thread: some 300 ms of a process at full load.
const QUEUE: usize = 8192;
/// Spans a line, at most.
const BATCH: usize = 512;
/// How long the first span of a batch waits for company. A trace is readable soon after its answer.
const BATCH_DELAY: Duration = Duration::from_millis(100);

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are spans; a box would be an allocation on each request's path"
)]
enum Command {
    Span(SpanData),
    Flush(SyncSender<()>),
    Stop(SyncSender<()>, Instant),
}

/// Queues finished spans for the telemetry thread; full means counted and dropped.
#[derive(Debug)]
pub(super) struct Processor {
    queue: SyncSender<Command>,
    dropped: Arc<AtomicU64>,
}

impl Processor {
    /// Starts the thread that owns the file and the OTLP sender; it ends with [`SpanProcessor::shutdown`].
    pub(super) fn start(
        instance: &Instance,
        config: &Config,
        resource: &Resource,
    ) -> Result<Self, Error> {
        let (queue, commands) = sync_channel(QUEUE);
        let worker = Worker {
            file: config
                .spans_dir
                .as_ref()
                .map(|dir| SpanFile::new(dir, instance, resource)),
            otlp: config
                .otlp
                .map(|protocol| Sender::start(protocol, resource))
                .transpose()?,
            batch: Vec::with_capacity(BATCH),
        };
        thread::Builder::new()
            .name("nats-serve-spans".to_owned())
            .spawn(move || worker.run(&commands))
            .map_err(Error::Thread)?;
        Ok(Self {
            queue,
            dropped: Arc::default(),
        })
    }

    fn command(
        &self,
        make: impl FnOnce(SyncSender<()>) -> Command,
        timeout: Duration,
    ) -> OTelSdkResult {
        let until = Instant::now() + timeout;
        let (done, wait) = sync_channel(1);
        let mut command = make(done);
        // A full queue empties within moments; std has no send with a timeout.
        loop {
            match self.queue.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Err(OTelSdkError::AlreadyShutdown),
                Err(TrySendError::Full(_)) if Instant::now() > until => {
                    return Err(OTelSdkError::Timeout(timeout));
                }
                Err(TrySendError::Full(back)) => command = back,
            }
            thread::sleep(Duration::from_millis(5));
        }
        wait.recv_timeout(until.saturating_duration_since(Instant::now()))
            .map_err(|_| OTelSdkError::Timeout(timeout))
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.try_send(Command::Span(span)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.command(Command::Flush, super::FLUSH_TIMEOUT)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let until = Instant::now() + timeout;
        let result = self.command(|done| Command::Stop(done, until), timeout);
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "spans were dropped because the span queue was full"
            );
        }
        result
    }
}

/// What the thread owns.
struct Worker {
    file: Option<SpanFile>,
    otlp: Option<Sender>,
    batch: Vec<SpanData>,
}

impl Worker {
    fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            if self.gather(first, commands).is_break() {
                return;
            }
        }
    }

    /// Takes commands until the batch is full or old enough, then writes it.
    fn gather(
        &mut self,
        first: Command,
        commands: &Receiver<Command>,
    ) -> std::ops::ControlFlow<()> {
        let until = Instant::now() + BATCH_DELAY;
        let mut next = Some(first);
        loop {
            match next.take() {
                Some(Command::Span(span)) => self.batch.push(span),
                Some(Command::Flush(done)) => {
                    self.write();
                    let _ = done.send(());
                }
                Some(Command::Stop(done, deadline)) => {
                    self.write();
                    if let Some(otlp) = self.otlp.take() {
                        otlp.stop(deadline);
                    }
                    let _ = done.send(());
                    return std::ops::ControlFlow::Break(());
                }
                None => {}
            }
            if self.batch.len() >= BATCH {
                self.write();
            }
            match commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(command) => next = Some(command),
                Err(RecvTimeoutError::Timeout) => {
                    self.write();
                    return std::ops::ControlFlow::Continue(());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.write();
                    return std::ops::ControlFlow::Break(());
                }
            }
        }
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        match (&mut self.file, &mut self.otlp) {
            (Some(file), Some(otlp)) => {
                file.write(batch.clone());
                otlp.send(batch);
            }
            (Some(file), None) => file.write(batch),
            (None, Some(otlp)) => otlp.send(batch),
            (None, None) => {}
        }
    }
}
