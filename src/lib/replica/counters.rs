//! What an entrance has seen: a few counters, no lock.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::Code;

/// Requests, failures and time of one operation since the process started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    /// 1 + position in [`Code::all`]; 0 for none.
    last_error: AtomicU8,
    nanoseconds: AtomicU64,
    /// Of an entrance that is not on NATS: turned away for load, given up by who asked, and panics of its handlers.
    refused: AtomicU64,
    abandoned: AtomicU64,
    panics: AtomicU64,
}

/// [`Counters`] at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) last_error: Option<Code>,
    pub(crate) nanoseconds: u64,
}

impl Counters {
    /// Counts a request that took `spent` and failed with a code, or not.
    pub(crate) fn note(&self, spent: Duration, failed: Option<Code>) {
        self.requests.fetch_add(1, Relaxed);
        let spent = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(spent, Relaxed);
        if let Some(code) = failed.filter(|code| code.is_server_error()) {
            self.errors.fetch_add(1, Relaxed);
            self.last_error.store(code as u8 + 1, Relaxed);
        }
    }

    #[cfg(feature = "http")]
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    #[cfg(feature = "http")]
    pub(crate) fn abandon(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    #[cfg(feature = "http")]
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn abandoned(&self) -> u64 {
        self.abandoned.load(Relaxed)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    pub(crate) fn read(&self) -> Counted {
        let last = usize::from(self.last_error.load(Relaxed));
        Counted {
            requests: self.requests.load(Relaxed),
            errors: self.errors.load(Relaxed),
            last_error: last.checked_sub(1).and_then(|at| Code::all().nth(at)),
            nanoseconds: self.nanoseconds.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_got_wrong_is_no_error_of_the_service() {
        let counters = Counters::default();
        counters.note(Duration::from_nanos(5), None);
        counters.note(Duration::from_nanos(5), Some(Code::NotFound));
        counters.note(Duration::from_nanos(5), Some(Code::Unavailable));
        let expected = Counted {
            requests: 3,
            errors: 1,
            last_error: Some(Code::Unavailable),
            nanoseconds: 15,
        };
        assert_eq!(expected, counters.read());
    }
}
