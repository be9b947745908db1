//! How large the programs are.

use std::{fs, path::Path};

use anyhow::Context as _;
use tokio::process::Command;

use crate::driver::{application::SERVICES, table::markdown, tools::Tools};

pub(super) async fn run(tools: &Tools) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no folder can be made")?;
    let mut rows = Vec::new();
    for name in ["nats-serve"].into_iter().chain(SERVICES) {
        let program = tools.program(name);
        let stripped = folder.path().join(name);
        let strip = Command::new("strip")
            .arg("-o")
            .args([&stripped, &program])
            .output()
            .await;
        let has_stripped = strip.is_ok_and(|strip| strip.status.success());
        let without = match has_stripped {
            true => megabytes(&stripped)?,
            // binutils are not everywhere.
            false => "–".to_owned(),
        };
        rows.push(vec![name.to_owned(), megabytes(&program)?, without]);
    }
    println!("{}", markdown(&["program", "MB", "MB stripped"], &rows));
    Ok(())
}

fn megabytes(program: &Path) -> anyhow::Result<String> {
    let size = fs::metadata(program).with_context(|| format!("{} is gone", program.display()))?;
    Ok(format!("{:.1}", size.len() as f64 / 1e6))
}
