//! What a handler knows of its request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::{Context, context::FutureExt};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::context::RequestScope;

/// The request that a handler is working on.
///
/// Calls, `tracing` spans and log lines find the request's span by themselves; this is for what a
/// handler decides on its own.
#[derive(Debug, Clone)]
pub struct Ctx {
    pub(super) scope: RequestScope,
    pub(super) attempt: u32,
    pub(super) span: Context,
    pub(super) handlers: TaskTracker,
}

impl Ctx {
    /// Returns when the caller stops waiting. Calls made here inherit it.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.scope.deadline
    }

    /// Returns how much time is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.scope.remaining()
    }

    /// Returns the id that the request has in every process.
    #[must_use]
    pub fn request_id(&self) -> Arc<str> {
        Arc::clone(&self.scope.request_id)
    }

    /// Returns which attempt of the caller this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Runs a task that outlives the handler, inside the request's span and deadline.
    ///
    /// A bare `tokio::spawn` would lose both. What goes on when the answer has been given wants a deadline of its
    /// own: wrap it in [`with_deadline`](crate::with_deadline). A replica that leaves waits for the task as it waits
    /// for handlers, so it must end: nothing stops it at the deadline.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handlers.spawn(task.with_context(self.span.clone()))
    }
}
