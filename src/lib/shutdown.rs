//! When to stop: signals, a closed pipe, or the program's own decision.

use std::{io, process, sync::mpsc, thread, time::Duration};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Tells every part of a process that it should leave.
///
/// Clones share one state; once requested it stays so. Nobody is interrupted: each part finishes
/// what it has accepted and returns. [`hurry`](Self::hurry) ends the grace that it has for that.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    requested: CancellationToken,
    hurried: CancellationToken,
}

impl Shutdown {
    /// Makes one that only [`request`](Self::request) triggers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one that SIGINT and SIGTERM trigger too. One that comes when leaving has been requested, by a
    /// signal or otherwise, hurries.
    ///
    /// A thread of its own waits for them, so they are heard also while a handler blocks its runtime's thread. It
    /// ends with the second, or with the process.
    ///
    /// # Errors
    ///
    /// Returns an error when the signal handlers can't be installed, or the thread can't be started.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let requested = shutdown.clone();
        on_a_thread("nats-serve-signals", move || {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            Ok(async move {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if requested.is_requested() {
                        return requested.hurry();
                    }
                    requested.request();
                }
            })
        })?;
        Ok(shutdown)
    }

    /// Ends the process with status 1 where it has not ended by itself in time: `beyond` after its `grace`, or after
    /// it was hurried.
    ///
    /// For a handler that blocks its thread: nothing on that thread can end it any more. Another thread waits, and
    /// calls `last_words` before, which may be to write what would be lost. A process that leaves in time never
    /// notices.
    ///
    /// # Errors
    ///
    /// Returns an error when the thread can't be started.
    pub fn exit_when_late(
        &self,
        grace: Duration,
        beyond: Duration,
        last_words: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let shutdown = self.clone();
        on_a_thread("nats-serve-late", move || {
            Ok(async move {
                shutdown.requested().await;
                tokio::select! {
                    () = sleep(grace) => {}
                    () = shutdown.hurried() => {}
                }
                sleep(beyond).await;
                last_words();
                process::exit(1);
            })
        })
    }

    /// Triggers also when standard input closes, which is how a child outlives no parent.
    ///
    /// A thread of its own reads: a runtime could not end while one of its threads waits for input.
    /// The thread ends with the process.
    pub fn also_when_stdin_closes(&self) {
        let shutdown = self.clone();
        thread::spawn(move || {
            // Whatever is typed is ignored; end of file and errors both mean that nobody is there.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            shutdown.request();
        });
    }

    /// Asks every holder to leave.
    pub fn request(&self) {
        self.requested.cancel();
    }

    /// Asks every holder to leave at once, and give up what it has accepted.
    pub fn hurry(&self) {
        self.requested.cancel();
        self.hurried.cancel();
    }

    /// Tells whether leaving was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Waits until leaving is asked for. Dropping the future changes nothing.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Waits until leaving at once is asked for. Dropping the future changes nothing.
    pub async fn hurried(&self) {
        self.hurried.cancelled().await;
    }
}

/// Runs something on a thread and a runtime of its own, once it is prepared there.
fn on_a_thread<W: Future<Output = ()>>(
    name: &str,
    prepare: impl FnOnce() -> io::Result<W> + Send + 'static,
) -> io::Result<()> {
    let (tell, told) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        let ready = Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| {
                let work = {
                    let _inside = runtime.enter();
                    prepare()?
                };
                Ok((runtime, work))
            });
        match ready {
            Ok((runtime, work)) => {
                // Whoever waits for this is there.
                let _ = tell.send(Ok(()));
                runtime.block_on(work);
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    })?;
    told.recv().map_err(io::Error::other)?
}
