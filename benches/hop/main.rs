//! Counts what one hop costs the process that calls and the one that answers: docs/performance.md.
//!
//! Without a command it is the driver. With `serve` it is one side of the hop: it tells at its end what it has
//! allocated, and callgrind, under which the driver runs it as well, what it has executed.

mod driver;
mod figures;
mod hops;
#[path = "../nats_server.rs"]
mod nats_server;
mod process;
mod side;
#[path = "../stopped.rs"]
mod stopped;
mod tools;

use std::alloc::System;

use clap::{Parser, Subcommand};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts in each process, and so is a part of the instructions, always the same: some ten for each allocation.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Parser)]
#[command(
    about = "Counts instructions and allocations of one hop.",
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
    /// One side of the hop.
    #[command(hide = true)]
    Serve(side::Args),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Serve(args)) => side::run(&args),
        None => driver::run(&args.driver),
    }
}
