//! The processes of one contender.

use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;

use super::{
    process::{Process, cpu},
    tools::{Tools, root},
};

/// Which chain, and what it does beside its work.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// As the processes know it: `raw`, `grpc`, `ours`.
    pub(super) kind: &'static str,
    /// Services behind the gateway.
    pub(super) hops: usize,
    /// Arguments beside that.
    pub(super) arguments: Vec<String>,
}

/// A chain that runs.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) url: String,
    processes: Vec<Process>,
    /// Where they write.
    _folder: TempDir,
}

impl Stack {
    pub(super) async fn start(chain: &Chain, tools: &Tools, nats: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let mut processes = Vec::new();
        let mut next: Option<String> = None;
        // From the last one, whose address the one before it may need.
        for hop in (0..=chain.hops).rev() {
            let mut arguments: Vec<String> = ["serve", chain.kind].map(str::to_owned).into();
            for (name, value) in [
                ("--hop", hop.to_string()),
                ("--hops", chain.hops.to_string()),
                ("--nats", nats.to_owned()),
            ] {
                arguments.extend([name.to_owned(), value]);
            }
            if let Some(next) = next.take() {
                arguments.extend(["--next".to_owned(), next]);
            }
            arguments.extend_from_slice(&chain.arguments);
            let mut process = Process::start(&tools.contenders, folder.path(), &arguments)?;
            let ready = |line: &str| line.strip_prefix("ready ").map(str::to_owned);
            next = Some(process.says(ready).await?).filter(|at| !at.is_empty());
            processes.push(process);
        }
        let address = next.context("the gateway has an address")?;
        Ok(Self {
            url: format!("http://{address}/user/1"),
            processes,
            _folder: folder,
        })
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    pub(super) async fn leave(self) {
        for process in self.processes.into_iter().rev() {
            process.leave().await;
        }
    }
}

/// A server that asks nobody for a key, with the limits of the product's.
#[derive(Debug)]
pub(super) struct Nats {
    pub(super) url: String,
    process: Process,
    _folder: TempDir,
}

impl Nats {
    pub(super) async fn start(tools: &Tools) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let config = root().join("nats/limits.conf");
        let ports = folder.path().to_owned();
        let arguments = [
            "--config",
            &config.display().to_string(),
            "--addr",
            "127.0.0.1",
            "--port",
            "-1",
            "--ports_file_dir",
            &ports.display().to_string(),
            "--log",
            &ports.join("log").display().to_string(),
        ]
        .map(str::to_owned);
        let process = Process::start(&tools.nats_server, folder.path(), &arguments)?;
        let url = url_in(&ports).await?;
        Ok(Self {
            url,
            process,
            _folder: folder,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

async fn url_in(ports: &Path) -> anyhow::Result<String> {
    for _ in 0..200 {
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        let files = std::fs::read_dir(ports)?.flatten();
        let mut said = files.filter(|file| file.path().extension().is_some_and(|it| it == "ports"));
        let Some(file) = said.next() else { continue };
        let text = std::fs::read_to_string(file.path())?;
        let read = serde_json::from_str::<serde_json::Value>(&text);
        if let Some(url) = read
            .ok()
            .and_then(|all| Some(all["nats"][0].as_str()?.to_owned()))
        {
            return Ok(url);
        }
    }
    anyhow::bail!("nats-server did not say its port")
}

/// What processes computed between two moments.
#[derive(Debug)]
pub(super) struct Work {
    pids: Vec<u32>,
    before: std::time::Duration,
}

impl Work {
    pub(super) fn of(pids: Vec<u32>) -> Self {
        let before = cpu(&pids);
        Self { pids, before }
    }

    pub(super) fn until_now(&self) -> std::time::Duration {
        cpu(&self.pids).saturating_sub(self.before)
    }
}
