//! The connection of the commands that ask a running system, with the key of `tools`.

use std::time::Duration;

use anyhow::bail;

use super::keys::TOOLS;
use crate::{Client, Instance, app::config, client::without_credentials};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Connects, and returns where to, as it may be shown.
pub(super) async fn connect(nats: &config::Nats) -> anyhow::Result<(Client, String)> {
    let options = nats.options(TOOLS)?;
    let url = without_credentials(&options.url);
    let client = Client::connect(&Instance::new(TOOLS), options).await?;
    let ready = tokio::time::timeout(CONNECT_TIMEOUT, client.ready()).await;
    if ready.is_err() {
        if client.is_refused() {
            bail!(
                "NATS at {url} refuses us; set NATS_NKEY_FILE to the nkey of `tools`, or to the folder that it is in"
            );
        }
        if nats.is_of_a_system_that_stopped() {
            bail!(config::STOPPED);
        }
        let reason = client.failure().unwrap_or_else(|| "no answer".to_owned());
        bail!("NATS can't be reached at {url} ({reason}); is the system running?");
    }
    Ok((client, url))
}
