//! What the requests of the last ten seconds were like.

use std::time::{Duration, Instant};

use super::durations::Durations;

/// Seconds that are looked back on, the present one included.
const WINDOW: u64 = 10;
/// Before that a rate says nothing.
const SHORTEST: Duration = Duration::from_secs(1);

/// Counts the requests of each of the last seconds. Its size doesn't depend on how many they are.
#[derive(Debug)]
pub(super) struct Figures {
    started: Instant,
    any: bool,
    seconds: Vec<Second>,
}

#[derive(Debug, Clone, Default)]
struct Second {
    /// Since the start.
    number: u64,
    errors: u64,
    durations: Durations,
}

/// The figures that are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) errors: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

impl Figures {
    pub(super) fn new(started: Instant) -> Self {
        let seconds = (0..WINDOW).map(|_| Second::default()).collect();
        Self {
            started,
            any: false,
            seconds,
        }
    }

    pub(super) fn record(&mut self, now: Instant, took: Duration, is_error: bool) {
        self.any = true;
        let number = self.elapsed(now).as_secs();
        let slot = usize::try_from(number % WINDOW).unwrap_or_default();
        let second = &mut self.seconds[slot];
        if second.number != number {
            second.number = number;
            second.errors = 0;
            second.durations.clear();
        }
        second.errors += u64::from(is_error);
        second.durations.record(took);
    }

    /// Returns the figures; none before the first request.
    pub(super) fn summary(&self, now: Instant) -> Option<Summary> {
        if !self.any {
            return None;
        }
        let elapsed = self.elapsed(now);
        let oldest = (elapsed.as_secs() + 1).saturating_sub(WINDOW);
        let mut durations = Durations::default();
        let mut errors = 0;
        for second in self.seconds.iter().filter(|one| one.number >= oldest) {
            durations.add(&second.durations);
            errors += second.errors;
        }
        let looked_back = elapsed - Duration::from_secs(oldest);
        let requests = durations.count();
        Some(Summary {
            requests,
            per_second: requests as f64 / looked_back.max(SHORTEST).as_secs_f64(),
            errors,
            p50: durations.percentile(50),
            p99: durations.percentile(99),
        })
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn figures_are_those_of_ten_seconds_and_then_nothing() {
        let start = Instant::now();
        let mut figures = Figures::new(start);
        assert_eq!(None, figures.summary(start));
        for request in 0..1_000 {
            figures.record(start + request * 10 * MS, 4 * MS, request % 100 == 0);
        }
        let busy = figures.summary(start + 10_000 * MS).unwrap();
        // The first of the ten seconds is out, the eleventh has just begun.
        assert_eq!((900, 9), (busy.requests, busy.errors));
        assert!((busy.per_second - 100.0).abs() < 0.1, "{busy:?}");
        assert!(busy.p50 > 3_900 * MS / 1_000 && busy.p99 < 4_100 * MS / 1_000);

        let later = figures.summary(start + 18_500 * MS).unwrap();
        assert_eq!(100, later.requests);
        let idle = figures.summary(start + 60_000 * MS).unwrap();
        assert_eq!((0, 0), (idle.requests, idle.errors));
        assert!(idle.per_second < f64::EPSILON);
    }

    #[test]
    fn a_second_that_comes_round_again_starts_anew() {
        let start = Instant::now();
        let mut figures = Figures::new(start);
        for again in 0..5 {
            figures.record(start + again * 10_000 * MS, MS, true);
        }
        let summary = figures.summary(start + 40_000 * MS).unwrap();
        assert_eq!((1, 1), (summary.requests, summary.errors));
    }

    #[test]
    fn the_first_second_promises_no_rate() {
        let start = Instant::now();
        let mut figures = Figures::new(start);
        figures.record(start, MS, false);
        let summary = figures.summary(start + MS).unwrap();
        assert!((summary.per_second - 1.0).abs() < 0.01, "{summary:?}");
    }
}
