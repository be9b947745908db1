//! Admission beside a model of it, while time passes as the test says.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::JoinHandle,
    time::{Instant, advance},
};

use super::{Admission, Refused};
use crate::replica::Limits;

const QUEUE_WAIT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
enum Step {
    /// A request comes that has so much time left.
    Enter {
        ms_left: u64,
    },
    /// The longest at work is done.
    Leave,
    /// The one that waits longest gives up by itself: its future is dropped.
    GiveUp,
    Pass {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..80).prop_map(|ms_left| Step::Enter { ms_left }),
        2 => Just(Step::Leave),
        1 => Just(Step::GiveUp),
        2 => (0_u64..40).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What should be: who works, and who waits until when, in the order in which they came.
#[derive(Debug, Default)]
struct Model {
    ongoing: VecDeque<usize>,
    queued: VecDeque<(usize, Instant)>,
    refused: Vec<usize>,
}

impl Model {
    fn enter(&mut self, who: usize, limits: &Limits, at_most: Duration) {
        if self.ongoing.len() < limits.max_ongoing {
            self.ongoing.push_back(who);
        } else if self.queued.len() < limits.max_queued {
            let until = Instant::now() + at_most.min(limits.queue_wait);
            self.queued.push_back((who, until));
        } else {
            self.refused.push(who);
        }
        self.expire();
    }

    fn leave(&mut self) -> Option<usize> {
        let done = self.ongoing.pop_front();
        if done.is_some()
            && let Some((next, _)) = self.queued.pop_front()
        {
            self.ongoing.push_back(next);
        }
        done
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late = self.queued.iter().filter(|(_, until)| *until <= now);
        self.refused.extend(late.map(|(who, _)| *who));
        self.queued.retain(|(_, until)| *until > now);
    }
}

type Outcome = Result<OwnedSemaphorePermit, Refused>;

/// The real one, with a task for each request.
struct Real {
    admission: Arc<Admission>,
    /// By who came: still waiting, or what came of it; `None` once it left or gave up.
    requests: Vec<Option<Request>>,
}

enum Request {
    Asking(JoinHandle<Outcome>),
    Known(Outcome),
}

impl Real {
    fn enter(&mut self, at_most: Duration) {
        let admission = Arc::clone(&self.admission);
        let asking = tokio::spawn(async move { admission.enter(at_most).await });
        self.requests.push(Some(Request::Asking(asking)));
    }

    /// Lets every task run until none can go on, and gathers what came of it.
    async fn settle(&mut self) {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        for request in self.requests.iter_mut().flatten() {
            if let Request::Asking(asking) = request
                && asking.is_finished()
            {
                *request = Request::Known(asking.await.expect("no panic"));
            }
        }
    }

    fn who(&self, is: impl Fn(&Request) -> bool) -> Vec<usize> {
        let requests = self.requests.iter().enumerate();
        let such = requests.filter(|(_, request)| request.as_ref().is_some_and(&is));
        such.map(|(who, _)| who).collect()
    }
}

async fn compare(limits: Limits, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut real = Real {
        admission: Arc::new(Admission::new(limits)),
        requests: Vec::new(),
    };
    for step in steps {
        match step {
            Step::Enter { ms_left } => {
                let at_most = Duration::from_millis(ms_left);
                model.enter(real.requests.len(), &limits, at_most);
                real.enter(at_most);
            }
            Step::Leave => {
                if let Some(done) = model.leave() {
                    real.requests[done] = None;
                }
            }
            Step::GiveUp => {
                if let Some((who, _)) = model.queued.pop_front()
                    && let Some(Request::Asking(asking)) = real.requests[who].take()
                {
                    asking.abort();
                }
            }
            Step::Pass { ms } => {
                advance(Duration::from_millis(ms)).await;
                model.expire();
            }
        }
        real.settle().await;
        let sorted = |mut all: Vec<usize>| {
            all.sort_unstable();
            all
        };
        let works = |request: &Request| matches!(request, Request::Known(Ok(_)));
        let waits = |request: &Request| matches!(request, Request::Asking(_));
        let refused = |request: &Request| matches!(request, Request::Known(Err(Refused)));
        let queued = model.queued.iter().map(|(who, _)| *who).collect();
        prop_assert_eq!(sorted(model.ongoing.clone().into()), real.who(works));
        prop_assert_eq!(sorted(queued), real.who(waits));
        prop_assert_eq!(sorted(model.refused.clone()), real.who(refused));
        let counted = (real.admission.ongoing(), real.admission.queued());
        prop_assert_eq!((model.ongoing.len(), model.queued.len()), counted);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn admission_does_as_its_model(
        max_ongoing in 1_usize..4, max_queued in 0_usize..4, steps in vec(step(), 0..40)
    ) {
        let limits = Limits {
            max_ongoing,
            max_queued,
            queue_wait: QUEUE_WAIT,
            ..Limits::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(compare(limits, steps))?;
    }
}
