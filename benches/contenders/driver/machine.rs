//! What the processors do while a contender has a load.

use std::time::{Duration, Instant};

use super::process::{idle, own};

/// Cores, on average.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    /// With this process and the load driver that it has run.
    pub(super) driver: f64,
    /// With nothing.
    pub(super) idle: f64,
    /// With nothing but that somebody waited for a disk; not in `idle`.
    pub(super) disk: f64,
}

/// A look at the processors that has begun.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    own: Duration,
    idle: [Duration; 2],
}

impl Watch {
    pub(super) fn begin() -> Self {
        Self {
            began: Instant::now(),
            own: own(),
            idle: idle(),
        }
    }

    pub(super) fn end(&self) -> Machine {
        let took = self.began.elapsed().as_secs_f64();
        let cores =
            |before: Duration, now: Duration| now.saturating_sub(before).as_secs_f64() / took;
        let [with_nothing, with_a_disk] = idle();
        Machine {
            driver: cores(self.own, own()),
            idle: cores(self.idle[0], with_nothing),
            disk: cores(self.idle[1], with_a_disk),
        }
    }
}
