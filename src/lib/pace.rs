//! One line a minute about trouble that goes on.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Pause between two lines about the same trouble.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Lets one line through in a while.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Tells whether a line may be written now, and takes it that it is.
    pub(crate) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = last.is_none_or(|last| now >= last + LOG_INTERVAL);
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
