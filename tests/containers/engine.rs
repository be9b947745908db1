//! The container engine, as its command line shows it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The folder of Dockerfile and docker-compose.yml.
pub(crate) fn repository() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().unwrap()
}

/// Compose as it is called here: the plugin, or the program of its own that came before.
pub(crate) fn compose() -> &'static str {
    static COMPOSE: OnceLock<&str> = OnceLock::new();
    COMPOSE.get_or_init(|| {
        let works = |words: &str| sh(&format!("{words} version")).is_ok();
        let found = ["docker compose", "docker-compose"]
            .into_iter()
            .find(|words| works(words));
        found.expect(
            "these tests need Docker Compose: neither `docker compose` nor `docker-compose` works",
        )
    })
}

/// Runs docker and returns what it printed.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    must(command.args(arguments))
}

/// Runs a line of shell in the repository's folder. An error is what it printed.
pub(crate) fn sh(line: &str) -> Result<String, String> {
    run(Command::new("sh").args(["-c", line]))
}

/// Runs a command to its end, and panics with what it printed if it fails.
#[track_caller]
pub(crate) fn must(command: &mut Command) -> String {
    run(command).unwrap_or_else(|said| panic!("{command:?} failed:\n{said}"))
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .current_dir(repository())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{error}; these tests need Docker, and Compose"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stdout) + &text(&output.stderr)),
    }
}
