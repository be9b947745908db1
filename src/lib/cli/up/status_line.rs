//! The line below all others: what runs, and how the requests of the last ten seconds went.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    SERVICES,
    figures::{Figures, Summary},
    replicas::Replicas,
};
use crate::app::config::Terminal;

/// The width of a terminal that doesn't tell.
const WIDTH: usize = 80;

/// What the status line is made of.
#[derive(Debug)]
pub(super) struct StatusLine {
    terminal: Terminal,
    replicas: Arc<Replicas>,
    figures: Mutex<Figures>,
    has_ended: AtomicBool,
}

impl StatusLine {
    pub(super) fn new(terminal: Terminal, replicas: Arc<Replicas>) -> Self {
        Self {
            terminal,
            replicas,
            figures: Mutex::new(Figures::new(Instant::now())),
            has_ended: AtomicBool::new(false),
        }
    }

    pub(super) fn record(&self, status: u64, took: Duration) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.record(Instant::now(), took, status >= 500);
    }

    /// Lets the next thing that is written be the last of it.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Relaxed);
    }

    /// Returns the line as it is now; none before there is anything to count and after its end.
    pub(super) fn text(&self) -> Option<String> {
        let (ready, wanted) = (self.replicas.ready(), self.replicas.wanted());
        if wanted == 0 || self.has_ended.load(Relaxed) {
            return None;
        }
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = figures.summary(Instant::now());
        drop(figures);
        let look = Look {
            // In the last column some terminals would begin a new line.
            width: self.terminal.columns().unwrap_or(WIDTH).saturating_sub(1),
            color: self.terminal.allows_color(),
            ascii: !self.terminal.has_unicode(),
        };
        Some(look.shape(parts(ready, wanted, summary)))
    }
}

/// A part of the line, and whether it is bad news.
type Part = (String, bool);

fn parts(ready: usize, wanted: usize, summary: Option<Summary>) -> Vec<Part> {
    let of = match ready == wanted {
        true => String::new(),
        false => format!("{ready} of "),
    };
    let replicas = format!("{} services, {of}{wanted} replicas", SERVICES.len());
    let mut parts = vec![(replicas, ready != wanted)];
    let Some(summary) = summary else {
        return parts;
    };
    // One in ten seconds is not none.
    let digits = usize::from(summary.requests > 0 && summary.per_second < 10.0);
    let milliseconds = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1_000.0);
    parts.push((format!("{:.digits$} req/s", summary.per_second), false));
    if summary.requests > 0 {
        let noun = if summary.errors == 1 {
            "error"
        } else {
            "errors"
        };
        parts.extend([
            (format!("p50 {}", milliseconds(summary.p50)), false),
            (format!("p99 {}", milliseconds(summary.p99)), false),
            (format!("{} {noun}", summary.errors), summary.errors > 0),
        ]);
    }
    parts
}

/// What the terminal can show of it.
struct Look {
    width: usize,
    color: bool,
    ascii: bool,
}

impl Look {
    fn shape(&self, parts: Vec<Part>) -> String {
        let mut room = self.width;
        let mut line = String::new();
        for (index, (part, is_bad)) in parts.into_iter().enumerate() {
            let separator = match (index, self.ascii) {
                (0, _) => "",
                (_, true) => " | ",
                (_, false) => " \u{b7} ",
            };
            for (text, is_bad) in [(separator, false), (part.as_str(), is_bad)] {
                let text: String = text.chars().take(room).collect();
                room -= text.chars().count();
                match (self.color && !text.is_empty(), is_bad) {
                    (false, _) => line.push_str(&text),
                    (true, true) => line.push_str(&format!("\x1b[31m{text}\x1b[0m")),
                    (true, false) => line.push_str(&format!("\x1b[2m{text}\x1b[0m")),
                }
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Look = Look {
        width: 79,
        color: false,
        ascii: false,
    };

    fn summary(requests: u64, per_second: f64, errors: u64) -> Option<Summary> {
        Some(Summary {
            requests,
            per_second,
            errors,
            p50: Duration::from_micros(4_100),
            p99: Duration::from_micros(18_200),
        })
    }

    #[test]
    fn it_says_what_runs_and_how_requests_went() {
        for (ready, summary, line) in [
            (6, None, "4 services, 6 replicas"),
            (5, None, "4 services, 5 of 6 replicas"),
            (
                6,
                summary(1_280, 128.4, 0),
                "4 services, 6 replicas · 128 req/s · p50 4.1 ms · p99 18.2 ms · 0 errors",
            ),
            (
                6,
                summary(1, 0.1, 1),
                "4 services, 6 replicas · 0.1 req/s · p50 4.1 ms · p99 18.2 ms · 1 error",
            ),
            (6, summary(0, 0.0, 0), "4 services, 6 replicas · 0 req/s"),
        ] {
            assert_eq!(line, PLAIN.shape(parts(ready, 6, summary)));
        }
    }

    #[test]
    fn it_is_cut_to_the_width_and_keeps_to_what_the_terminal_can() {
        let shape = |look: Look| look.shape(parts(6, 6, summary(9, 0.9, 2)));
        assert_eq!(
            "4 services, 6 replicas | 0.9 req/s | p50",
            shape(Look {
                width: 40,
                ascii: true,
                ..PLAIN
            })
        );
        assert_eq!("", shape(Look { width: 0, ..PLAIN }));
        let colored = shape(Look {
            color: true,
            ..PLAIN
        });
        assert!(colored.contains("\x1b[31m2 errors\x1b[0m"), "{colored:?}");
        assert!(colored.starts_with("\x1b[2m4 services"), "{colored:?}");
    }
}
