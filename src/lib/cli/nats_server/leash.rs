//! Keeps a nats-server from outliving `up`, even one that is killed.
//!
//! On Linux this program starts itself anew, asks the kernel for a signal at its parent's death, and
//! then becomes nats-server. Elsewhere it stays as a guard whose standard input closes with its parent.

use std::{path::Path, process::Command};

use anyhow::Context as _;

/// Name of the hidden command.
pub(crate) const LEASH: &str = "leashed-nats-server";

#[derive(Debug, clap::Args)]
pub(crate) struct LeashArgs {
    /// The process that this one must not outlive.
    parent: u32,
    server: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Returns the arguments with which this program starts a server on the leash.
pub(crate) fn leashed(server: &Path, arguments: &[String]) -> Vec<String> {
    let mut all = vec![
        LEASH.to_owned(),
        std::process::id().to_string(),
        server.display().to_string(),
        "--".to_owned(),
    ];
    all.extend_from_slice(arguments);
    all
}

#[cfg(target_os = "linux")]
pub(crate) fn become_server(args: &LeashArgs) -> anyhow::Result<()> {
    use std::os::unix::process::{CommandExt, parent_id};

    use rustix::process::{Signal, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::TERM))
        .context("the kernel gives no signal at a parent's death")?;
    // It may have died before the signal was asked for.
    if parent_id() != args.parent {
        return Ok(());
    }
    let failed = Command::new(&args.server).args(&args.arguments).exec();
    Err(failed).context("nats-server can't be run")
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn become_server(args: &LeashArgs) -> anyhow::Result<()> {
    use std::{io, sync::mpsc, thread, time::Duration};

    let mut server = Command::new(&args.server)
        .args(&args.arguments)
        .stdin(std::process::Stdio::null())
        .spawn()
        .context("nats-server can't be run")?;
    let (gone, parent_is_gone) = mpsc::channel();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = gone.send(());
    });
    loop {
        if server.try_wait()?.is_some() {
            return Ok(());
        }
        if parent_is_gone
            .recv_timeout(Duration::from_millis(100))
            .is_ok()
        {
            server.kill()?;
            server.wait()?;
            return Ok(());
        }
    }
}
