//! Python environments under the target folder, each made once from its requirements.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

use crate::support::{Process, Stack, process};

/// Name and requirements of an environment.
type Wanted = (&'static str, &'static str);

const SERVERS: Wanted = ("conformance", include_str!("requirements.txt"));
const TESTER: Wanted = ("schemathesis", include_str!("schemathesis.txt"));
const VALIDATOR: Wanted = ("kubernetes-validate", include_str!("kubernetes.txt"));

/// Where this folder's scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

/// The interpreter, in which the requirements can be imported.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| environment(SERVERS))
}

/// The program of the tester of HTTP APIs.
pub(crate) fn tester() -> &'static Path {
    static TESTER_PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    TESTER_PROGRAM.get_or_init(|| environment(TESTER).with_file_name("schemathesis"))
}

/// Runs one of the scripts where the validator of Kubernetes manifests can be imported, and reads the JSON that it prints.
pub(crate) fn with_validator(name: &str, arguments: &[&str]) -> Value {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let python = PYTHON.get_or_init(|| environment(VALIDATOR));
    let printed = run(Command::new(python).arg(path(name)).args(arguments));
    serde_json::from_str(&printed).unwrap()
}

/// Runs one of the scripts against a stack's NATS and reads the JSON that it prints.
pub(crate) async fn script(name: &str, stack: &Stack, arguments: &[&str]) -> Value {
    let nats = stack.nats.as_ref().unwrap().url();
    let all: Vec<&str> = [nats.as_str()].iter().chain(arguments).copied().collect();
    script_at(name, stack, &all).await
}

/// The same of a script that needs no NATS.
pub(crate) async fn script_at(name: &str, stack: &Stack, arguments: &[&str]) -> Value {
    let script = path(name);
    let all: Vec<&str> = [script.as_str()].iter().chain(arguments).copied().collect();
    let command = process::command(python(), stack.folder(), &all, &[]);
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts one of the scripts that serve for as long as the process is kept, and waits until it says that it is ready.
pub(crate) async fn serving(name: &str, stack: &Stack) -> Process {
    let nats = stack.nats.as_ref().unwrap().url();
    let mut process = Process::start_program(python(), stack.folder(), &[&path(name), &nats], &[]);
    process.says("is ready").await;
    process
}

fn path(script: &str) -> String {
    format!("{SCRIPTS}/{script}")
}

/// Runs some Python and returns the line that it prints.
pub(crate) fn evaluate(python: &Path, code: &str) -> String {
    run(Command::new(python).args(["-c", code]))
}

/// Other tests, and other test processes, may want it at the same moment.
fn environment((name, requirements): Wanted) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();

    let system = Path::new("python3");
    let version = evaluate(system, "import sys; print(sys.executable, sys.version)");
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    // Written last, so that what was begun and not finished is made anew.
    let made_from = venv.join("made-from");
    let wanted = format!("{version}\n{requirements}");
    if fs::read_to_string(&made_from).is_ok_and(|text| text == wanted) {
        return python;
    }
    let _ = fs::remove_dir_all(&venv);
    let file = folder.join("requirements.txt");
    fs::write(&file, requirements).unwrap();
    run(Command::new(system).args(["-m", "venv"]).arg(&venv));
    run(Command::new(&python)
        .args("-m pip --quiet --disable-pip-version-check install --require-hashes -r".split(' '))
        .arg(&file));
    fs::write(&made_from, wanted).unwrap();
    python
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; these tests need python3"));
    let (said, failed) = (output.stdout, output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed; these tests need python3 with venv, and pip's index:\n{}{}",
        String::from_utf8_lossy(&said),
        String::from_utf8_lossy(&failed)
    );
    String::from_utf8(said).unwrap().trim().to_owned()
}
