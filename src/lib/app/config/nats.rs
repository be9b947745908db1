//! Where NATS is, and the key that it asks for.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;

use super::{
    duration, exposure, nkey,
    state::{self, RunFile},
};
use crate::{
    Service,
    client::{self, Identity, Tls},
};

/// How each part of a PEM file begins.
const PEM: &[u8] = b"-----BEGIN";

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
    /// Certificates (PEM) of the authorities that the servers' certificates are checked by; with it there is no
    /// connection without TLS [default: those of the system, where a server asks for TLS or its URL is tls://]
    #[arg(long, env = "NATS_TLS_CA_FILE", value_name = "FILE")]
    nats_tls_ca_file: Option<PathBuf>,
    /// The certificate (PEM) that this process shows to servers that ask for one.
    #[arg(
        long,
        env = "NATS_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "nats_tls_key_file"
    )]
    nats_tls_cert_file: Option<PathBuf>,
    /// The private key (PEM) of that certificate.
    #[arg(
        long,
        env = "NATS_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "nats_tls_cert_file"
    )]
    nats_tls_key_file: Option<PathBuf>,
    /// How long a call waits for a lost connection to come back.
    #[arg(long, env = "RECONNECT_WAIT", value_name = "DURATION", default_value = "40ms", value_parser = duration)]
    pub(crate) reconnect_wait: Duration,
    /// How long calls wait for a service of which no replica listens, from the first that finds it so; it may be
    /// restarting. Once it has been away for so long none waits, unless there was no call for that time.
    #[arg(long, env = "ABSENCE_WAIT", value_name = "DURATION", default_value = "0ms", value_parser = duration)]
    pub(crate) absence_wait: Duration,
    /// How often a server is asked whether it is there. After three of these without an answer the connection counts as
    /// lost.
    #[arg(long, env = "PING_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) ping_interval: Duration,
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
            tls: self.tls()?,
            reconnect_wait: self.reconnect_wait,
            absence_wait: self.absence_wait,
            ping_interval: self.ping_interval,
            ..client::Options::default()
        })
    }

    /// A file that is missing now is a mistake; one that is replaced later is read for the next connection.
    fn tls(&self) -> anyhow::Result<Tls> {
        let ca_file = self.nats_tls_ca_file.as_deref();
        let own = (&self.nats_tls_cert_file, &self.nats_tls_key_file);
        let identity = match own {
            (Some(certificate), Some(key)) => {
                let identity = Identity {
                    certificate_file: readable("NATS_TLS_CERT_FILE", certificate)?,
                    key_file: readable("NATS_TLS_KEY_FILE", key)?,
                };
                exposure::warn_of_file(key);
                Some(identity)
            }
            _ => None,
        };
        Ok(Tls {
            ca_file: ca_file
                .map(|file| readable("NATS_TLS_CA_FILE", file))
                .transpose()?,
            identity,
        })
    }

    /// Tells whether the server is that of this folder's system, and `up` has ended.
    pub(crate) fn is_of_a_system_that_stopped(&self) -> bool {
        self.nats_url.is_none() && !state::is_held()
    }
}

fn readable(variable: &str, file: &Path) -> anyhow::Result<PathBuf> {
    let text = fs::read(file).with_context(|| format!("{variable}: {}", file.display()))?;
    if !text.windows(PEM.len()).any(|words| words == PEM) {
        bail!(
            "{variable}: {} is not PEM; its parts begin with -----BEGIN",
            file.display()
        );
    }
    Ok(file.to_owned())
}
