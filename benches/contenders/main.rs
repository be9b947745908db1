//! Measures nats-serve beside what a team would take instead, in one run: docs/performance.md.
//!
//! Without a command it is the driver. With `serve` it is one process of a contender's chain: an HTTP gateway, or the
//! nth service behind it, which asks the next one. All have the same work, and their handlers keep all in memory.

mod chains;
mod driver;
#[path = "../nats_server.rs"]
mod nats_server;
#[path = "../stopped.rs"]
mod stopped;
mod work;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    about = "Measures nats-serve beside what a team would take instead.",
    args_conflicts_with_subcommands = true
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    driver: driver::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One process of a chain.
    #[command(hide = true)]
    Serve(chains::Args),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Serve(args)) => chains::run(&args),
        None => driver::run(&args.driver),
    }
}
