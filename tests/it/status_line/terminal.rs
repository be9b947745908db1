//! The real program on a terminal, and what a person sees there.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZeroU16,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
    pty, termios,
};

use crate::support::{canaries, eventually, process};

const ROWS: NonZeroU16 = NonZeroU16::new(24).unwrap();
/// Rows that have left the screen at the top.
const HISTORY: usize = 5_000;

pub(crate) struct Terminal {
    child: Child,
    ours: File,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    bytes: Vec<u8>,
    emulator: vt100::Parser,
}

impl Terminal {
    /// Starts the program on a terminal of so many columns.
    pub(crate) fn start(
        columns: u16,
        folder: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let (ours, theirs) = open();
        set_columns(&ours, columns);
        let end = || theirs.try_clone().unwrap();
        let child = process::command(process::program().as_ref(), folder, arguments, variables)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let seen = Arc::new(Mutex::new(Seen {
            bytes: Vec::new(),
            emulator: vt100::Parser::new(ROWS, columns.try_into().unwrap(), HISTORY),
        }));
        watch(ours.try_clone().unwrap(), &seen);
        Self { child, ours, seen }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes the window as wide as that, as a person does with the mouse.
    pub(crate) fn resize(&self, columns: u16) {
        let mut seen = self.seen.lock().unwrap();
        seen.emulator.set_size(ROWS, columns.try_into().unwrap());
        set_columns(&self.ours, columns);
    }

    /// Types characters. Of a control character this terminal sends no signal, but it shows it.
    pub(crate) fn type_in(&mut self, characters: &str) {
        self.ours.write_all(characters.as_bytes()).unwrap();
    }

    /// Every byte that was written.
    pub(crate) fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).into_owned()
    }

    /// All rows from the first, those that have left the screen too, without the empty ones at the end; none
    /// while the half of something is read.
    pub(crate) fn rows(&self) -> Option<Vec<String>> {
        let mut seen = self.seen.lock().unwrap();
        let is_whole = matches!(seen.bytes.last(), Some(b'\r' | b'\n'));
        is_whole.then(|| seen.rows())
    }

    /// Waits until the last row is as wanted, and returns all of them.
    pub(crate) async fn last_row(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        eventually(what, async || {
            let is_wanted = |rows: &Vec<String>| rows.last().is_some_and(|row| wanted(row));
            self.rows().filter(is_wanted)
        })
        .await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the program on the terminal", async || {
            self.child.try_wait().unwrap()
        })
        .await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let rows = self.seen.lock().unwrap().rows();
            eprintln!("--- the terminal showed:\n{}", rows.join("\n"));
        }
        canaries::see_that_none_is_in("what a terminal showed", &self.seen.lock().unwrap().bytes);
    }
}

impl Seen {
    fn rows(&mut self) -> Vec<String> {
        let screen = self.emulator.screen_mut();
        let columns = screen.size().1.get();
        let mut rows = Vec::new();
        for above in (1..=screen.scrollback_len()).rev() {
            screen.set_scrollback(above);
            rows.extend(screen.rows(0, columns).next());
        }
        screen.set_scrollback(0);
        rows.extend(screen.rows(0, columns));
        while rows.last().is_some_and(|row| row.trim().is_empty()) {
            rows.pop();
        }
        rows
    }
}

/// Returns our end and the program's.
fn open() -> (File, OwnedFd) {
    let ours = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&ours).unwrap();
    pty::unlockpt(&ours).unwrap();
    let name = pty::ptsname(&ours, Vec::new()).unwrap();
    let theirs = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC).unwrap();
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::CLOEXEC).unwrap();
    (ours.into(), theirs)
}

fn set_columns(terminal: &File, columns: u16) {
    let size = termios::Winsize {
        ws_row: ROWS.get(),
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    termios::tcsetwinsize(terminal, size).unwrap();
}

/// Shows what the program writes until it is gone.
fn watch(mut terminal: File, seen: &Arc<Mutex<Seen>>) {
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = terminal.read(&mut buffer) {
            let mut seen = seen.lock().unwrap();
            seen.bytes.extend(&buffer[..read]);
            seen.emulator.process(&buffer[..read]);
        }
    });
}
