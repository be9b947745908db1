//! What the driver runs: built, or found before anything is counted.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use super::nats_server;

#[derive(Debug)]
pub(super) struct Tools {
    pub(super) hop: PathBuf,
    pub(super) nats_server: PathBuf,
    /// Without it nobody counts instructions.
    pub(super) has_valgrind: bool,
}

impl Tools {
    pub(super) fn find(named: Option<&Path>) -> anyhow::Result<Self> {
        if cfg!(debug_assertions) {
            bail!("a debug build measures nothing; run it with --release");
        }
        let hop = env::current_exe().context("this program's own path is unknown")?;
        let release = hop.parent().context("a program lies in a folder")?;
        let target = release.parent().context("target/ holds release/")?;
        Ok(Self {
            nats_server: nats_server::find(named, target)?,
            has_valgrind: said(Command::new("valgrind").arg("--version")).is_some(),
            hop,
        })
    }
}

/// What instructions depend on: `rustc 1.95.0 (59807616e 2026-04-14), x86_64-unknown-linux-gnu, glibc 2.36,
/// valgrind-3.19.0`.
pub(super) fn toolchain() -> anyhow::Result<String> {
    let told = said(Command::new("rustc").arg("-vV").current_dir(root()));
    let told = told.context("rustc can't be run")?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    let version = told.lines().next().unwrap_or_default();
    let host = host.unwrap_or_default();
    // The allocator is the library's.
    let libc = said(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    let valgrind = said(Command::new("valgrind").arg("--version"));
    let others = [libc, valgrind].into_iter().flatten();
    let others = others.map(|it| format!(", {}", it.trim()));
    Ok(format!("{version}, {host}{}", others.collect::<String>()))
}

/// The project's folder.
pub(super) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}
