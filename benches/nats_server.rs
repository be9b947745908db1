//! A nats-server: where it is, how it is run on loopback, and which port it has taken.
//!
//! Two programs have this file as a module: one counts its allocations and the other must not, so they are packages apart.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf, absolute},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::time::sleep;

/// Looks at whether it has a port, and the pause before each: twenty seconds together.
const LOOKS: u32 = 800;
const PAUSE: Duration = Duration::from_millis(25);

/// Older ones lack what nats/limits.conf asks for.
const MINIMUM: [u32; 3] = [2, 12, 0];

/// The one that is named, that on the `PATH` if it is new enough, or the newest that `nats-serve up` has installed.
pub(crate) fn find(named: Option<&Path>, target: &Path) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        // It is run in other folders.
        return Ok(absolute(named)?);
    }
    let on_path = Command::new("nats-server").arg("--version").output();
    let said = on_path.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // `nats-server: v2.15.1`
    let found = said
        .ok()
        .and_then(|said| version(said.rsplit_once(": v")?.1));
    if found.is_some_and(|found| found >= MINIMUM) {
        return Ok("nats-server".into());
    }
    let installed = fs::read_dir(target.join("nats-server"));
    let installed = installed.into_iter().flatten().flatten();
    let servers = installed.filter_map(|entry| {
        let path = entry.path();
        let version = version(path.file_name()?.to_str()?.strip_prefix("nats-server-")?)?;
        Some((version, path))
    });
    let newest = servers.max().map(|(_, path)| path);
    newest.context("no nats-server 2.12 or later: run `nats-serve up` once, which installs one, or name one with NATS_SERVER")
}

/// Reads `2.15.1`.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text.trim().split('.').map(|number| number.parse().ok());
    let version = [numbers.next()??, numbers.next()??, numbers.next()??];
    // An installation that was broken off has a longer name.
    numbers.next().is_none().then_some(version)
}

/// Lets it choose a port, and say it and all else in a folder.
pub(crate) fn arguments(config: &Path, folder: &Path) -> Vec<OsString> {
    let fixed = ["--addr", "127.0.0.1", "--port", "-1"].map(OsString::from);
    let named = [
        ("--config", config.to_owned()),
        ("--ports_file_dir", folder.to_owned()),
        ("--log", folder.join("log")),
    ];
    let named = named.into_iter();
    let named = named.flat_map(|(name, path)| [name.into(), path.into_os_string()]);
    fixed.into_iter().chain(named).collect()
}

/// Waits until it has said where it is.
pub(crate) async fn url(folder: &Path) -> anyhow::Result<String> {
    for _ in 0..LOOKS {
        sleep(PAUSE).await;
        let mut files = fs::read_dir(folder)?.flatten().map(|file| file.path());
        let ports = files.find(|path| path.extension().is_some_and(|it| it == "ports"));
        let Some(ports) = ports else { continue };
        // It may be half written.
        let read = serde_json::from_slice::<Value>(&fs::read(ports)?);
        if let Some(url) = read.unwrap_or_default()["nats"][0].as_str() {
            return Ok(url.to_owned());
        }
    }
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    bail!("nats-server did not say its port; its log: {log}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("2.9.10") < version("2.15.1\n"));
        assert_eq!(None, version("2.15.1.part"));
        assert_eq!(None, version("new"));
    }
}
