//! A wall clock that never steps.
//!
//! Deadlines cross process borders as points in time. Read once and then carried on by the monotonic
//! clock, the wall clock may be wrong but never jumps, so a difference between two processes stays what
//! it is for as long as both live (drift apart, which the reader allows for).

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Returns the time since 1970 as this process has it.
pub(crate) fn since_epoch() -> Duration {
    static START: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (then, since_epoch) = START.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        (Instant::now(), now.unwrap_or_default())
    });
    *since_epoch + then.elapsed()
}
