//! What it takes to run the application: memory, the time of a start, and the size of the programs.

mod memory;
mod sizes;
mod start;

use super::{Args, tools};
use crate::driver::tools::Tools;

pub(super) async fn run(args: &Args, tools: &Tools) -> anyhow::Result<()> {
    tools::build(args)?;
    memory::run(args, tools).await?;
    start::run(tools).await?;
    sizes::run(tools).await
}
