//! What ends a benchmark before its time. Who only died of it would leave servers behind.
//!
//! Two programs have this file as a module, like nats_server.rs.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Waits until somebody says so: Ctrl-C, a supervisor, or the terminal that closes.
pub(crate) async fn by_a_signal() -> anyhow::Result<()> {
    let failed = "signals can't be heard";
    let mut interrupted = signal(SignalKind::interrupt()).context(failed)?;
    let mut terminated = signal(SignalKind::terminate()).context(failed)?;
    let mut hung_up = signal(SignalKind::hangup()).context(failed)?;
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        _ = hung_up.recv() => {}
    }
    Ok(())
}
