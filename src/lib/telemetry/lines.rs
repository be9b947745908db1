//! Lines for a terminal or a pipe, written by a thread of their own.
//!
//! Whoever reads them may stop (Ctrl-S, a pager, a full pipe), and a write would wait for as long as he
//! does. A request must not: what doesn't fit into the queue is dropped, and said when there is room.

use std::{
    io::{self, Write},
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::names;

/// Lines that may wait for a slow reader.
const QUEUE: usize = 4096;
/// How long a line that is in no hurry waits for others: each that is written by itself costs whoever logs it a wake-up,
/// and a write.
const COMPANY: Duration = Duration::from_millis(5);
/// Lines that are written together, at most.
const TOGETHER: usize = 512;
/// Longest wait for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What the thread that owns the output is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Write a line, which has its newline.
    Write(Vec<u8>),
    /// Answer when all that came before is written.
    Flush(SyncSender<()>),
}

/// The queue's other end.
#[derive(Debug)]
pub(crate) struct Commands {
    queue: Receiver<Command>,
    dropped: Arc<AtomicU64>,
    hurry: Arc<AtomicBool>,
}

impl Commands {
    /// Waits so long for the next one.
    #[cfg(feature = "app")]
    pub(crate) fn next_within(
        &self,
        wait: Duration,
    ) -> Result<Command, std::sync::mpsc::RecvTimeoutError> {
        self.queue.recv_timeout(wait)
    }

    /// Returns how many lines were dropped since this was asked last.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.swap(0, Relaxed)
    }
}

/// Takes whole lines and never waits; clones share the queue. The thread ends with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    queue: SyncSender<Command>,
    owner: Thread,
    dropped: Arc<AtomicU64>,
    /// Something that is queued can't wait.
    hurry: Arc<AtomicBool>,
}

impl Lines {
    /// Starts the thread that owns the output.
    ///
    /// `note` words the line that says how many lines were dropped.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        note: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(move |commands| write(output, commands, note, COMPANY))
    }

    /// Starts the thread that owns the output with an owner that writes in a way of its own.
    pub(crate) fn start_with(owner: impl FnOnce(&Commands) + Send + 'static) -> io::Result<Self> {
        let (sender, queue) = sync_channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let hurry = Arc::<AtomicBool>::default();
        let commands = Commands {
            queue,
            dropped: Arc::clone(&dropped),
            hurry: Arc::clone(&hurry),
        };
        let owner = thread::Builder::new()
            .name("nats-serve-lines".to_owned())
            .spawn(move || owner(&commands))?;
        Ok(Self {
            queue: sender,
            owner: owner.thread().clone(),
            dropped,
            hurry,
        })
    }

    /// Queues a line, its newline included, to be written at once.
    pub(crate) fn send(&self, line: Vec<u8>) {
        self.queue(line);
        self.hurry();
    }

    /// Ends the owner's wait, or sees that it has none: it may not have come to it yet.
    fn hurry(&self) {
        self.hurry.store(true, Relaxed);
        self.owner.unpark();
    }

    fn queue(&self, line: Vec<u8>) {
        if self.queue.try_send(Command::Write(line)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits until what is queued has been written, but not for a reader that has stopped.
    pub(crate) fn flush(&self) {
        let until = Instant::now() + FLUSH_TIMEOUT;
        let (done, wait) = sync_channel(1);
        while self.queue.try_send(Command::Flush(done.clone())).is_err() {
            if Instant::now() >= until {
                return;
            }
            thread::sleep(COMPANY);
        }
        self.hurry();
        let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// A reader that has gone is no reason to stop: its lines are lost, and nothing else.
fn write(
    mut output: impl Write,
    commands: &Commands,
    note: impl Fn(u64) -> String,
    company: Duration,
) {
    let mut text = Vec::new();
    let mut waits = Vec::new();
    let mut is_in_a_burst = false;
    while let Ok(command) = commands.queue.recv() {
        // Whoever is in a hurry says so before he ends the wait, so neither is missed.
        if !is_in_a_burst && !commands.hurry.swap(false, Relaxed) {
            thread::park_timeout(company);
        }
        let mut lines = 0;
        for command in iter::once(command).chain(commands.queue.try_iter().take(TOGETHER)) {
            match command {
                Command::Write(line) => text.extend_from_slice(&line),
                Command::Flush(done) => waits.push(done),
            }
            lines += 1;
        }
        is_in_a_burst = lines > TOGETHER;
        let missing = commands.dropped();
        if missing > 0 {
            let _ = writeln!(text, "{}", note(missing));
        }
        let _ = output.write_all(&text);
        let _ = output.flush();
        text.clear();
        for done in waits.drain(..) {
            let _ = done.send(());
        }
    }
}

/// Collects what a formatter writes in pieces, and queues it as one line when it is dropped.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
    may_wait: bool,
}

impl Lines {
    fn line(&self, may_wait: bool) -> Line<'_> {
        Line {
            lines: self,
            text: Vec::new(),
            may_wait,
        }
    }
}

/// The line of each request may wait for company: there are many, and nobody waits for one.
impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.line(false)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        self.line(metadata.target() == names::ACCESS_LOG)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        match self.may_wait {
            true => self.lines.queue(text),
            false => self.lines.send(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe whose reader has stopped: it tells when it is written to, and takes nothing until the test ends.
    struct Stuck(SyncSender<()>, Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            let _ = self.1.recv();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Tells when something is written.
    struct Told(SyncSender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(text.to_vec());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines whose company may take an hour to come, and what is written of them.
    fn patient() -> (Lines, Receiver<Vec<u8>>) {
        let (told, written) = sync_channel(16);
        let note = |dropped: u64| dropped.to_string();
        let hour = Duration::from_secs(3600);
        let owner = move |commands: &Commands| write(Told(told), commands, note, hour);
        (Lines::start_with(owner).unwrap(), written)
    }

    #[test]
    fn a_line_in_a_hurry_waits_for_no_company() {
        let (lines, written) = patient();
        for _ in 0..100 {
            // The thread sleeps by then, or doesn't: it must not matter.
            thread::sleep(Duration::from_millis(1));
            lines.send(b"line\n".to_vec());
            let text = written.recv_timeout(Duration::from_secs(60));
            assert_eq!(Ok(b"line\n".to_vec()), text);
        }
    }

    #[test]
    fn lines_in_no_hurry_are_written_together_and_in_order() {
        let (lines, written) = patient();
        let all: Vec<String> = (0..100).map(|number| format!("{number}\n")).collect();
        for line in &all {
            lines.queue(line.clone().into_bytes());
        }
        lines.flush();
        let written: Vec<Vec<u8>> = written.try_iter().collect();
        assert_eq!(all.concat().into_bytes(), written.concat());
        // One, but a thread may wake for no reason.
        assert!(written.len() < 10, "{}", written.len());
    }

    #[test]
    fn a_reader_that_has_stopped_holds_up_nobody() {
        let (_held, stuck) = sync_channel(0);
        let (told, written_to) = sync_channel(1);
        let stuck = Stuck(told, stuck);
        let lines = Lines::start(stuck, |dropped| dropped.to_string()).unwrap();
        lines.send(b"line\n".to_vec());
        written_to.recv_timeout(Duration::from_secs(60)).unwrap();
        for _ in 0..QUEUE * 2 {
            lines.send(b"line\n".to_vec());
        }
        assert_eq!(QUEUE as u64, lines.dropped.load(Relaxed));
    }
}
