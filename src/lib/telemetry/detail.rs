//! How much is told: the hops, or also what is below and after them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Detail;

/// Whether it is all of it.
static IS_FULL: AtomicBool = AtomicBool::new(false);

pub(super) fn configure(detail: Detail) {
    IS_FULL.store(detail == Detail::Full, Relaxed);
}

pub(super) fn is_full() -> bool {
    IS_FULL.load(Relaxed)
}
