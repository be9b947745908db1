//! A process of a contender, and what it takes of the machine.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

const START: Duration = Duration::from_secs(20);
const LEAVE: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Kept open, or its next line would end it.
    lines: Lines<BufReader<ChildStdout>>,
    /// What it says on standard error, as all in its folder.
    log: PathBuf,
}

impl Process {
    pub(super) fn start(
        program: &Path,
        folder: &Path,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::run(command, folder)
    }

    /// The same of one that is given more than arguments.
    pub(super) fn run(mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("log");
        let said = OpenOptions::new().create(true).append(true).open(&log);
        let mut child = command
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said.context("its log can't be written")?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let program = Path::new(command.as_std().get_program());
                format!("{} can't be run", program.display())
            })?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines, log })
    }

    /// Waits for a line in which something is found.
    pub(super) async fn says<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let looking = async {
            while let Some(line) = self.lines.next_line().await? {
                if let Some(found) = find(&line) {
                    return Ok(found);
                }
            }
            let said = self.log();
            bail!("a process ended before it was ready; its log: {said}");
        };
        timeout(START, looking)
            .await
            .context("a process did not get ready in time")?
    }

    /// Ends it as its supervisor would. Tells whether it left by itself, and well.
    pub(super) async fn leave(mut self) -> bool {
        drop(self.child.stdin.take());
        let left = timeout(LEAVE, self.child.wait()).await;
        matches!(left, Ok(Ok(status)) if status.success())
    }

    /// What it and all others in its folder said on standard error.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends one that leaves when it is interrupted.
    pub(super) async fn interrupt(mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = timeout(LEAVE, self.child.wait()).await;
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// What it has said on standard error, if it has ended.
    pub(super) fn last_words(&mut self) -> Option<String> {
        let ended = !matches!(self.child.try_wait(), Ok(None));
        ended.then(|| fs::read_to_string(&self.log).unwrap_or_default())
    }
}

/// The time that processes have computed so far.
pub(super) fn cpu(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

fn cpu_of(pid: u32) -> Duration {
    // The scheduler's own account, in nanoseconds: of every thread, for the file of the process has its first one's.
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let account = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        account.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// What a process has in memory, in bytes.
pub(super) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}
