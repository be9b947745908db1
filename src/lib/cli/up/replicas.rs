//! How many of the services' processes are ready.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Those that shall run, and those that do. Those of other terminals are not among them.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    wanted: AtomicUsize,
    ready: AtomicUsize,
}

impl Replicas {
    pub(super) fn wanted(&self) -> usize {
        self.wanted.load(Relaxed)
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.load(Relaxed)
    }

    pub(super) fn want_one_more(&self) {
        self.wanted.fetch_add(1, Relaxed);
    }
}

/// Counts a replica as ready until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Arc<Replicas>);

impl Counted {
    pub(super) fn new(replicas: &Arc<Replicas>) -> Self {
        replicas.ready.fetch_add(1, Relaxed);
        Self(Arc::clone(replicas))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.ready.fetch_sub(1, Relaxed);
    }
}
