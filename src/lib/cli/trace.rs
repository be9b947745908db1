//! `nats-serve trace`: the journey of a request, from the span files of all processes; or a line for each of many.

mod list;
mod render;

use std::{
    fmt,
    io::{self, IsTerminal},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

use self::list::{Wanted, ago};
use super::out;
use crate::{
    app::config::{self, duration},
    traces::{self, Error, Filter, Selector, Trace},
};

/// A trace is whole on disk within a second of its answer; this waits a little longer than that.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Long enough for the spans of an answer that was just read to be on disk: processes write after 25 ms.
const SETTLE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(25);
const WIDTH: usize = 100;
const LIMIT: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nats-serve trace                         the last request
  nats-serve trace last --route /register  the last one there
  nats-serve trace 51ba                    the one whose trace id begins so
  nats-serve trace slow --over 50ms        the slowest first
  nats-serve trace errors --since 5m       those of the last five minutes that failed
  nats-serve trace list --service user-service --route '/user/{user_id}'
  nats-serve trace --follow                a line for each request from now on
  nats-serve trace last --json | jq '.spans[] | select(.critical) | {name, self_time_nano}'")]
pub(super) struct Args {
    /// `last`, a trace id or the first characters of one; or `list`, `slow` (the slowest first), `errors`.
    #[arg(value_name = "WHAT", default_value_t = What::One(Selector::Last))]
    what: What,
    /// Only requests that took longer.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    over: Option<Duration>,
    /// Only requests of this route, `/user/{user_id}`, or of this very path.
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only requests in which this service took part.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only requests of so long until now.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// How many lines at most: 20, or with --follow without end.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Prints each request from now on, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// Prints JSON: the whole trace, or a line a request.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spans: config::SpansDir,
    #[command(flatten)]
    terminal: config::Terminal,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    One(Selector),
    List,
    Slow,
    Errors,
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "list" => Ok(Self::List),
            "slow" => Ok(Self::Slow),
            "errors" => Ok(Self::Errors),
            _ => match text.parse::<Selector>() {
                Ok(selector) => Ok(Self::One(selector)),
                Err(error) => Err(format!("{error}; nor is it `list`, `slow` or `errors`")),
            },
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(selector) => selector.fmt(f),
            Self::List => f.write_str("list"),
            Self::Slow => f.write_str("slow"),
            Self::Errors => f.write_str("errors"),
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let dir = args.spans.path()?;
    let what = match (&args.what, args.follow) {
        // `trace --follow`: all of them.
        (What::One(Selector::Last), true) => &What::List,
        (what, _) => what,
    };
    if *what == What::Slow && args.follow && args.over.is_none() {
        bail!("`slow --follow` needs --over: which of those to come are the slowest, nobody knows");
    }
    let narrowed = match what {
        What::One(selector) => narrowed(args, selector)?,
        _ => false,
    };
    if !args.follow {
        // The request before this command may be newer than anything that is on disk; also one more of the same trace.
        thread::sleep(SETTLE);
    }
    let wanted = wanted(args, what);
    let selector = match what {
        What::One(_) if narrowed => &list::last(&dir, &wanted.filter)?,
        What::One(selector) => selector,
        _ if args.follow => return list::follow(&dir, &wanted),
        _ => return list::print(&dir, &wanted),
    };
    let trace = find(&dir, selector)?;
    if args.json {
        return out::print(&(serde_json::to_string_pretty(&trace)? + "\n"));
    }
    let options = render::Options {
        width: width(args),
        color: io::stdout().is_terminal() && args.terminal.allows_color(),
        ascii: !args.terminal.has_unicode(),
    };
    out::print(&render::render(&trace, &options))
}

/// Tells whether the last one of some is asked for; an id has no need of that.
fn narrowed(args: &Args, selector: &Selector) -> anyhow::Result<bool> {
    let by_time = args.over.is_some() || args.since.is_some();
    let narrowed = by_time || args.route.is_some() || args.service.is_some();
    if args.follow || args.limit.is_some() || (narrowed && *selector != Selector::Last) {
        bail!(
            "--limit and --follow go with `list`, `slow` or `errors`; so do --over, --route, --service and --since, and with `last`"
        );
    }
    Ok(narrowed)
}

fn width(args: &Args) -> usize {
    args.terminal.columns().unwrap_or(WIDTH).clamp(60, 200)
}

fn wanted(args: &Args, what: &What) -> Wanted {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Wanted {
        filter: Filter {
            since: args.since.map(ago),
            over: args.over.map(nanos),
            route: args.route.clone(),
            service: args.service.clone(),
            errors: *what == What::Errors,
        },
        by_duration: *what == What::Slow,
        limit: args.limit.unwrap_or(match args.follow {
            true => usize::MAX,
            false => LIMIT,
        }),
        json: args.json,
        width: width(args),
        ascii: !args.terminal.has_unicode(),
    }
}

/// Reads the trace, and again for a while where spans are still on their way to the files.
fn find(spans_dir: &std::path::Path, selector: &Selector) -> anyhow::Result<Trace> {
    let started = Instant::now();
    loop {
        let found = traces::read(spans_dir, selector);
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
