//! Drives the contenders in turns, and prints what came of it.

mod application;
mod compare;
mod footprint;
mod growth;
mod lateness;
mod losses;
mod machine;
mod nats;
mod oha;
mod process;
mod profile;
mod python;
mod receiver;
mod soak;
mod stack;
mod table;
mod tools;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;

use self::tools::Tools;
use crate::stopped;

/// How long a load of a rehearsal takes.
const REHEARSED: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// All chains with the same work, in turns.
    Chains,
    /// The application as it is shipped, on each of its stores, and the stores alone.
    Application,
    /// What the processes have in memory, how long a start takes, and how large the programs are.
    Footprint,
    /// How ours and async-nats alone grow: replicas, connections, bodies, hops.
    Growth,
    /// Half an hour of half load with all that happens meanwhile: late answers, and replicas that are restarted.
    Soak,
}

#[derive(Debug, Clone, clap::Args)]
// The program's own arguments have the name of this struct already.
#[group(skip)]
pub(crate) struct Args {
    /// What is measured. Without a word all but the soak.
    #[arg(
        value_enum,
        value_name = "PART",
        hide_default_value = true,
        default_values = ["chains", "application", "footprint", "growth"]
    )]
    parts: Vec<Part>,
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each load of a turn takes; of growth, three tenths of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How long the soak takes.
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..))]
    minutes: u32,
    /// Only contenders whose name holds one of these.
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    only: Vec<String>,
    /// A nats-server, if none is on the PATH.
    #[arg(long, env = "NATS_SERVER", value_name = "PATH")]
    nats_server: Option<PathBuf>,
    /// Shows that all of it works, and measures nothing: one round of short loads, by the programs that lie beside this one
    /// as they are, optimised or not.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    rehearse: bool,
    /// oha, if it shall not be installed.
    #[arg(long, env = "OHA", value_name = "PATH")]
    oha: Option<PathBuf>,
}

impl Args {
    fn load(&self) -> Duration {
        match self.rehearse {
            true => REHEARSED,
            false => Duration::from_secs(self.seconds),
        }
    }

    fn rounds(&self) -> u32 {
        if self.rehearse { 1 } else { self.rounds }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        !args.parts.contains(&Part::Application) || tools::file_system() != "tmpfs",
        "temporary files are in memory, where a commit costs nothing: set TMPDIR to a folder on a disk that every user can enter"
    );
    ensure!(
        Path::new("/proc/self/stat").exists(),
        "what processes take of the machine is read in /proc, which Linux has"
    );
    let tools = Tools::find(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    runtime.block_on(async {
        println!("{}\n", tools::machine());
        if args.rehearse {
            println!("A rehearsal: no figure below says anything.\n");
        }
        tokio::select! {
            measured = measure(args, &tools) => measured,
            // What it has started and written ends with it.
            told = stopped::by_a_signal() => {
                told?;
                bail!("interrupted");
            }
        }
    })
}

async fn measure(args: &Args, tools: &Tools) -> anyhow::Result<()> {
    for part in &args.parts {
        match part {
            Part::Chains => compare::run(args, tools).await?,
            Part::Application => application::run(args, tools).await?,
            Part::Footprint => footprint::run(args, tools).await?,
            Part::Growth => growth::run(args, tools).await?,
            Part::Soak => soak::run(args, tools).await?,
        }
    }
    Ok(())
}
