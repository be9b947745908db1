//! `nats-serve trace`: the journey of a request, from the span files of all processes.

mod render;

use std::{
    io::{self, IsTerminal},
    thread,
    time::{Duration, Instant},
};

use super::out;
use crate::{
    app::config,
    traces::{self, Error, Selector, Trace},
};

/// A trace is whole on disk within a second of its answer; this waits a little longer than that.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Long enough for the spans of an answer that was just read to be on disk.
const SETTLE: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(50);
const WIDTH: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `last`, or a trace id, or the first characters of one.
    #[arg(value_name = "TRACE", default_value_t = Selector::Last)]
    selector: Selector,
    #[command(flatten)]
    spans: config::SpansDir,
    #[command(flatten)]
    terminal: config::Terminal,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let trace = find(args)?;
    let options = render::Options {
        width: args.terminal.columns().unwrap_or(WIDTH).clamp(60, 200),
        color: io::stdout().is_terminal() && args.terminal.allows_color(),
        ascii: !args.terminal.has_unicode(),
    };
    out::print(&render::render(&trace, &options))
}

/// Reads the trace, and again for a while where spans are still on their way to the files.
fn find(args: &Args) -> anyhow::Result<Trace> {
    let spans_dir = args.spans.path()?;
    let started = Instant::now();
    // The request before this command may be newer than anything that is on disk.
    if args.selector == Selector::Last {
        thread::sleep(SETTLE);
    }
    loop {
        let found = traces::read(&spans_dir, &args.selector);
        let worth_waiting = match &found {
            Ok(trace) => !trace.is_complete(),
            Err(Error::UnknownTrace { .. } | Error::NoSpans { .. }) => true,
            Err(_) => false,
        };
        if !worth_waiting || started.elapsed() >= PATIENCE {
            return Ok(found?);
        }
        thread::sleep(PAUSE);
    }
}
