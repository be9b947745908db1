//! The application: its programs as they are shipped, with a NATS server of its own that knows their keys.

use std::fs;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::driver::{
    losses::Losses,
    nats::Nats,
    process::Process,
    tools::{Tools, root},
};

/// In the order in which `nats-serve up` starts them.
pub(in crate::driver) const SERVICES: [&str; 4] = [
    "database-service",
    "notification-service",
    "user-service",
    "gateway",
];

#[derive(Debug)]
pub(in crate::driver) struct Application {
    address: String,
    processes: Vec<(&'static str, Process)>,
    nats: Nats,
    /// Where they keep users, mails and spans, by their defaults.
    folder: TempDir,
}

impl Application {
    /// Starts it with its default settings, or on another database than its own file, or with a collector of spans besides.
    pub(in crate::driver) async fn start(
        tools: &Tools,
        database: Option<&str>,
        collector: Option<&str>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let nats = nats(tools).await?;
        let mut processes = Vec::new();
        let mut address = None;
        for name in SERVICES {
            let mut command = Command::new(tools.program(name));
            command
                .arg("--supervised")
                .env("NATS_URL", &nats.url)
                .env("NATS_NKEY_FILE", nats.folder.path().join("nkeys"));
            if name == "gateway" {
                command.env("HTTP_ADDR", "127.0.0.1:0");
            }
            if let (Some(url), "database-service") = (database, name) {
                command.env("DATABASE_URL", url);
            }
            if let Some(url) = collector {
                command.env("OTEL_EXPORTER_OTLP_ENDPOINT", url);
            }
            let mut process = Process::start(command, folder.path())?;
            let ready = |line: &str| serde_json::from_str::<Value>(line).ok();
            let ready = process.says(ready).await;
            let ready = ready.with_context(|| format!("{name} can't be started"))?;
            address = ready["http"].as_str().map(str::to_owned);
            processes.push((name, process));
        }
        Ok(Self {
            address: address.context("the gateway tells no address")?,
            processes,
            nats,
            folder,
        })
    }

    /// Where its gateway listens.
    pub(in crate::driver) fn address(&self) -> &str {
        &self.address
    }

    /// A user whom every new database has.
    pub(in crate::driver) fn url(&self) -> String {
        format!("http://{}/user/1", self.address)
    }

    /// All its processes, with NATS.
    pub(in crate::driver) fn named(&self) -> impl Iterator<Item = (String, u32)> + '_ {
        let own = self.processes.iter().rev();
        let own = own.map(|(name, process)| ((*name).to_owned(), process.pid()));
        own.chain([("nats-server".to_owned(), self.nats.pid())])
    }

    /// Ends it, and tells which spans were lost.
    pub(in crate::driver) async fn leave(self) -> Losses {
        let mut unknown = 0;
        for (_, process) in self.processes.into_iter().rev() {
            unknown += usize::from(!process.leave().await);
        }
        Losses::told_in(self.folder.path(), unknown)
    }
}

/// The server as `nats-serve up` runs it, which asks each process for the key of its service.
async fn nats(tools: &Tools) -> anyhow::Result<Nats> {
    let folder = tempfile::tempdir().context("no folder can be made")?;
    let config = folder.path().join("nats-server.conf");
    for name in ["nats-server.conf", "limits.conf"] {
        let from = root().join("nats").join(name);
        fs::copy(&from, folder.path().join(name))
            .with_context(|| format!("{} can't be copied", from.display()))?;
    }
    let keys = Command::new(tools.program("nats-serve"))
        .args(["keys", "--dir", "nkeys"])
        .current_dir(folder.path())
        .output()
        .await
        .context("nats-serve can't be run")?;
    let said = String::from_utf8_lossy(&keys.stderr);
    ensure!(keys.status.success(), "nats-serve keys failed: {said}");
    Nats::start_in(folder, &config, tools).await
}
