//! What the driver runs: built, installed or found before anything is measured.

use std::{
    env, fs,
    path::{Path, PathBuf, absolute},
    process::Command,
};

use anyhow::{Context as _, bail};

use super::Args;
use crate::nats_server;

/// The load driver, installed under target/ if it isn't there.
const OHA: &str = "1.16.0";

#[derive(Debug)]
pub(super) struct Tools {
    pub(super) contenders: PathBuf,
    pub(super) nats_server: PathBuf,
    pub(super) oha: PathBuf,
}

impl Tools {
    pub(super) fn find(args: &Args) -> anyhow::Result<Self> {
        if cfg!(debug_assertions) && !args.rehearse {
            bail!("a debug build measures nothing; run it with --release, or with --rehearse");
        }
        let contenders = env::current_exe().context("this program's own path is unknown")?;
        let built = contenders.parent().context("a program lies in a folder")?;
        let target = built.parent().context("target/ holds what is built")?;
        Ok(Self {
            nats_server: nats_server::find(args.nats_server.as_deref(), target)?,
            oha: match &args.oha {
                Some(named) => absolute(named)?,
                None => oha(target)?,
            },
            contenders,
        })
    }
}

fn oha(target: &Path) -> anyhow::Result<PathBuf> {
    let root = target.join(format!("oha-{OHA}"));
    let oha = root.join("bin/oha");
    if !oha.exists() {
        let version = format!("oha@{OHA}");
        let root = root
            .to_str()
            .context("target/ has a name that is no text")?;
        cargo(&["install", "--locked", "--root", root, &version])?;
    }
    Ok(oha)
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("cargo")
        .args(arguments)
        .current_dir(root())
        .status()
        .context("cargo can't be run")?;
    if !done.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

impl Tools {
    /// The folder of all that is built.
    pub(super) fn target(&self) -> anyhow::Result<&Path> {
        let target = self.contenders.ancestors().nth(2);
        target.context("target/ holds what is built")
    }

    /// A program of the product, as it is shipped; [`build`] has made it.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.contenders.with_file_name(name)
    }
}

/// Builds the product's programs, or sees that they are there and no older than their source. Together with this one, so
/// that what both need is built once, with the features that this one was built with.
pub(super) fn build(args: &Args) -> anyhow::Result<()> {
    if args.rehearse {
        return Ok(());
    }
    let packages = ["-p", "nats-serve", "-p", "contenders"];
    let build = ["build", "--release", "--locked", "--bins"];
    cargo(&[&build[..], &packages[..]].concat())
}

/// The project's folder.
pub(super) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the kind of file system that temporary files are on, as far as it is known.
pub(super) fn file_system() -> String {
    let stat = Command::new("stat")
        .args(["--file-system", "--format", "%T"])
        .arg(env::temp_dir())
        .output();
    let said = stat.map(|stat| String::from_utf8_lossy(&stat.stdout).trim().to_owned());
    let known = said.ok().filter(|said| !said.is_empty());
    known.unwrap_or_else(|| "a file system of unknown kind".to_owned())
}

/// Describes where this was measured.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or_default();
    let kilobytes: u64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    let gigabytes = kilobytes / 1024 / 1024;
    format!("{cores} cores, {gigabytes} GiB of memory, all processes and the load driver together")
}
