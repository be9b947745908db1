//! One child: started, read, restarted when it dies, stopped when told.

use std::{collections::VecDeque, pin::pin, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader, Split},
    process::{Child, ChildStderr, ChildStdout},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    lines::Line,
    replicas::{Counted, Replicas},
    spec::Spec,
};
use crate::{
    Shutdown,
    app::process::{LEFT, Ready},
};

/// Time for a child to leave beyond the grace that it gives its requests: flushing spans and the like.
/// One whose thread is blocked ends itself by then.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// Time for a process to end that has closed its output.
const END: Duration = Duration::from_millis(500);
/// Time for a child that was told twice to leave at once, and to be told so again: it may have heard that before it
/// heard the first.
const HURRY: Duration = Duration::from_millis(500);
/// A child that ran this long starts with a fresh backoff.
const STEADY: Duration = Duration::from_secs(30);
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// Lines that are kept for the report of a death.
const LAST_WORDS: usize = 3;

/// What a child did.
#[derive(Debug)]
pub(super) enum Report {
    Ready(&'static str, Ready),
    /// A line of its log.
    Line(&'static str, Line),
    /// It did not leave when it was told.
    Killed(&'static str),
    /// It ended before it was ever ready.
    NeverReady {
        name: &'static str,
        last_words: String,
    },
    /// It ended; it is started again after the pause.
    Died {
        name: &'static str,
        how: String,
        last_words: String,
        again_in: Duration,
    },
}

/// How one life of a child ended.
enum End {
    Stopped,
    Died(Death),
}

struct Death {
    how: String,
    last_words: String,
    was_ready: bool,
}

/// What passes between a child's keeper and its team.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    /// It is to stop.
    pub(super) stop: Shutdown,
    /// It works for nobody any more, though it may not have ended.
    pub(super) left: Shutdown,
}

/// Keeps a child running until it is told to stop.
pub(super) async fn keep(
    spec: Spec,
    orders: Orders,
    reports: mpsc::Sender<Report>,
    replicas: Arc<Replicas>,
) {
    let name = spec.name;
    let mut backoff = FIRST_BACKOFF;
    let mut ever_ready = false;
    loop {
        let started = Instant::now();
        let End::Died(death) = live(&spec, &orders, &reports, &replicas).await else {
            return;
        };
        ever_ready |= death.was_ready;
        if !ever_ready {
            let last_words = match death.last_words.as_str() {
                "" => death.how,
                words => words.to_owned(),
            };
            let _ = reports.send(Report::NeverReady { name, last_words }).await;
            return;
        }
        if started.elapsed() >= STEADY {
            backoff = FIRST_BACKOFF;
        }
        let died = Report::Died {
            name,
            how: death.how,
            last_words: death.last_words,
            again_in: backoff,
        };
        let _ = reports.send(died).await;
        tokio::select! {
            () = orders.stop.requested() => return,
            () = sleep(backoff) => {}
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// One life, from start to end.
async fn live(
    spec: &Spec,
    orders: &Orders,
    reports: &mpsc::Sender<Report>,
    replicas: &Arc<Replicas>,
) -> End {
    let mut command = spec.command();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return End::Died(Death {
                how: format!("it could not be run: {error}"),
                last_words: String::new(),
                was_ready: false,
            });
        }
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut heard = Heard {
        // A server is ready when its port answers, which is seen elsewhere.
        was_ready: !spec.is_service,
        orders,
        replicas,
        counted: None,
        last_words: VecDeque::new(),
    };
    let mut stopping = false;
    {
        // Both pipes close when the process ends.
        let mut listening = pin!(heard.listen(spec.name, stdout, stderr, reports));
        tokio::select! {
            () = orders.stop.requested() => stopping = true,
            () = &mut listening => {}
        }
        if stopping {
            ask_to_leave(spec, &mut child);
            // Its last lines are shown too; one that doesn't leave is killed.
            tokio::select! {
                _ = timeout(spec.grace + STOP_MARGIN, &mut listening) => {}
                () = orders.stop.hurried() => {
                    for _ in 0..2 {
                        terminate(&child);
                        if timeout(HURRY, &mut listening).await.is_ok() {
                            break;
                        }
                    }
                }
            }
        }
    }
    if stopping {
        if timeout(END, child.wait()).await.is_err() {
            let _ = child.kill().await;
            let _ = reports.send(Report::Killed(spec.name)).await;
        }
        return End::Stopped;
    }
    // One that has closed its pipes and lives on is no use, and nothing else would end it.
    let how = match timeout(STOP_MARGIN, child.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            let _ = child.kill().await;
            "it closed its output".to_owned()
        }
    };
    End::Died(Death {
        how,
        last_words: heard.last_words.make_contiguous().join(" / "),
        was_ready: heard.was_ready,
    })
}

/// A service leaves when its standard input closes; a server when it is told.
fn ask_to_leave(spec: &Spec, child: &mut Child) {
    drop(child.stdin.take());
    if !spec.is_service {
        terminate(child);
    }
}

fn terminate(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = id.and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// What a child has said.
struct Heard<'a> {
    was_ready: bool,
    orders: &'a Orders,
    replicas: &'a Arc<Replicas>,
    /// While it is ready.
    counted: Option<Counted>,
    last_words: VecDeque<String>,
}

impl Heard<'_> {
    /// Passes on what the child says until both its pipes are closed.
    async fn listen(
        &mut self,
        name: &'static str,
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
        reports: &mpsc::Sender<Report>,
    ) {
        let mut out = stdout.map(|out| BufReader::new(out).split(b'\n'));
        let mut err = stderr.map(|err| BufReader::new(err).split(b'\n'));
        loop {
            tokio::select! {
                Some(line) = next(&mut out) => {
                    if line == LEFT {
                        // One that leaves unasked is started again.
                        if self.orders.stop.is_requested() {
                            self.orders.left.request();
                        }
                    } else if let Ok(ready) = serde_json::from_str(&line) {
                        self.was_ready = true;
                        self.counted.get_or_insert_with(|| Counted::new(self.replicas));
                        let _ = reports.send(Report::Ready(name, ready)).await;
                    }
                }
                Some(line) = next(&mut err) => {
                    let line = Line::parse(&line);
                    if let Some(words) = line.last_words() {
                        if self.last_words.len() == LAST_WORDS {
                            self.last_words.pop_front();
                        }
                        self.last_words.push_back(words.to_owned());
                    }
                    let _ = reports.send(Report::Line(name, line)).await;
                }
                else => return,
            }
        }
    }
}

/// Reads a line, whatever bytes are in it; an error counts as the end of that pipe.
async fn next<R: AsyncBufRead + Unpin>(lines: &mut Option<Split<R>>) -> Option<String> {
    let line = lines.as_mut()?.next_segment().await.ok().flatten();
    if line.is_none() {
        *lines = None;
    }
    line.map(|line| String::from_utf8_lossy(&line).into_owned())
}
