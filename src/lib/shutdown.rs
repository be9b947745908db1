//! When to stop: signals, a closed pipe, or the program's own decision.

use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};
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
    /// The task that waits for them ends with the second, or with the runtime.
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
