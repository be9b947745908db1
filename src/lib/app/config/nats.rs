//! Where NATS is.

use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::{duration, state};
use crate::client;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "NATS")]
pub(crate) struct Nats {
    /// Servers of one cluster, comma-separated [default: `up` runs one; everybody else takes the running
    /// system of this folder, from .nats-serve/run.json]
    #[arg(long, env = "NATS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) nats_url: Option<String>,
    /// How long an attempt may go without a sign of life before an idempotent call tries elsewhere. Keep it
    /// well above the callee's QUEUE_WAIT.
    #[arg(long, env = "ATTEMPT_TIMEOUT", value_name = "DURATION", default_value = "250ms", value_parser = duration)]
    pub(crate) attempt_timeout: Duration,
    /// How long a call waits for a lost connection to come back.
    #[arg(long, env = "RECONNECT_WAIT", value_name = "DURATION", default_value = "40ms", value_parser = duration)]
    pub(crate) reconnect_wait: Duration,
}

impl Nats {
    /// Returns how to connect: as told, else to the system that runs in this folder.
    pub(crate) fn options(&self) -> anyhow::Result<client::Options> {
        let url = match &self.nats_url {
            Some(url) => url.clone(),
            None => match state::RunFile::read()? {
                Some(run) => run.nats_url,
                None => bail!(
                    "no running system was found in this folder; start one with `nats-serve up` (`cargo run`), or set NATS_URL"
                ),
            },
        };
        Ok(client::Options {
            url,
            attempt_timeout: self.attempt_timeout,
            reconnect_wait: self.reconnect_wait,
            ..client::Options::default()
        })
    }
}
