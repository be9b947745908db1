//! The Python environment of the conformance tests: whoever needs it first makes it, the tests or we.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

const REQUIREMENTS: &str = include_str!("../../../tests/conformance/requirements.txt");

/// The interpreter, in which the requirements can be imported. Place and marks are those of tests/conformance/python.rs.
pub(super) fn python(target: &Path) -> anyhow::Result<PathBuf> {
    let folder = target.join("tmp/conformance");
    let made = environment(&folder);
    made.with_context(|| format!("no Python environment in {}", folder.display()))
}

fn environment(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    // Tests may want it at the same moment.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let system = Path::new("python3");
    let version = evaluate(system, "import sys; print(sys.executable, sys.version)")?;
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    // Written last, so that what was begun and not finished is made anew.
    let made_from = venv.join("made-from");
    let wanted = format!("{version}\n{REQUIREMENTS}");
    if fs::read_to_string(&made_from).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    let _ = fs::remove_dir_all(&venv);
    let file = folder.join("requirements.txt");
    fs::write(&file, REQUIREMENTS)?;
    run(Command::new(system).args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(&python)
        .args("-m pip --quiet --disable-pip-version-check install --require-hashes -r".split(' '))
        .arg(&file))?;
    fs::write(&made_from, wanted)?;
    Ok(python)
}

/// Runs some Python and returns the line that it prints.
pub(super) fn evaluate(python: &Path, code: &str) -> anyhow::Result<String> {
    run(Command::new(python).args(["-c", code]))
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let needs = "contenders that send spans need CPython 3.10 to 3.13 with venv and pip's index";
    let output = command
        .output()
        .with_context(|| format!("{command:?} can't be run; {needs}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed; {needs}:\n{said}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
