//! The time from `nats-serve up` to the first answer, in a folder in which nothing is yet.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::{process::Command, time::timeout};

use crate::driver::{application::registering, process::Process, table::Spread, tools::Tools};

/// How often it is started.
const STARTS: u32 = 5;
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn run(tools: &Tools) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(one(tools).await?.as_secs_f64());
    }
    let times = Spread::of(times).shown(2);
    println!(
        "From `nats-serve up` in a new folder to the first answer, in {STARTS} starts: {times} s\n"
    );
    Ok(())
}

async fn one(tools: &Tools) -> anyhow::Result<Duration> {
    let folder = tempfile::tempdir().context("no folder can be made")?;
    let began = Instant::now();
    let mut command = Command::new(tools.program("nats-serve"));
    command
        .arg("up")
        .env("HTTP_ADDR", "127.0.0.1:0")
        .env("NATS_SERVER", &tools.nats_server);
    let mut process = Process::start(command, folder.path())?;
    let up = |line: &str| line.split("http://").nth(1).map(|at| at.trim().to_owned());
    let at = process.says(up).await?;
    let answered = timeout(ANSWER, registering::get(&at, "/user/1")).await;
    let status = answered.context("the first request is never answered")??;
    let took = began.elapsed();
    ensure!(
        status.is_success(),
        "the first request is answered {status}"
    );
    process.interrupt().await;
    Ok(took)
}
