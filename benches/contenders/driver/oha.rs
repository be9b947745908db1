//! The load driver, and what it says of a load.

mod outcome;

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

pub(super) use self::outcome::{Outcome, Request};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use super::process;

/// Time for what is under way when the load ends.
const LAST_ANSWERS: Duration = Duration::from_secs(30);
/// Share of a core from which on oha, which has one thread, may be what is measured.
const BUSY: f64 = 0.9;

/// What is asked for, and how.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) url: String,
    pub(super) connections: u32,
    pub(super) duration: Duration,
    /// So many a second, each timed from when it was due; else the next one when the last is answered.
    pub(super) rate: Option<u32>,
}

impl Load {
    /// A load of which each request is to succeed.
    pub(super) async fn run(&self, oha: &Path) -> anyhow::Result<Outcome> {
        let requests = self.output(oha, "csv", &[]).await?;
        outcome::read(&requests, self).with_context(|| format!("at {}", self.url))
    }

    /// What oha says of it, whatever was answered.
    pub(super) async fn report(&self, oha: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
        let report = self.output(oha, "json", arguments).await?;
        serde_json::from_str(&report).context("oha's report is no JSON")
    }

    async fn output(&self, oha: &Path, format: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(oha);
        command
            .args(["--no-tui", "--output-format", format])
            .args(["--worker-threads", "1"])
            .args(["-c", &self.connections.to_string()])
            .args(["-z", &format!("{}ms", self.duration.as_millis())])
            .arg("-w");
        if let Some(rate) = self.rate {
            command.args(["-q", &rate.to_string(), "--latency-correction"]);
        }
        let (began, before) = (Instant::now(), process::own());
        let output = command
            .args(arguments)
            .arg(&self.url)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(self.duration + LAST_ANSWERS, output)
            .await
            .with_context(|| format!("at {}, some requests are never answered", self.url))?
            .context("oha can't be run")?;
        let spent = process::own().saturating_sub(before).as_secs_f64();
        let busy = spent / began.elapsed().as_secs_f64();
        if busy > BUSY {
            eprintln!("the load driver itself was busy for {busy:.2} of this load's time");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "oha failed: {said}");
        String::from_utf8(output.stdout).context("oha's output is no text")
    }
}

/// `p50`, `p99`.
pub(super) fn percentile(report: &Value, name: &str) -> anyhow::Result<Duration> {
    let seconds = report["latencyPercentiles"][name].as_f64();
    seconds
        .map(Duration::from_secs_f64)
        .context("oha tells no percentiles")
}
