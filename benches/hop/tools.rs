//! What the driver runs: built, or found before anything is counted.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

#[derive(Debug)]
pub(super) struct Tools {
    pub(super) hop: PathBuf,
    pub(super) nats_server: PathBuf,
    /// Without it nobody counts instructions.
    pub(super) has_valgrind: bool,
}

impl Tools {
    pub(super) fn find(nats_server: Option<&Path>) -> anyhow::Result<Self> {
        if cfg!(debug_assertions) {
            bail!("a debug build measures nothing; run it with --release");
        }
        let hop = env::current_exe().context("this program's own path is unknown")?;
        let release = hop.parent().context("a program lies in a folder")?;
        let target = release.parent().context("target/ holds release/")?;
        Ok(Self {
            nats_server: server(nats_server, target)?,
            has_valgrind: said(Command::new("valgrind").arg("--version")).is_some(),
            hop,
        })
    }
}

/// The one that is named, that on the `PATH`, or the one that `nats-serve up` has installed.
fn server(named: Option<&Path>, target: &Path) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        // It is run in other folders.
        return Ok(std::path::absolute(named)?);
    }
    if said(Command::new("nats-server").arg("--version")).is_some() {
        return Ok("nats-server".into());
    }
    let installed = fs::read_dir(target.join("nats-server"));
    let installed = installed.into_iter().flatten().flatten();
    let mut servers = installed.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("nats-server-")
    });
    servers
        .next()
        .context("no nats-server: run `nats-serve up` once, which installs one, or name one with NATS_SERVER")
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
