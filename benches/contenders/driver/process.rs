//! A process of a contender, and what it takes of the machine.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
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
    time::{sleep, timeout},
};

const START: Duration = Duration::from_secs(20);
const LEAVE: Duration = Duration::from_secs(15);
/// Spans wait for 25 ms, lines for 5: who has not computed for so long has nothing left to do.
const REST: Duration = Duration::from_millis(100);
/// Ways to look whether they rest.
const LOOKS: u32 = 50;

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Until it has said what was waited for.
    lines: Option<Lines<BufReader<ChildStdout>>>,
    /// What it says on standard error, as all in its folder.
    log: PathBuf,
}

/// What processes see of this one's environment. The user's settings would be measured, and his database filled.
const KEPT: [&str; 6] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LD_LIBRARY_PATH",
    "NATS_SERVER",
];

impl Process {
    pub(super) fn start(mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        forget_all_but_what_is_given(&mut command);
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
        Ok(Self {
            child,
            lines: Some(lines),
            log,
        })
    }

    /// Waits for a line in which something is found. What it says after that is read and thrown away: a full pipe would
    /// hold it up.
    pub(super) async fn says<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let mut lines = self.lines.take().context("it is listened to once")?;
        let looking = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(found) = find(&line) {
                    return Ok(found);
                }
            }
            let said = self.log();
            bail!("a process ended before it was ready; its log: {said}");
        };
        let found = timeout(START, looking).await;
        let found = found.with_context(|| {
            format!(
                "a process did not get ready in time; its log: {}",
                self.log()
            )
        })??;
        // It ends with the process.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(found)
    }

    /// Ends it as its supervisor would. Tells whether it left by itself, and well.
    pub(super) async fn leave(mut self) -> bool {
        drop(self.child.stdin.take());
        let left = timeout(LEAVE, self.child.wait()).await;
        let left = matches!(left, Ok(Ok(status)) if status.success());
        if !left {
            eprintln!(
                "a process did not leave, or not well, so what it lost is unknown: {}",
                self.log.display()
            );
        }
        left
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

fn forget_all_but_what_is_given(command: &mut Command) {
    let given = command.as_std().get_envs().map(|(name, _)| name.to_owned());
    let given: Vec<OsString> = given.collect();
    for (name, _) in env::vars_os() {
        let is_kept = KEPT.iter().any(|kept| name == *kept) || given.contains(&name);
        if !is_kept {
            command.env_remove(name);
        }
    }
}

/// What processes computed between two moments.
#[derive(Debug)]
pub(super) struct Work {
    pids: Vec<u32>,
    before: Duration,
}

impl Work {
    pub(super) fn of(pids: Vec<u32>) -> Self {
        let before = cpu(&pids);
        Self { pids, before }
    }

    /// Waits until all have come to rest: what a load has left over is its work, too.
    pub(super) async fn until_rest(&self) -> Duration {
        let mut after = cpu(&self.pids);
        for _ in 0..LOOKS {
            sleep(REST).await;
            let now = cpu(&self.pids);
            if now == after {
                break;
            }
            after = now;
        }
        after.saturating_sub(self.before)
    }
}

/// The time that processes have computed so far, with their children and with threads and children that have ended.
fn cpu(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

pub(super) fn cpu_of(pid: u32) -> Duration {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    let own = own_cpu(Path::new(&format!("/proc/{pid}")));
    children.map(cpu_of).sum::<Duration>() + own.unwrap_or_default()
}

/// `utime`, `stime`, and the same of children that have ended: proc_pid_stat(5).
fn own_cpu(place: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(place.join("stat")).ok()?;
    // The name before may hold anything.
    let (_, numbers) = stat.rsplit_once(')')?;
    let times = numbers.split_whitespace().skip(11).take(4);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(Duration::from_secs_f64(seconds))
}

/// The time that each thread of a process has computed so far, by its name, the first as `main`; those of one name together.
pub(super) fn cpu_by_thread(pid: u32) -> BTreeMap<String, Duration> {
    let mut threads = BTreeMap::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        // The kernel names it for the program.
        let name = match task.file_name() == *pid.to_string() {
            true => "main".to_owned(),
            false => fs::read_to_string(task.path().join("comm")).unwrap_or_default(),
        };
        let spent = own_cpu(&task.path()).unwrap_or_default();
        *threads.entry(name.trim().to_owned()).or_default() += spent;
    }
    threads
}

/// The time that this process itself has computed so far, with its children that have ended.
pub(super) fn own() -> Duration {
    own_cpu(Path::new("/proc/self")).unwrap_or_default()
}

/// The time that the processors which this process may use have had nothing to do, all together, and that in which they had
/// nothing to do but somebody waited for a disk: proc_stat(5).
pub(super) fn idle() -> [Duration; 2] {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let allowed = rustix::thread::sched_getaffinity(None).ok();
    let mut ticks = [0.0; 2];
    // `cpu0 user nice system idle iowait`
    for line in stat.lines() {
        let mut fields = line.split_whitespace();
        let nth = fields.next().and_then(|name| name.strip_prefix("cpu"));
        let Some(nth) = nth.and_then(|nth| nth.parse().ok()) else {
            continue;
        };
        if allowed.as_ref().is_none_or(|allowed| allowed.is_set(nth)) {
            for (sum, field) in ticks.iter_mut().zip(fields.skip(3)) {
                *sum += field.parse().unwrap_or(0.0);
            }
        }
    }
    let second = rustix::param::clock_ticks_per_second() as f64;
    ticks.map(|ticks| Duration::from_secs_f64(ticks / second))
}

/// What a process has in memory, in bytes.
pub(super) fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most that it has had.
pub(super) fn peak(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}
