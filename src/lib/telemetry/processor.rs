//! The one span processor: a bounded queue on the request's side, a thread on the other.
//!
//! The SDK clones each span for every further processor, on the request's thread, so there is one.
//! The thread writes a batch to the file first and hands it to OTLP after, through a queue of its
//! own: a dead collector stalls nobody.

use std::{
    iter,
    ops::ControlFlow,
    sync::{
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
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

use super::{Config, Error, counters, files::SpanFiles, losses::Losses, otlp::Sender};
use crate::Instance;

/// Spans that may wait for the thread: some 300 ms of a process at full load.
const QUEUE: usize = 8192;
/// Spans a line, at most.
const BATCH: usize = 512;
/// How long the first span waits for company. Who asks for the last request waits twice as long.
const BATCH_DELAY: Duration = Duration::from_millis(25);

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
            files: config
                .spans_dir
                .as_ref()
                .map(|dir| SpanFiles::new(dir, config, instance, resource)),
            otlp: config
                .otlp
                .map(|protocol| Sender::start(protocol, resource))
                .transpose()?,
            batch: Vec::new(),
            unqueued: 0,
            losses: Losses::new("handing spans over"),
        };
        thread::Builder::new()
            .name("nats-serve-spans".to_owned())
            .spawn(move || worker.run(&commands))
            .map_err(Error::Thread)?;
        Ok(Self { queue })
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
        if !span.span_context.is_sampled() {
            return;
        }
        counters::RECORDED.fetch_add(1, Relaxed);
        if self.queue.try_send(Command::Span(span)).is_err() {
            counters::UNQUEUED.fetch_add(1, Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.command(Command::Flush, super::FLUSH_TIMEOUT)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        // What is lost to a collector by then is still to be counted.
        let until = Instant::now() + timeout * 9 / 10;
        self.command(|done| Command::Stop(done, until), timeout)
    }
}

/// What the thread owns.
struct Worker {
    files: Option<SpanFiles>,
    otlp: Option<Sender>,
    batch: Vec<SpanData>,
    /// Spans that the queue has had no room for, as far as it is known here.
    unqueued: u64,
    losses: Losses,
}

impl Worker {
    fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            if matches!(first, Command::Span(_)) {
                // Not in `recv`: whoever waits there is woken for each span, which its request would pay for.
                thread::sleep(BATCH_DELAY);
            }
            if self.take(first, commands).is_break() {
                return;
            }
        }
    }

    /// Takes what has come until now, and writes it.
    fn take(&mut self, first: Command, commands: &Receiver<Command>) -> ControlFlow<()> {
        for command in iter::once(first).chain(commands.try_iter()) {
            match command {
                Command::Span(span) => self.batch.push(span),
                Command::Flush(done) => {
                    self.write();
                    let _ = done.send(());
                }
                Command::Stop(done, deadline) => {
                    self.write();
                    if let Some(otlp) = self.otlp.take() {
                        otlp.stop(deadline);
                    }
                    let _ = done.send(());
                    return ControlFlow::Break(());
                }
            }
            if self.batch.len() >= BATCH {
                self.write();
            }
        }
        self.write();
        ControlFlow::Continue(())
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Some(files) = &mut self.files {
            files.write(&self.batch);
        }
        match &self.otlp {
            Some(otlp) => otlp.send(std::mem::take(&mut self.batch)),
            None => self.batch.clear(),
        }
        self.look_at_the_queue();
    }

    /// Who finds the queue full is on a request's path, and only counts.
    fn look_at_the_queue(&mut self) {
        let unqueued = counters::UNQUEUED.load(Relaxed);
        let lost = unqueued - std::mem::replace(&mut self.unqueued, unqueued);
        let fared = match lost {
            0 => Ok(()),
            _ => Err("more are made than can be written"),
        };
        self.losses.note(lost, fared, Instant::now());
    }
}
