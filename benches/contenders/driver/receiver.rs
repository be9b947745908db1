//! A receiver of spans that is not ours, which throws them away: rotel's agent, as the conformance tests have it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    process::Process,
    python::{evaluate, python},
    tools::Tools,
};

/// It takes no port 0, and between our choice and its start a port may be taken.
const TRIES: u32 = 3;

/// Why this machine can't have one, if it can't: no Python, say, or one without its shared library.
pub(super) async fn missing(tools: &Tools) -> Option<String> {
    let started = Receiver::start(tools).await;
    started.err().map(|error| format!("{error:#}"))
}

#[derive(Debug)]
pub(super) struct Receiver {
    /// Where it takes OTLP over HTTP.
    pub(super) url: String,
    process: Process,
    _folder: TempDir,
}

impl Receiver {
    pub(super) async fn start(tools: &Tools) -> anyhow::Result<Self> {
        let python = python(tools.target()?)?;
        let agent = "import os, rotel; print(os.path.dirname(rotel.__file__) + '/rotel-agent')";
        let libraries = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))";
        let agent = PathBuf::from(evaluate(&python, agent)?);
        let libraries = evaluate(&python, libraries)?;
        let mut tries = 1;
        loop {
            match Self::try_start(&agent, &libraries).await {
                Err(_) if tries < TRIES => tries += 1,
                started => return started.context("rotel, which receives spans, can't be started"),
            }
        }
    }

    async fn try_start(agent: &Path, libraries: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let [grpc, http] = free_addresses()?;
        let mut command = Command::new(agent);
        command
            .args(["start", "--exporter", "blackhole"])
            .args(["--otlp-grpc-endpoint", &grpc])
            .args(["--otlp-http-endpoint", &http])
            // It links the interpreter's library, which often lies where no loader looks.
            .env("LD_LIBRARY_PATH", libraries);
        let mut process = Process::start(command, folder.path())?;
        // It says so once it has both ports.
        let starts = |line: &str| line.contains("Starting Rotel").then_some(());
        process.says(starts).await?;
        Ok(Self {
            url: format!("http://{http}"),
            process,
            _folder: folder,
        })
    }
}

impl Receiver {
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn free_addresses() -> anyhow::Result<[String; 2]> {
    // Both are held at once, so they differ.
    let (one, other) = (free()?, free()?);
    Ok([one, other].map(|held| held.1))
}

fn free() -> anyhow::Result<(TcpListener, String)> {
    let held = TcpListener::bind("127.0.0.1:0").context("no free port is left on 127.0.0.1")?;
    let address = held.local_addr()?.to_string();
    Ok((held, address))
}
