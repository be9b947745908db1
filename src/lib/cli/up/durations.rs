//! How long requests took: counted and not kept, and so right to within 2 %.

use std::time::Duration;

/// Each doubling has so many steps; half a step is the error, 1/64.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 5;
/// Microseconds, up to more than an hour. What took longer counts as that.
const LONGEST: u64 = u32::MAX as u64;
const COUNTERS: usize = index(LONGEST) + 1;

/// Counts durations in steps that grow with them.
#[derive(Debug, Clone)]
pub(super) struct Durations {
    counters: Box<[u64]>,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            counters: vec![0; COUNTERS].into_boxed_slice(),
        }
    }
}

impl Durations {
    pub(super) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(LONGEST);
        self.counters[index(micros.min(LONGEST))] += 1;
    }

    pub(super) fn add(&mut self, others: &Self) {
        for (counter, other) in self.counters.iter_mut().zip(&others.counters) {
            *counter += other;
        }
    }

    pub(super) fn clear(&mut self) {
        self.counters.fill(0);
    }

    pub(super) fn count(&self) -> u64 {
        self.counters.iter().sum()
    }

    /// Returns the duration that so many of a hundred did not exceed.
    pub(super) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let reached = self.counters.iter().position(|counter| {
            seen += counter;
            seen >= rank
        });
        reached.map_or(Duration::ZERO, middle)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no more than a few hundred, and `try_from` is not const"
)]
const fn index(micros: u64) -> usize {
    let shift = (micros | STEPS).ilog2() - STEP_BITS;
    (shift as u64 * STEPS + (micros >> shift)) as usize
}

/// The middle of what has this index.
fn middle(index: usize) -> Duration {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    let least = (index - shift * STEPS) << shift;
    Duration::from_micros(least + ((1 << shift) >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(micros: u64, shown: Duration) {
        let shown = u64::try_from(shown.as_micros()).unwrap();
        assert!(shown.abs_diff(micros) * 50 <= micros, "{micros}: {shown}");
    }

    #[test]
    fn any_duration_is_right_to_two_percent() {
        let mut micros = 0;
        while micros < LONGEST {
            let mut durations = Durations::default();
            durations.record(Duration::from_micros(micros));
            check(micros, durations.percentile(50));
            micros += micros / 37 + 1;
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut durations = Durations::default();
        for millis in 1..=1_000 {
            durations.record(Duration::from_millis(millis));
        }
        check(500_000, durations.percentile(50));
        check(990_000, durations.percentile(99));
        check(1_000_000, durations.percentile(100));
        let mut few = Durations::default();
        for millis in [1, 2, 40] {
            few.record(Duration::from_millis(millis));
        }
        check(2_000, few.percentile(50));
        check(40_000, few.percentile(99));
    }

    #[test]
    fn sums_have_the_percentiles_of_both() {
        let (mut fast, mut slow) = (Durations::default(), Durations::default());
        for _ in 0..99 {
            fast.record(Duration::from_millis(1));
        }
        slow.record(Duration::from_secs(2));
        fast.add(&slow);
        check(1_000, fast.percentile(99));
        check(2_000_000, fast.percentile(100));
    }

    #[test]
    fn nothing_and_forever_have_an_answer_too() {
        let mut durations = Durations::default();
        assert_eq!(Duration::ZERO, durations.percentile(99));
        durations.record(Duration::MAX);
        check(LONGEST, durations.percentile(50));
    }
}
