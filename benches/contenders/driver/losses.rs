//! Spans that did not arrive, as processes of ours tell when they leave.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde_json::Value;

/// The message of the line that has the numbers; who lost nothing writes none.
const TOLD: &str = "not all spans of this process have arrived";

/// Of all processes of a contender.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Spans of the processes that lost any.
    recorded: u64,
    queue: u64,
    files: u64,
    otlp: u64,
    /// Processes that did not leave, or not well: of theirs nobody knows.
    unknown: usize,
}

impl Losses {
    /// Reads the log of all processes in a folder, of which so many did not leave well.
    pub(super) fn told_in(folder: &Path, unknown: usize) -> Self {
        // A line for each request may be in it, so not all at once.
        let log = File::open(folder.join("log")).map(BufReader::new);
        let lines = log.into_iter().flat_map(BufRead::lines);
        Self {
            unknown,
            ..Self::of(lines.map_while(Result::ok))
        }
    }

    fn of(lines: impl Iterator<Item = String>) -> Self {
        let mut losses = Self::default();
        for line in lines.filter(|line| line.contains(TOLD)) {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            let number = |name: &str| line[name].as_u64().unwrap_or_default();
            losses.recorded += number("recorded");
            losses.queue += number("dropped_for_the_queue");
            losses.files += number("dropped_for_the_files");
            losses.otlp += number("dropped_for_otlp");
        }
        losses
    }

    /// Prints what the table can't tell: figures of spans that were thrown away are cheap.
    pub(super) fn say(self, name: &str) {
        if self != Self::default() {
            println!("{name}: {self}");
        }
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("none");
        }
        let Self {
            recorded,
            queue,
            files,
            otlp,
            unknown,
        } = self;
        write!(
            f,
            "of {recorded} spans of the processes that lost any, {queue} found the queue full, {files} came to no file, \
             and {otlp} to no receiver"
        )?;
        match unknown {
            0 => Ok(()),
            _ => write!(
                f,
                "; {unknown} processes did not leave well, and of theirs nobody knows"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_processes_tell_is_added_up() {
        let line = |otlp: u64| {
            serde_json::json!({
                "level": "WARN", "message": TOLD, "recorded": 10, "written": 9, "sent": 8,
                "dropped_for_the_queue": 1, "dropped_for_the_files": 0, "dropped_for_otlp": otlp,
            })
            .to_string()
        };
        let losses = Losses::of([line(1), "another".to_owned(), line(2)].into_iter());
        let expected = Losses {
            recorded: 20,
            queue: 2,
            files: 0,
            otlp: 3,
            unknown: 0,
        };
        assert_eq!(expected, losses);
    }
}
