//! How late a request is, on clocks that nobody has set together.
//!
//! The time that is left, as a request says it, can't tell how long it lay in a frozen server or a full buffer. So it says
//! when it was sent, on the sender's clock; the smallest difference to ours that was seen of a sender is taken for that of the clocks, and what exceeds it is lateness. One request that claims
//! another clock is served and believed no further: whoever may send at all could claim it in another's name.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Senders that are remembered. Another one's relative deadline alone counts.
const MAX_SENDERS: usize = 1024;
/// A sender that was silent for so long is unknown again: its clock may have drifted, and another wants room.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// Two clocks drift apart by less than this share of the time.
const DRIFT: f64 = 0.001;
/// No sender is late by more than this for so long without a break: then its clock was set.
const NOTABLE: i64 = 100;
const MAX_LATE_TIME: Duration = Duration::from_secs(10);
/// A few that were delayed each on its own are no clock that was set, nor is one that comes too early.
const MIN_REQUESTS: u32 = 5;
/// Longest instance id that is looked up.
const MAX_ID: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Lateness {
    senders: Mutex<HashMap<Box<str>, Sender>>,
}

/// One sender's clock against ours, in milliseconds.
#[derive(Debug)]
struct Sender {
    /// Smallest difference seen, and when.
    smallest: i64,
    at: Instant,
    /// Since when every request has been notably late, and the smallest difference of these.
    late: Option<Late>,
    /// Requests in a row that were notably early, and the largest difference of these.
    early: Option<Early>,
    heard: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Early {
    largest: i64,
    requests: u32,
}

#[derive(Debug, Clone, Copy)]
struct Late {
    since: Instant,
    smallest: i64,
    requests: u32,
}

impl Lateness {
    /// Returns how late a request is that its sender sent at `sent` and that is here at `now`, each in
    /// milliseconds since 1970 on their own clocks.
    pub(super) fn of(&self, sender: &str, sent: i64, now: i64) -> Duration {
        let difference = now.saturating_sub(sent);
        let here = Instant::now();
        let mut senders = self.senders();
        if let Some(known) = senders.get_mut(sender) {
            return known.lateness(difference, here);
        }
        if senders.len() >= MAX_SENDERS {
            senders.retain(|_, known| here < known.heard + FORGET_AFTER);
        }
        if senders.len() < MAX_SENDERS && !sender.is_empty() && sender.len() <= MAX_ID {
            senders.insert(sender.into(), Sender::new(difference, here));
        }
        Duration::ZERO
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    fn senders(&self) -> MutexGuard<'_, HashMap<Box<str>, Sender>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    fn new(difference: i64, here: Instant) -> Self {
        Self {
            smallest: difference,
            at: here,
            late: None,
            early: None,
            heard: here,
        }
    }

    fn lateness(&mut self, difference: i64, here: Instant) -> Duration {
        if here >= self.heard + FORGET_AFTER {
            *self = Self::new(difference, here);
            return Duration::ZERO;
        }
        self.heard = here;
        let late = difference.saturating_sub(self.smallest.saturating_add(self.drift(here)));
        if late <= -NOTABLE {
            self.arrived_early(difference, here);
            return Duration::ZERO;
        }
        self.early = None;
        let Ok(late @ 1..) = u64::try_from(late) else {
            *self = Self::new(difference, here);
            return Duration::ZERO;
        };
        if late < NOTABLE.unsigned_abs() {
            self.late = None;
            return Duration::from_millis(late);
        }
        let before = self.late.unwrap_or(Late {
            since: here,
            smallest: difference,
            requests: 0,
        });
        let smallest = before.smallest.min(difference);
        if here >= before.since + MAX_LATE_TIME && before.requests >= MIN_REQUESTS {
            tracing::info!(
                by_ms = smallest.saturating_sub(self.smallest),
                "a caller's clock is behind what it was, or all that it sends is held up"
            );
            *self = Self::new(smallest, here);
            return Duration::ZERO;
        }
        self.late = Some(Late {
            smallest,
            requests: before.requests + 1,
            ..before
        });
        Duration::from_millis(late)
    }

    /// Several in a row: its clock was set back, or the first that was heard of it had been delayed.
    fn arrived_early(&mut self, difference: i64, here: Instant) {
        self.late = None;
        let early = self.early.get_or_insert(Early {
            largest: difference,
            requests: 0,
        });
        early.largest = early.largest.max(difference);
        early.requests += 1;
        if early.requests >= MIN_REQUESTS {
            tracing::info!(
                by_ms = self.smallest.saturating_sub(early.largest),
                "a caller's clock is ahead of what it was"
            );
            *self = Self::new(early.largest, here);
        }
    }

    fn drift(&self, here: Instant) -> i64 {
        let elapsed = here.saturating_duration_since(self.at);
        i64::try_from(elapsed.mul_f64(DRIFT).as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// A sender whose clock differs from ours, over a wire that takes a while.
    struct Wire {
        lateness: Lateness,
        start: Instant,
        clock_off_by: i64,
    }

    impl Wire {
        fn new(clock_off_by: i64) -> Self {
            Self {
                lateness: Lateness::default(),
                start: Instant::now(),
                clock_off_by,
            }
        }

        /// Returns the lateness of a request that has been under way for so long.
        fn receive(&self, under_way: i64) -> Duration {
            let now = 1_000_000 + i64::try_from(self.start.elapsed().as_millis()).unwrap();
            let sent = now - under_way + self.clock_off_by;
            self.lateness.of("u1", sent, now)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_wrong_makes_nothing_late() {
        for minutes in [-5, 0, 5] {
            let wire = Wire::new(minutes * 60_000);
            for _ in 0..1_000 {
                assert_eq!(Duration::ZERO, wire.receive(1));
                advance(MS(100)).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_a_buffer_is_lateness() {
        let wire = Wire::new(-300_000);
        assert_eq!(Duration::ZERO, wire.receive(2));
        assert_eq!(MS(3_000), wire.receive(3_002));
        assert_eq!(MS(0), wire.receive(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_after_a_long_freeze_is_late_to_its_last_request() {
        let wire = Wire::new(0);
        wire.receive(1);
        wire.receive(60);
        advance(MS(20_000)).await;
        for waited in (1..200).rev() {
            assert!(wire.receive(waited * 100) >= MS(79), "{waited}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_sender_is_believed() {
        let wire = Wire::new(0);
        assert_eq!(Duration::ZERO, wire.receive(60_000));
        for _ in 0..MIN_REQUESTS {
            assert_eq!(Duration::ZERO, wire.receive(1));
        }
        assert_eq!(MS(59_999), wire.receive(60_000));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_claims_another_clock_makes_nobody_late() {
        let wire = Wire::new(0);
        wire.receive(1);
        for _ in 0..100 {
            // Somebody else, in the sender's name.
            for _ in 1..MIN_REQUESTS {
                assert_eq!(Duration::ZERO, wire.receive(-3_600_000));
            }
            assert_eq!(Duration::ZERO, wire.receive(1));
            advance(MS(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_was_silent_for_long_is_judged_anew_and_one_that_was_not_is_not() {
        let wire = Wire::new(0);
        wire.receive(1);
        advance(FORGET_AFTER - MS(1)).await;
        assert!(wire.receive(3_000) > MS(2_600));
        let wire = Wire::new(0);
        wire.receive(1);
        advance(FORGET_AFTER).await;
        assert_eq!(Duration::ZERO, wire.receive(3_000));
    }

    #[tokio::test(start_paused = true)]
    async fn drifting_clocks_make_nothing_late() {
        let mut wire = Wire::new(0);
        for second in (0..100_000).step_by(10) {
            // 50 parts in a million, as a bad quartz has it.
            wire.clock_off_by = -second / 20_000;
            assert!(wire.receive(1) < MS(2));
            advance(MS(10_000)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_is_believed_after_a_while() {
        let mut wire = Wire::new(0);
        wire.receive(1);
        wire.clock_off_by = -300_000;
        for _ in 0..5 {
            assert!(wire.receive(1) > MS(299_900));
            advance(MAX_LATE_TIME / 5).await;
        }
        assert_eq!(Duration::ZERO, wire.receive(1));
        wire.clock_off_by = 300_000;
        assert_eq!(Duration::ZERO, wire.receive(1));
    }

    #[tokio::test(start_paused = true)]
    async fn senders_are_remembered_as_long_as_there_is_room() {
        let lateness = Lateness::default();
        for sender in 0..2 * MAX_SENDERS {
            lateness.of(&sender.to_string(), 0, 0);
        }
        assert_eq!(MAX_SENDERS, lateness.senders().len());
        advance(FORGET_AFTER).await;
        lateness.of("new", 0, 0);
        assert_eq!(1, lateness.senders().len());
        lateness.of(&"x".repeat(MAX_ID + 1), 0, 0);
        assert_eq!(1, lateness.senders().len());
    }
}
