//! Admission: so many requests at once, so many waiting, and not for long.
//!
//! A queue that may grow, or wait, without bound serves nobody in time. Beyond both limits the answer
//! is `overloaded`, at once, and the caller goes elsewhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;
use crate::{Code, Status};

#[derive(Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    limits: Limits,
    queued: AtomicUsize,
    arriving: AtomicUsize,
}

/// A request at the door, which has a place to hope for.
#[derive(Debug)]
pub(crate) struct Arrival(Arc<Admission>);

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Relaxed);
    }
}

/// The replica takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl From<Refused> for Status {
    fn from(_: Refused) -> Self {
        Self::new(Code::Overloaded, "too many requests at the moment")
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        let limits = limits.bounded();
        Self {
            places: Arc::new(Semaphore::new(limits.max_ongoing)),
            limits,
            queued: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
        }
    }

    /// Lets a request to the door if there is a place for it, or one in the queue, that no other arrival will
    /// take. Drop the arrival at the moment of [`enter`](Self::enter).
    ///
    /// Whoever reads a burst decides by this what to work on and what to refuse, before any of it has entered.
    pub(crate) fn arrive(self: &Arc<Self>) -> Option<Arrival> {
        let inside = self.ongoing() + self.queued();
        let room = self
            .limits
            .max_ongoing
            .saturating_add(self.limits.max_queued);
        let arrived = self.arriving.fetch_update(Relaxed, Relaxed, |arriving| {
            (inside + arriving < room).then_some(arriving + 1)
        });
        arrived.is_ok().then(|| Arrival(Arc::clone(self)))
    }

    /// Takes a place, waiting no longer than the limit and `at_most`. The place is given back by
    /// dropping the permit.
    pub(crate) async fn enter(&self, at_most: Duration) -> Result<OwnedSemaphorePermit, Refused> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let queued = Queued::join(self).ok_or(Refused)?;
        let wait = self.limits.queue_wait.min(at_most);
        let place = tokio::time::timeout(wait, Arc::clone(&self.places).acquire_owned()).await;
        drop(queued);
        place.ok().and_then(Result::ok).ok_or(Refused)
    }

    /// Returns how many requests are being worked on.
    pub(crate) fn ongoing(&self) -> usize {
        self.limits.max_ongoing - self.places.available_permits()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limits.max_ongoing
    }
}

/// A place in the queue, given back even if the waiting future is dropped.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn join(admission: &'a Admission) -> Option<Self> {
        admission
            .queued
            .fetch_update(Relaxed, Relaxed, |queued| {
                (queued < admission.limits.max_queued).then_some(queued + 1)
            })
            .is_ok()
            .then(|| Self(&admission.queued))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn admission() -> Arc<Admission> {
        Arc::new(Admission::new(Limits {
            max_ongoing: 1,
            max_queued: 1,
            ..Limits::default()
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused_and_leaves_no_trace() {
        let admission = admission();
        let place = admission.enter(LONG).await.expect("free");
        assert_eq!(Some(Refused), admission.enter(LONG).await.err());
        assert_eq!((1, 0), (admission.ongoing(), admission.queued()));
        drop(place);
        assert!(admission.enter(LONG).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_queue_the_answer_comes_at_once() {
        let admission = admission();
        let _place = admission.enter(LONG).await.expect("free");
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter(LONG).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(1, admission.queued());
        let before = tokio::time::Instant::now();
        assert_eq!(Some(Refused), admission.enter(LONG).await.err());
        assert_eq!(before, tokio::time::Instant::now());
        waiting.abort();
        let _ = waiting.await;
        assert_eq!(0, admission.queued());
    }

    #[tokio::test]
    async fn a_burst_is_let_to_the_door_as_far_as_there_is_room() {
        let admission = admission();
        let (first, second) = (admission.arrive().unwrap(), admission.arrive().unwrap());
        assert!(admission.arrive().is_none());
        drop(first);
        let place = admission.enter(LONG).await.unwrap();
        assert!(admission.arrive().is_none());
        drop((second, place));
        let room = [admission.arrive(), admission.arrive(), admission.arrive()];
        assert_eq!(2, room.iter().flatten().count());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_gets_free_goes_to_who_waits() {
        let admission = admission();
        let place = admission.enter(LONG).await.expect("free");
        let (entered, ()) = tokio::join!(admission.enter(LONG), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(place);
        });
        assert!(entered.is_ok());
    }
}
