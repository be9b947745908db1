//! How late the machine is by itself: what a process that has nothing to do sees of it.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// How long it sleeps at a time.
const NAP: Duration = Duration::from_millis(1);
/// What counts as late.
const LATE: Duration = Duration::from_millis(10);

/// Waits for a load, and counts how often a second it was woken [`LATE`] meanwhile.
pub(super) async fn during<T>(load: impl Future<Output = T>) -> (T, f64) {
    let began = Instant::now();
    let mut late = 0.0;
    let mut load = pin!(load);
    loop {
        let due = Instant::now() + NAP;
        tokio::select! {
            biased;
            done = &mut load => return (done, late / began.elapsed().as_secs_f64()),
            () = sleep(NAP) => {}
        }
        if due.elapsed() > LATE {
            late += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_held_up_counts_once() {
        let held_up = async {
            sleep(10 * NAP).await;
            std::thread::sleep(10 * LATE);
            sleep(10 * NAP).await;
            "done"
        };
        let (done, late) = during(held_up).await;
        assert_eq!("done", done);
        assert!(late > 0.0);
    }
}
