//! When to stop: signals, a closed pipe, or the program's own decision.

use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells every part of a process that it should leave.
///
/// Clones share one state; once requested it stays so. Nobody is interrupted: each part finishes
/// what it has accepted and returns.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Makes one that only [`request`](Self::request) triggers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one that SIGINT and SIGTERM trigger too.
    ///
    /// The task that waits for them ends with the first.
    ///
    /// # Errors
    ///
    /// Returns an error when the signal handlers can't be installed.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let requested = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = requested.requested() => {}
            }
            requested.request();
        });
        Ok(shutdown)
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
        self.0.cancel();
    }

    /// Tells whether leaving was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until leaving is asked for. Dropping the future changes nothing.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }
}
