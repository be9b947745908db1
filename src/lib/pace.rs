//! Once in a while: one line a minute about trouble that goes on, and the like.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Pause between two lines about the same trouble.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Lets one through in a while.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Tells whether a line may be written now, and takes it that it is.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due_after(LOG_INTERVAL)
    }

    /// Tells whether the last time is so long ago, and takes it that this is one.
    pub(crate) fn is_due_after(&self, pause: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = last.is_none_or(|last| now >= last + pause);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_is_let_through() {
        let pace = Pace::default();
        assert!(pace.is_due());
        assert!(!pace.is_due());
        tokio::time::advance(LOG_INTERVAL).await;
        assert!(pace.is_due());
    }
}
