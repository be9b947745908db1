//! Lines on a terminal, with a status line below them.
//!
//! One thread owns the terminal. Each of its writes takes the status line away, adds whole lines, and puts the
//! status line back, so that there is no moment at which one stands in the other.

use std::{
    io::Write,
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use crate::{
    app::config::Terminal,
    telemetry::lines::{Command, Commands},
};

/// Lines that come faster are written together.
const PACE: Duration = Duration::from_millis(100);
/// The figures change when nothing is said, too.
const REST: Duration = Duration::from_secs(1);
/// Bytes of lines that are written at once, at most.
const MOST: usize = 64 << 10;
/// To the first column, and nothing from there on. What the terminal echoes (`^C`) goes, and the second half of
/// a status line that it has wrapped because it became narrower.
const CLEAR: &[u8] = b"\r\x1b[J";
/// Not wrapped where the terminal became narrower a moment ago.
const BEFORE: &str = "\x1b[?7l";
/// With the cursor in the first column, where what is echoed can't make a new line.
const AFTER: &str = "\x1b[?7h\r";

/// A terminal, and what its status line says at each moment: nothing, once it has ended.
pub(super) struct Redraw<W, S> {
    output: W,
    status: S,
    lines: Vec<u8>,
    is_shown: bool,
    last: Option<Instant>,
}

impl<W: Write, S: Fn() -> Option<String>> Redraw<W, S> {
    pub(super) fn new(output: W, status: S) -> Self {
        Self {
            output,
            status,
            lines: Vec::new(),
            is_shown: false,
            last: None,
        }
    }

    /// Writes what is queued until nobody is left who could queue more.
    pub(super) fn run(mut self, commands: &Commands, note: impl Fn(u64) -> String) {
        loop {
            let mut flushed = None;
            let wait = self.due().saturating_duration_since(Instant::now());
            match commands.next_within(wait) {
                Ok(Command::Write(line)) => self.lines.extend(line),
                Ok(Command::Flush(done)) => flushed = Some(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.draw(),
            }
            let missing = commands.dropped();
            if missing > 0 {
                self.lines.extend(format!("{}\n", note(missing)).bytes());
            }
            if flushed.is_some() || self.lines.len() >= MOST || self.due() <= Instant::now() {
                self.draw();
            }
            if let Some(done) = flushed {
                let _ = done.send(());
            }
        }
    }

    fn due(&self) -> Instant {
        let pause = if self.lines.is_empty() { REST } else { PACE };
        self.last.map_or_else(Instant::now, |last| last + pause)
    }

    /// Writes once, if there is anything to change. A reader that has gone is no reason to stop.
    fn draw(&mut self) {
        self.last = Some(Instant::now());
        let is_ours = Terminal::is_ours();
        let status = is_ours.then(|| (self.status)()).flatten();
        if self.lines.is_empty() && status.is_none() && !(self.is_shown && is_ours) {
            return;
        }
        let mut bytes = Vec::new();
        if is_ours {
            bytes.extend(CLEAR);
        }
        bytes.append(&mut self.lines);
        self.is_shown = status.is_some();
        if let Some(status) = status {
            bytes.extend([BEFORE, &status, AFTER].concat().bytes());
        }
        let _ = self.output.write_all(&bytes);
        let _ = self.output.flush();
    }
}
