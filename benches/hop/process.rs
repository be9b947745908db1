//! The processes: a side of the hop, and the server between them.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    nats_server,
    tools::{Tools, root},
};

/// For a start, for all calls of a run, or for an end: under callgrind each takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{:?} can't be run", command.as_std().get_program()))?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines })
    }

    /// Waits for a line that begins so, and returns the rest of it.
    pub(super) async fn says(&mut self, word: &str) -> anyhow::Result<String> {
        let looking = async {
            while let Some(line) = self.lines.next_line().await? {
                if let Some(rest) = line.strip_prefix(word) {
                    return Ok(rest.trim().to_owned());
                }
            }
            bail!("a process ended before it said `{word}`");
        };
        timeout(PATIENCE, looking)
            .await
            .with_context(|| format!("a process did not say `{word}` in time"))?
    }

    /// Tells it to leave, as its supervisor would.
    pub(super) fn leave(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(super) async fn ends(mut self) -> anyhow::Result<()> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.context("a process does not end")??;
        ensure!(status.success(), "a process ended with {status}");
        Ok(())
    }
}

/// A server that asks nobody for a key, with the limits of the product's.
#[derive(Debug)]
pub(super) struct Nats {
    pub(super) url: String,
    _process: Process,
    _folder: TempDir,
}

impl Nats {
    pub(super) async fn start(tools: &Tools) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let mut command = Command::new(&tools.nats_server);
        let config = root().join("nats/limits.conf");
        command.args(nats_server::arguments(&config, folder.path()));
        let process = Process::start(command)?;
        Ok(Self {
            url: nats_server::url(folder.path()).await?,
            _process: process,
            _folder: folder,
        })
    }
}
