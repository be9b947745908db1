//! The load driver, and what it says of a load.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

/// Time for what is under way when the load ends.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// What is asked for, and how.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) url: String,
    pub(super) connections: u32,
    pub(super) duration: Duration,
    /// So many a second, each timed from when it was due; else the next one when the last is answered.
    pub(super) rate: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) per_second: f64,
    pub(super) requests: f64,
    pub(super) p50: Duration,
    /// The longest there is where the load did not keep its rate.
    pub(super) p99: Duration,
}

impl Outcome {
    /// In milliseconds; infinite where the load did not keep its rate.
    pub(super) fn p99_ms(&self) -> f64 {
        match self.p99 {
            Duration::MAX => f64::INFINITY,
            p99 => p99.as_secs_f64() * 1e3,
        }
    }
}

impl Load {
    /// A load of which each request is to succeed.
    pub(super) async fn run(&self, oha: &Path) -> anyhow::Result<Outcome> {
        let report = self.report(oha, &[]).await?;
        read(&report, self).with_context(|| format!("at {}", self.url))
    }

    /// What oha says of it, whatever was answered.
    pub(super) async fn report(&self, oha: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(oha);
        command
            .args([
                "--no-tui",
                "--output-format",
                "json",
                "--worker-threads",
                "1",
            ])
            .args(["-c", &self.connections.to_string()])
            .args(["-z", &format!("{}ms", self.duration.as_millis())])
            .arg("-w");
        if let Some(rate) = self.rate {
            command.args(["-q", &rate.to_string(), "--latency-correction"]);
        }
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
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "oha failed: {said}");
        serde_json::from_slice(&output.stdout).context("oha's report is no JSON")
    }
}

/// Requests that may fail, as a share, or one on each connection: a machine that is taken away for a moment costs those
/// their deadline. A load of which more failed measures something else.
const MAX_FAILED: f64 = 0.01;
/// Share of its rate that a load must have come to, or what it was to time was never sent.
const KEPT_UP: f64 = 0.95;

/// Tells whether a load has come to its rate, if it had one.
pub(super) fn keeps_up(per_second: f64, rate: Option<u32>) -> bool {
    rate.is_none_or(|rate| per_second >= KEPT_UP * f64::from(rate))
}

fn read(report: &Value, load: &Load) -> anyhow::Result<Outcome> {
    let statuses = report["statusCodeDistribution"].as_object();
    let statuses = statuses.context("oha tells no statuses")?;
    let (mut good, mut bad) = (0.0, 0.0);
    for (status, count) in statuses {
        let count = count.as_f64().unwrap_or_default();
        if status.starts_with('2') {
            good += count;
        } else {
            bad += count;
        }
    }
    let errors = &report["errorDistribution"];
    let broken = errors.as_object().into_iter().flatten();
    bad += broken.filter_map(|(_, count)| count.as_f64()).sum::<f64>();
    ensure!(
        good > 0.0 && bad <= (MAX_FAILED * good).max(f64::from(load.connections)),
        "{statuses:?}, {errors}"
    );
    if bad > 0.0 {
        eprintln!("{bad} of {} failed: {statuses:?}, {errors}", good + bad);
    }
    let per_second = report["summary"]["requestsPerSec"].as_f64();
    let per_second = per_second.context("oha tells no rate")?;
    let kept_up = keeps_up(per_second, load.rate);
    Ok(Outcome {
        per_second,
        requests: good,
        p50: percentile(report, "p50")?,
        p99: match kept_up {
            true => percentile(report, "p99")?,
            false => Duration::MAX,
        },
    })
}

/// `p50`, `p99`.
pub(super) fn percentile(report: &Value, name: &str) -> anyhow::Result<Duration> {
    let seconds = report["latencyPercentiles"][name].as_f64();
    seconds
        .map(Duration::from_secs_f64)
        .context("oha tells no percentiles")
}
