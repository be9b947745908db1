//! How much a process takes on.

use std::time::Duration;

use clap::Args;

use super::duration;
use crate::replica;

#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Load and leaving")]
pub(crate) struct Limits {
    /// Requests worked on at once [default: 256; gateway: 512].
    #[arg(long, env = "MAX_ONGOING_REQUESTS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_ongoing_requests: Option<u32>,
    /// Requests that may wait for a place [default: 512; gateway: 256].
    #[arg(long, env = "MAX_QUEUED_REQUESTS", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) max_queued_requests: Option<u32>,
    /// How long a request waits for a place before it is answered `overloaded`.
    #[arg(long, env = "QUEUE_WAIT", value_name = "DURATION", default_value = "50ms", value_parser = duration)]
    pub(crate) queue_wait: Duration,
    /// How long requests under way may take to finish when the process leaves.
    #[arg(long, env = "SHUTDOWN_GRACE", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) shutdown_grace: Duration,
}

impl Limits {
    /// Fills what was not set from the defaults of a kind of process.
    pub(crate) fn over(self, defaults: replica::Limits) -> replica::Limits {
        let or = |set: Option<u32>, default| set.map_or(default, |set| set as usize);
        replica::Limits {
            max_ongoing: or(self.max_ongoing_requests, defaults.max_ongoing),
            max_queued: or(self.max_queued_requests, defaults.max_queued),
            queue_wait: self.queue_wait,
            shutdown_grace: self.shutdown_grace,
        }
    }
}
