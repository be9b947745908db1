//! What the soak is to show, and whether it has.

use std::{fmt, time::Duration};

use super::{
    answers::{Minute, unexpected},
    watch::{Sample, Watch, Watched},
};
use crate::driver::{losses::Losses, table::Spread};

/// Minutes below which a step of half a megabyte, which is taken once, looks like growth, and one slow minute like drift.
const LONG: usize = 15;
/// Megabytes in ten minutes.
const MAX_GROWTH: f64 = 1.0;
/// How many times the first third's p99 the last one's may be: minutes of a shared machine differ by more.
const MAX_DRIFT: f64 = 1.5;
/// Share of its rate that a minute must have come to, or what it was to time was never sent.
const KEPT_UP: f64 = 0.99;
/// Descriptors that come and go: a span file with its index, where one follows the other.
const SPARE: usize = 2;

#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) met: bool,
    /// Whether the soak was long enough for it to say anything.
    pub(super) counts: bool,
    target: &'static str,
    /// What was found, for who wants to know why.
    found: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            met,
            counts,
            target,
            found,
        } = self;
        let word = match (met, counts) {
            (true, _) => "met",
            (false, true) => "missed",
            (false, false) => "missed, in too short a time to count",
        };
        write!(f, "**{word}**: {target} ({found})")
    }
}

pub(super) fn judge(
    watch: &Watch,
    warm: Duration,
    minutes: &[Minute],
    rates: [u32; 2],
    losses: Losses,
) -> Vec<Verdict> {
    let failed = unexpected(minutes);
    let is_long = minutes.len() >= LONG;
    let warm_minutes = (warm.as_secs() / 60) as usize;
    vec![
        Verdict {
            counts: is_long,
            ..drift(minutes.get(warm_minutes..).unwrap_or_default())
        },
        Verdict {
            counts: is_long,
            ..memory(watch, warm)
        },
        kept_up(minutes, rates),
        stays(
            watch,
            warm,
            "no process has more than two descriptors more at the end than it had warming up",
            SPARE,
            |it| it.descriptors,
        ),
        stays(
            watch,
            warm,
            "no process has more threads at the end than it had warming up",
            0,
            |it| it.threads,
        ),
        Verdict {
            met: failed.is_empty(),
            counts: true,
            target: "200 for all that can be answered, 504 for what can't be in time",
            found: match failed.is_empty() {
                true => "nothing else".to_owned(),
                false => failed,
            },
        },
        Verdict {
            met: losses == Losses::default(),
            counts: true,
            target: "no span is lost",
            found: losses.to_string(),
        },
        Verdict {
            met: watch.unclean == 0 && watch.restarts > 0,
            counts: true,
            target: "replicas that are told to leave do so by themselves",
            found: format!("{} restarts, {} failed", watch.restarts, watch.unclean),
        },
    ]
}

/// The first and the last third are compared by their middle: single minutes are the machine's.
fn drift(minutes: &[Minute]) -> Verdict {
    let third = minutes.len().div_ceil(3);
    let middle = |some: &[Minute]| {
        let all = some.iter().map(|minute| minute.p99.as_secs_f64() * 1e3);
        Spread::of(all).median
    };
    let first = middle(&minutes[..third]);
    let last = middle(&minutes[minutes.len() - third..]);
    Verdict {
        met: last <= MAX_DRIFT * first,
        counts: true,
        target: "p99 of the last third is at most 1.5 times that of the first",
        found: format!(
            "{first:.1} ms in the first third once it is warm, {last:.1} ms in the last"
        ),
    }
}

/// Those of ours that live on; the memory of nats-server is shown, and is not ours to judge.
fn ours(watch: &Watch) -> impl Iterator<Item = &Watched> {
    let ours = watch.watched.iter();
    ours.filter(|it| it.is_ours && !it.is_restarted)
}

fn memory(watch: &Watch, warm: Duration) -> Verdict {
    let growth = ours(watch).map(|it| (it, it.growth(warm)));
    let most = growth.max_by(|one, other| one.1.total_cmp(&other.1));
    Verdict {
        met: most.is_some_and(|(_, growth)| growth < MAX_GROWTH),
        counts: true,
        target: "no process that lives on grows by 1 MB in ten minutes once it is warm",
        found: most.map_or_else(String::new, |(it, growth)| {
            format!("at most {growth:+.2} MB, {}", it.name)
        }),
    }
}

/// What is asked late is answered late, and what is never asked is in no percentile.
fn kept_up(minutes: &[Minute], rates: [u32; 2]) -> Verdict {
    let slow = |minute: &&Minute| {
        let [usual, late] = minute.per_second;
        usual < KEPT_UP * f64::from(rates[0]) || late < KEPT_UP * f64::from(rates[1])
    };
    let slow = minutes.iter().filter(slow).count();
    Verdict {
        met: slow == 0,
        counts: true,
        target: "each minute has 0.99 of its load",
        found: format!("{slow} of {} had less", minutes.len()),
    }
}

fn stays(
    watch: &Watch,
    warm: Duration,
    target: &'static str,
    spare: usize,
    of: fn(&Sample) -> usize,
) -> Verdict {
    let grown = ours(watch).filter_map(|it| {
        let (before, after) = it.before_and_after(warm, of);
        (after > before + spare).then(|| format!("{}: {before}, then {after}", it.name))
    });
    let grown: Vec<String> = grown.collect();
    Verdict {
        met: grown.is_empty(),
        counts: true,
        target,
        found: match grown.is_empty() {
            true => "none".to_owned(),
            false => grown.join("; "),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn minutes(all: impl IntoIterator<Item = (f64, f64)>) -> Vec<Minute> {
        let report = |rate: f64, p99: f64, status: &str| {
            json!({
                "summary": { "requestsPerSec": rate },
                "latencyPercentiles": { "p50": 0.001, "p99": p99 },
                "statusCodeDistribution": { status: 10 },
                "errorDistribution": {},
            })
        };
        let minute = |(rate, p99)| {
            Minute::read(&report(rate, p99, "200"), &report(rate, p99, "504")).expect("a report")
        };
        all.into_iter().map(minute).collect()
    }

    #[test]
    fn what_gets_slower_drifts_and_one_slow_minute_does_not() {
        let growing = (1..=9).map(|minute| (100.0, f64::from(minute) / 1e3));
        assert!(!drift(&minutes(growing)).met);
        let once = (1..=9).map(|minute| (100.0, if minute == 8 { 1.0 } else { 0.004 }));
        assert!(drift(&minutes(once)).met);
        assert!(!drift(&[]).met);
    }

    #[test]
    fn a_minute_with_less_than_its_load_is_told() {
        let rates = [100, 100];
        assert!(kept_up(&minutes([(99.9, 0.004), (100.0, 0.004)]), rates).met);
        let verdict = kept_up(&minutes([(98.0, 0.004), (100.0, 0.004)]), rates);
        assert!(!verdict.met && verdict.to_string().contains("1 of 2"));
    }
}
