//! `nats-serve check`: asks a process whether it is ready, as a container's health check.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::out;
use crate::{app::config, http::probe};

/// The setting is the process's own; here it says whom to ask.
const WHOM: &str = "Address of the process to ask, as it was given to that process: 127.0.0.1:9000";

#[derive(Debug, clap::Args)]
#[command(mut_arg("admin_addr", |admin| admin.help(WHOM).hide_default_value(true)))]
pub(super) struct Args {
    #[command(flatten)]
    admin: config::Admin,
    /// Ask only whether the process lives (/livez), not whether it is ready (/readyz).
    #[arg(long)]
    live: bool,
    /// Longest time for the answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::duration)]
    timeout: Duration,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let target = args.admin.target()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    let words = runtime.block_on(ask(args, target))?;
    out::print(&format!("{words}\n"))
}

/// Returns the good news; the bad are an error.
async fn ask(args: &Args, target: SocketAddr) -> anyhow::Result<String> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let asked = probe::get(target, path);
    let (status, body) = match tokio::time::timeout(args.timeout, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => bail!(
            "can't ask http://{target}{path}: {error}; is the process running, with this ADMIN_ADDR?"
        ),
        Err(_) => bail!(
            "no answer from http://{target}{path} within {:?}",
            args.timeout
        ),
    };
    let said = serde_json::from_slice(&body).unwrap_or(Value::Null);
    match (status.as_u16(), said["status"].as_str()) {
        (200, Some(good)) => Ok(format!("{good}{}", checks(&said))),
        (503, Some(bad)) => bail!("{bad}: {}", printable(&said["reason"])),
        _ => bail!("what answers at http://{target}{path} is no service of ours: HTTP {status}"),
    }
}

/// Lists the checks: `: group joined, nats connected`.
fn checks(said: &Value) -> String {
    let mut line = String::new();
    for (name, words) in said["checks"].as_object().into_iter().flatten() {
        let before = if line.is_empty() { ": " } else { ", " };
        let _ = write!(line, "{before}{name} {}", printable(words));
    }
    line
}

/// It is one line, whatever was said.
fn printable(words: &Value) -> String {
    words
        .as_str()
        .unwrap_or("no reason was given")
        .escape_debug()
        .to_string()
}
