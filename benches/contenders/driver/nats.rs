//! A server for one contender.

use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    process::Process,
    tools::{Tools, root},
};
use crate::nats_server;

/// A server that asks nobody for a key, with the limits of the product's.
#[derive(Debug)]
pub(super) struct Nats {
    pub(super) url: String,
    process: Process,
    pub(super) folder: TempDir,
}

impl Nats {
    pub(super) async fn start(tools: &Tools) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        Self::start_in(folder, &root().join("nats/limits.conf"), tools).await
    }

    /// One with settings of its own.
    pub(super) async fn start_in(
        folder: TempDir,
        config: &Path,
        tools: &Tools,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(&tools.nats_server);
        command.args(nats_server::arguments(config, folder.path()));
        let process = Process::start(command, folder.path())?;
        let url = nats_server::url(folder.path()).await?;
        Ok(Self {
            url,
            process,
            folder,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}
