//! `nats-serve outbox`: mails and events that are not sent yet.

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::{out, tools};
use crate::{
    Client, Operation, Status,
    app::{
        api::outbox::{
            Delivery, Entry, ListOutbox, ListOutboxRequest, Outbox, RetryOutbox, RetryOutboxRequest,
        },
        config,
    },
    client::Unanswered,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    nats: config::Nats,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Try now what has failed, or waits for its next try.
    Retry {
        /// The registration, as the list shows it.
        #[arg(value_name = "REGISTRATION", required_unless_present_any = ["failed", "pending"])]
        registration_id: Option<String>,
        /// All that has failed.
        #[arg(long, conflicts_with_all = ["registration_id", "pending"])]
        failed: bool,
        /// All that waits for its next try.
        #[arg(long, conflicts_with = "registration_id")]
        pending: bool,
        #[command(flatten)]
        nats: config::Nats,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only what will not be tried again by itself.
    #[arg(long, conflicts_with = "pending")]
    failed: bool,
    /// Only what is being sent, or will be.
    #[arg(long)]
    pending: bool,
    /// At most so many, the oldest first.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    runtime.block_on(async {
        match &args.action {
            None => list(&args.nats, &args.list).await,
            Some(Action::Retry {
                registration_id,
                failed,
                nats,
                ..
            }) => {
                let what = match (registration_id, failed) {
                    (Some(id), _) => RetryOutboxRequest::Registration(id.clone()),
                    (None, true) => RetryOutboxRequest::Failed,
                    (None, false) => RetryOutboxRequest::Pending,
                };
                retry(nats, &what).await
            }
        }
    })
}

async fn list(nats: &config::Nats, list: &List) -> anyhow::Result<()> {
    let request = ListOutboxRequest {
        only: match (list.failed, list.pending) {
            (true, _) => Some(Delivery::Failed),
            (_, true) => Some(Delivery::Pending),
            _ => None,
        },
        limit: list.limit,
    };
    let outbox = ask::<ListOutbox>(nats, &request).await?;
    match list.json {
        true => out::print(&(serde_json::to_string_pretty(&outbox)? + "\n")),
        false => out::print(&table(&outbox)),
    }
}

async fn retry(nats: &config::Nats, what: &RetryOutboxRequest) -> anyhow::Result<()> {
    let retried = ask::<RetryOutbox>(nats, what).await?;
    match retried.entries {
        0 if matches!(what, RetryOutboxRequest::Registration(_)) => {
            bail!("nothing of this registration waits or has failed, or it is being sent right now")
        }
        0 => out::print("there is nothing to try\n"),
        1 => out::print("1 is tried now\n"),
        entries => out::print(&format!("{entries} are tried now\n")),
    }
}

async fn ask<O: Operation>(nats: &config::Nats, request: &O::Request) -> anyhow::Result<O::Reply> {
    let (client, _) = tools::connect(nats).await?;
    let answer = client.call::<O>(request).await;
    answer.map_err(|status| explain(&client, &status))
}

fn explain(client: &Client, status: &Status) -> anyhow::Error {
    match status.unanswered() {
        Some(Unanswered::NoResponders) => anyhow::anyhow!(
            "no database service is running; the outbox is in its store, and nothing of it is lost"
        ),
        Some(Unanswered::Forbidden) => anyhow::anyhow!(
            "this key may not ask ({}); set NATS_NKEY_FILE to the nkey of `tools`, or to the folder that it is in",
            client.forbidden().unwrap_or_default()
        ),
        _ => anyhow::anyhow!("the database service says: {}", status.message()),
    }
}

fn table(outbox: &Outbox) -> String {
    let Outbox {
        entries,
        pending,
        failed,
    } = outbox;
    let mut text = String::new();
    if !entries.is_empty() {
        let _ = writeln!(
            text,
            "{:<24}  {:<5}  {:>8}  {:<7}  {:>5}  {:<12}  REGISTERED",
            "REGISTRATION", "KIND", "USER", "STATE", "TRIES", "NEXT"
        );
    }
    for entry in entries {
        let _ = writeln!(
            text,
            "{:<24}  {:<5}  {:>8}  {:<7}  {:>5}  {:<12}  {}",
            entry.registration_id,
            entry.kind.as_str(),
            entry.user_id,
            state(entry),
            entry.tries,
            next(entry),
            time(entry.created_at_ms)
        );
    }
    let _ = writeln!(text, "{pending} pending, {failed} failed");
    text
}

fn state(entry: &Entry) -> &'static str {
    match entry.delivery {
        Delivery::Failed => "failed",
        _ if entry.is_leased => "sending",
        _ => "pending",
    }
}

/// When it is tried next, in words as short as a column.
fn next(entry: &Entry) -> String {
    if entry.delivery == Delivery::Failed {
        return "never".to_owned();
    }
    match u64::try_from(entry.due_in_ms) {
        Ok(ms) if ms > 0 => {
            let whole = Duration::from_secs(ms.div_ceil(1000));
            format!("in {}", humantime::format_duration(whole))
        }
        _ => "now".to_owned(),
    }
}

fn time(ms: i64) -> String {
    let since = Duration::from_millis(ms.unsigned_abs());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}
