//! A process of the real program, whose output is kept and which never outlives its test.
//!
//! When it ends with its test, what it has said is searched for canaries, and so is what `run` has printed.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{PATIENCE, canaries, eventually};

/// How long the end of what a process has said is waited for, where its children have its pipes, too.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The program under test.
pub(crate) fn program() -> &'static str {
    // tests/containers is a package of its own, and has it under a name of its own.
    option_env!("CARGO_BIN_EXE_nats-serve")
        .or(option_env!("CARGO_BIN_EXE_nats-serve-tested"))
        .expect("cargo builds it")
}

/// Where spans are written to, in the folder of a process that is not told otherwise.
pub(crate) const SPANS: &str = ".nats-serve/spans";

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    output: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
    /// Where it writes spans, if nobody else looks at them.
    spans: Option<PathBuf>,
    is_told_names: bool,
}

impl Process {
    /// Starts the program in a folder, without the settings of whoever runs the tests.
    pub(crate) fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process = Self::start_program(program().as_ref(), folder, arguments, variables);
        process.spans = Some(folder.join(SPANS));
        process
    }

    pub(crate) fn start_program(
        program: &Path,
        folder: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = command(program, folder, arguments, variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::<Mutex<String>>::default();
        let readers = [
            keep(child.stdout.take().unwrap(), &output),
            keep(child.stderr.take().unwrap(), &output),
        ];
        Self {
            child,
            name: arguments.join(" "),
            output,
            readers,
            spans: None,
            is_told_names: false,
        }
    }

    /// It is a mail server, which prints the mails that it has got.
    #[allow(dead_code, reason = "tests/it has none")]
    pub(crate) fn with_mails(mut self) -> Self {
        self.is_told_names = true;
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has printed so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until it has printed some words.
    pub(crate) async fn says(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.output().contains(words) {
            let ended = self.child.try_wait().unwrap();
            // What it said last may still be in the pipe.
            let grace = if ended.is_some() {
                Duration::from_millis(300)
            } else {
                Duration::from_millis(20)
            };
            tokio::time::sleep(grace).await;
            assert!(
                self.output().contains(words) || (ended.is_none() && Instant::now() < until),
                "`{}` never said {words:?} ({ended:?}), but:\n{}",
                self.name,
                self.output()
            );
        }
    }

    /// Where a service tells how it fares, which it says at its start.
    pub(crate) fn admin(&self) -> String {
        self.admin_if_said().expect("it has said so")
    }

    pub(crate) fn admin_if_said(&self) -> Option<String> {
        let output = self.output();
        let (_, rest) = output.split_once("health and metrics at http://")?;
        Some(rest.split(['"', '\n', ' ', ';']).next()?.to_owned())
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let what = format!("the end of `{}`", self.name);
        eventually(&what, async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let until = Instant::now() + LAST_WORDS;
        while !self.readers.iter().all(JoinHandle::is_finished) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        if thread::panicking() {
            eprintln!("--- `{}` said:\n{}", self.name, self.output());
        } else if !self.is_told_names {
            let place = format!("what `{}` said", self.name);
            canaries::see_that_none_is_in(&place, self.output().as_bytes());
        }
        if let Some(spans) = &self.spans {
            canaries::see_that_none_is_below(spans);
        }
    }
}

/// A command of the program whose environment holds nothing but what is needed and what is given.
pub(crate) fn command(
    program: &Path,
    folder: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_clear();
    for kept in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "NATS_SERVER"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.envs(variables.iter().copied());
    command
}

/// Runs the program to its end and returns whether it went well, and what it printed.
pub(crate) fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let output = command(program().as_ref(), folder, arguments, variables)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    let place = format!("what `{}` said", arguments.join(" "));
    canaries::see_that_none_is_in(&place, text.as_bytes());
    (output.status.success(), text)
}

/// Where cargo put the program's siblings, the examples among them.
pub(crate) fn build_folder() -> PathBuf {
    Path::new(program()).parent().unwrap().to_owned()
}

fn keep(pipe: impl std::io::Read + Send + 'static, output: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    })
}
