//! Moments at which the machine gave this process no time. A process without any for 250 ms looks frozen to
//! its callers, and a few of them at once are more faults than a call has attempts: nothing is promised then.

use std::{
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

/// How often a look is taken.
const TICK: Duration = Duration::from_millis(10);
/// A look that comes so much too late is a stall; without one it is a millisecond.
const STALL: Duration = Duration::from_millis(80);
/// How long its consequences are felt: an attempt and its repetitions, to the deadline.
const AFTERMATH: Duration = Duration::from_secs(3);

static SEEN: OnceLock<Mutex<Vec<Instant>>> = OnceLock::new();

/// Begins to watch, for as long as the process lives.
pub(crate) fn watch() {
    if SEEN.set(Mutex::default()).is_err() {
        return;
    }
    thread::spawn(|| {
        loop {
            let before = Instant::now();
            thread::sleep(TICK);
            if before.elapsed() > TICK + STALL {
                seen().lock().unwrap().push(Instant::now());
            }
        }
    });
}

/// Tells whether the machine stalled while something lasted, or shortly before.
pub(crate) fn concern(from: Instant, to: Instant) -> bool {
    let stalls = seen().lock().unwrap();
    stalls.iter().any(|at| *at <= to && *at + AFTERMATH >= from)
}

/// Tells whether there was any stall at all.
pub(crate) fn seen_any() -> bool {
    !seen().lock().unwrap().is_empty()
}

fn seen() -> &'static Mutex<Vec<Instant>> {
    SEEN.get().expect("watched from the start")
}
