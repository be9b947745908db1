//! Where NATS is, and the key that it asks for.

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;

use super::{
    duration, nkey,
    state::{self, RunFile},
};
use crate::{Service, client};

pub(crate) const STOPPED: &str = "the system of this folder is not running; start `nats-serve up`";

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
    /// The nkey of this process: a file with the seed, or a folder with a file for each, as `nats-serve keys`
    /// makes it [default: none with NATS_URL; `up` makes keys for a server of its own, and whoever finds the
    /// running system of this folder finds them there]
    #[arg(long, env = "NATS_NKEY_FILE", value_name = "PATH")]
    pub(crate) nats_nkey_file: Option<PathBuf>,
    /// How long a call waits for a lost connection to come back.
    #[arg(long, env = "RECONNECT_WAIT", value_name = "DURATION", default_value = "40ms", value_parser = duration)]
    pub(crate) reconnect_wait: Duration,
}

impl Nats {
    /// Returns how a service connects: as told, else to the system that runs in this folder.
    pub(crate) fn options(&self, service: Service) -> anyhow::Result<client::Options> {
        let (url, keys) = match &self.nats_url {
            Some(url) => (url.clone(), None),
            None => match RunFile::read()? {
                Some(run) => {
                    if !state::is_held() {
                        tracing::warn!("{STOPPED}");
                    }
                    (run.nats_url, run.nats_nkeys)
                }
                None => bail!(
                    "no running system was found in this folder; start one with `nats-serve up` (`cargo run`), or set NATS_URL"
                ),
            },
        };
        let key = self.nats_nkey_file.as_ref().or(keys.as_ref());
        Ok(client::Options {
            url,
            attempt_timeout: self.attempt_timeout,
            nkey: key.map(|path| nkey::read(path, service)).transpose()?,
            reconnect_wait: self.reconnect_wait,
            ..client::Options::default()
        })
    }

    /// Tells whether the server is that of this folder's system, and `up` has ended.
    pub(crate) fn is_of_a_system_that_stopped(&self) -> bool {
        self.nats_url.is_none() && !state::is_held()
    }
}
