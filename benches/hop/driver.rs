//! Counts all hops, shows them beside what is recorded, and says what is worse.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::{
    figures::Figures,
    hops::HOPS,
    process::Nats,
    tools::{Tools, toolchain},
};
use crate::stopped;

const NO_VALGRIND: &str = "valgrind is not there, so instructions are not counted; it is the package `valgrind` of most systems";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Fails where a hop costs more than is recorded.
    #[arg(long)]
    check: bool,
    /// Records what is counted as what a hop may cost from now on.
    #[arg(long, conflicts_with = "check")]
    record: bool,
    /// A nats-server, if none is on the PATH.
    #[arg(long, env = "NATS_SERVER", value_name = "PATH")]
    nats_server: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let tools = Tools::find(args.nats_server.as_deref())?;
    if !tools.has_valgrind {
        if args.record {
            bail!(NO_VALGRIND);
        }
        eprintln!("{NO_VALGRIND}");
    }
    let recorded = Figures::recorded()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    let now = runtime.block_on(async {
        tokio::select! {
            counted = count(&tools) => counted,
            // What it has started ends with it.
            told = stopped::by_a_signal() => {
                told?;
                bail!("interrupted");
            }
        }
    })?;
    println!("{}", now.table(recorded.as_ref()));
    if args.record {
        return now.record();
    }
    let Some(recorded) = recorded else {
        bail!("nothing is recorded; --record does that");
    };
    if !now.is_alike(&recorded) {
        let (now, then) = (&now.toolchain, &recorded.toolchain);
        println!("This is {now}. Recorded is {then}, whose instructions are others.");
    }
    // What was won is lost unseen where it is not recorded.
    if !recorded.worse_than(&now).is_empty() {
        println!("Something costs less than is recorded; --record keeps it so.");
    }
    let worse = now.worse_than(&recorded);
    if args.check && !worse.is_empty() {
        bail!(
            "a hop costs more than is recorded; if it has to, --record it:\n  {}",
            worse.join("\n  ")
        );
    }
    Ok(())
}

async fn count(tools: &Tools) -> anyhow::Result<Figures> {
    let toolchain = toolchain()?;
    let nats = Nats::start(tools).await?;
    let mut rows = Vec::new();
    for hop in &HOPS {
        eprintln!("counting: {}", hop.name);
        let counted = hop.count(tools, &nats).await;
        rows.extend(counted.with_context(|| format!("{} can't be counted", hop.name))?);
    }
    Ok(Figures { toolchain, rows })
}
