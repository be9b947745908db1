//! What came of a load, from each of its requests.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Load;

/// What is not timed at the begin and at the end of a load, as a share of it: connections are made and what was idle wakes
/// up, and at its last moment the driver throws away what it has not sent yet, however short a time that is late.
const RAMP: f64 = 0.1;
/// Requests that may fail, as a share, or one on each connection: a machine that is taken away for a moment costs those
/// their deadline. A load of which more failed measures something else.
const MAX_FAILED: f64 = 0.01;

/// A request that was answered as it is to be.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Request {
    /// When it was sent, from the load's begin; if the load has a rate, when it was due.
    pub(in super::super) sent: Duration,
    /// From then on.
    pub(in super::super) took: Duration,
    /// From when it was really sent.
    pub(in super::super) answered: Duration,
}

/// What came of a load. All but `requests` is of the time between the ramps.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Outcome {
    pub(in super::super) per_second: f64,
    /// Answers to all of them.
    pub(in super::super) requests: f64,
    /// Requests that were answered otherwise or not at all, fewer than would end it.
    pub(in super::super) failed: f64,
    /// What each answer has at least.
    pub(in super::super) bytes: u64,
    pub(in super::super) p50: Duration,
    /// The longest there is where so many of those that were due were not sent.
    pub(in super::super) p99: Duration,
    /// The same of those that were sent, from when each was: without what the driver came late by.
    pub(in super::super) p99_sent: Duration,
}

impl Outcome {
    /// Puts all requests together. One that was due and not sent by the end took longer than all that were.
    pub(in super::super) fn of(
        all: &[Request],
        within: Duration,
        rate: Option<u32>,
    ) -> anyhow::Result<Self> {
        let ramp = within.mul_f64(RAMP);
        let last = within - ramp;
        let timed = all.iter().filter(|one| one.sent >= ramp && one.sent < last);
        let (mut took, mut answered): (Vec<Duration>, Vec<Duration>) =
            timed.map(|one| (one.took, one.answered)).unzip();
        ensure!(!took.is_empty(), "nothing was done in time");
        took.sort_unstable();
        answered.sort_unstable();
        let seconds = (last - ramp).as_secs_f64();
        let due = rate.map_or(0.0, |rate| f64::from(rate) * seconds);
        let due = due.max(took.len() as f64);
        let percentile = |share: f64| {
            let place = (due * share) as usize;
            took.get(place).copied().unwrap_or(Duration::MAX)
        };
        Ok(Self {
            per_second: took.len() as f64 / seconds,
            requests: all.len() as f64,
            failed: 0.0,
            bytes: 0,
            p50: percentile(0.5),
            p99: percentile(0.99),
            p99_sent: answered[(answered.len() as f64 * 0.99) as usize],
        })
    }

    /// In milliseconds; infinite where too many requests were not sent.
    pub(in super::super) fn p99_ms(&self) -> f64 {
        match self.p99 {
            Duration::MAX => f64::INFINITY,
            p99 => p99.as_secs_f64() * 1e3,
        }
    }
}

/// Reads oha's list of requests that were answered, in the order in which they were sent:
/// `request-start,DNS,DNS+dialup,Response-delay,request-duration,bytes,status`, in seconds.
///
/// oha's own correction counts from when its one thread came to hand a request out, which may be late. So with a rate the
/// nth is due at n times the pause between two. Where one has no answer, and so is not listed, those after it count as due
/// one pause too soon.
pub(super) fn read(list: &str, load: &Load) -> anyhow::Result<Outcome> {
    let mut all = Vec::new();
    let (mut dialled, mut refused) = (0.0, 0.0);
    let mut lengths = Vec::new();
    for (nth, line) in list.lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let &[start, _, dialup, delay, took, bytes, status] = &fields[..] else {
            anyhow::bail!("oha lists {line:?}");
        };
        let seconds = |field: &str| {
            field
                .parse::<f64>()
                .with_context(|| format!("oha lists {line:?}"))
        };
        if seconds(dialup)? > 0.0 {
            dialled += 1.0;
        }
        if !status.starts_with('2') {
            refused += 1.0;
            continue;
        }
        lengths.push(
            bytes
                .parse()
                .with_context(|| format!("oha lists {line:?}"))?,
        );
        let (start, delay, took) = (seconds(start)?, seconds(delay)?, seconds(took)?);
        let (sent, took) = match load.rate.map(f64::from) {
            None => (start, took),
            Some(rate) => {
                let due = nth as f64 / rate;
                (due, (start + delay - due).max(0.0))
            }
        };
        all.push(Request {
            sent: Duration::from_secs_f64(sent),
            took: Duration::from_secs_f64(took),
            answered: Duration::from_secs_f64(delay),
        });
    }
    // What has no answer is not listed, but its connection is made anew.
    let broken = (dialled - f64::from(load.connections)).max(0.0);
    let (good, bad) = (all.len() as f64, refused + broken);
    let allowed = (MAX_FAILED * good).max(f64::from(load.connections));
    ensure!(
        good > 0.0 && bad <= allowed,
        "{good} requests were answered well, {refused} otherwise, and {broken} connections broke"
    );
    if bad > 0.0 {
        eprintln!(
            "{refused} of {} were refused, {broken} connections broke",
            good + refused
        );
    }
    Ok(Outcome {
        failed: bad,
        bytes: lengths.into_iter().min().unwrap_or_default(),
        ..Outcome::of(&all, load.duration, load.rate)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(rate: Option<u32>) -> Load {
        Load {
            url: "http://127.0.0.1/".to_owned(),
            connections: 1,
            duration: Duration::from_secs(1),
            rate,
        }
    }

    /// Requests each 10 ms, the first of which makes its connection and takes a second.
    fn list(count: u32, status: u32) -> String {
        let mut text =
            "request-start,DNS,DNS+dialup,Response-delay,request-duration,bytes,status".to_owned();
        for nth in 0..count {
            let (dialup, took) = if nth == 0 { (0.5, 1.0) } else { (0.0, 0.002) };
            let start = f64::from(nth) / 100.0;
            text += &format!("\n{start},0,{dialup},{took},{took},9,{status}");
        }
        text
    }

    #[test]
    fn making_connections_is_not_timed() {
        let outcome = read(&list(100, 200), &load(None)).unwrap();
        assert_eq!(Duration::from_millis(2), outcome.p99);
        assert_eq!(100.0, outcome.requests);
        assert!((outcome.per_second - 100.0).abs() < 2.0, "{outcome:?}");
    }

    #[test]
    fn what_was_due_and_never_sent_is_later_than_all_that_was() {
        assert_eq!(
            2.0,
            read(&list(100, 200), &load(Some(100))).unwrap().p99_ms()
        );
        // Of 160 that were due between the ramps 80 were sent.
        let outcome = read(&list(100, 200), &load(Some(200))).unwrap();
        assert_eq!(f64::INFINITY, outcome.p99_ms());
        assert_eq!(Duration::MAX, outcome.p50);
    }

    #[test]
    fn what_the_driver_throws_away_at_the_end_is_not_late() {
        let outcome = read(&list(95, 200), &load(Some(100))).unwrap();
        assert_eq!(2.0, outcome.p99_ms());
        assert!((outcome.per_second - 100.0).abs() < 2.0, "{outcome:?}");
    }

    #[test]
    fn what_was_sent_late_counts_from_when_it_was_due() {
        let late = list(100, 200).replace("\n0.5,", "\n0.509,");
        let outcome = read(&late, &load(Some(100))).unwrap();
        assert_eq!(11.0, outcome.p99_ms().round());
        assert_eq!(2, outcome.p99_sent.as_millis());
        assert_eq!(2, outcome.p50.as_millis());
    }

    #[test]
    fn an_answer_that_is_shorter_shows() {
        assert_eq!(9, read(&list(100, 200), &load(None)).unwrap().bytes);
        let other = list(100, 200).replacen(",9,", ",8,", 1);
        assert_eq!(8, read(&other, &load(None)).unwrap().bytes);
    }

    #[test]
    fn a_load_of_which_much_fails_measures_something_else() {
        let failed = read(&list(100, 503), &load(None)).unwrap_err().to_string();
        assert!(failed.contains("100 otherwise"), "{failed}");
        let reconnecting = list(100, 200).replace(",0,0,0.002,", ",0,0.1,0.002,");
        let failed = read(&reconnecting, &load(None)).unwrap_err().to_string();
        assert!(failed.contains("99 connections broke"), "{failed}");
    }
}
