//! What the tests stand on: processes of the real program, in folders of their own.

pub(crate) mod canaries;
pub(crate) mod certificates;
pub(crate) mod echo;
pub(crate) mod nats;
pub(crate) mod process;
pub(crate) mod stack;
pub(crate) mod store;
pub(crate) mod tree;
pub(crate) mod up;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub(crate) use nats::Server;
pub(crate) use process::Process;
pub(crate) use stack::Stack;

/// Ten times what it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again until there is an answer; panics with what was waited for when there is none in time.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let location = std::panic::Location::caller();
    async move {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(
                Instant::now() < until,
                "{location}: waited in vain for {what}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
