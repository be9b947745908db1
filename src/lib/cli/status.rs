//! `nats-serve status`: who is there, and how much each has to do.

mod table;

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};

use crate::{Client, Shutdown, app::config, client::ServiceStats};
use table::table;

use super::{out, tools};

const SURVEY: Duration = Duration::from_secs(1);
/// Shortest pause between two looks: each asks every replica.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Home, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";
const NOBODY: &str =
    "NATS is there, but no service answered; start one, or look at the terminal of `nats-serve up`";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    nats: config::Nats,
    /// Print the answers as JSON, one object a replica, as in NATS' services protocol (ADR-32).
    #[arg(long)]
    json: bool,
    /// Look again every second, or every DURATION: --watch=500ms. Ctrl-C ends it.
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1s",
        value_parser = config::duration
    )]
    watch: Option<Duration>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    runtime.block_on(async {
        let (client, url) = tools::connect(&args.nats).await?;
        match args.watch {
            Some(pause) => watch(args, &client, &url, pause.max(MIN_PAUSE)).await,
            None => once(args, &client).await,
        }
    })
}

async fn once(args: &Args, client: &Client) -> anyhow::Result<()> {
    let replicas = survey(client).await?;
    if args.json {
        out::print(&(serde_json::to_string_pretty(&replicas)? + "\n"))
    } else if replicas.is_empty() {
        bail!(NOBODY);
    } else {
        out::print(&table(&replicas, SystemTime::now()))
    }
}

/// Asks everybody; with a key that may not ask, nobody would seem to be there.
async fn survey(client: &Client) -> anyhow::Result<Vec<ServiceStats>> {
    let replicas = client.survey(SURVEY).await;
    if let Some(forbidden) = client.forbidden() {
        bail!(
            "this key may not ask who is there (NATS forbids {forbidden}); set NATS_NKEY_FILE to the nkey of `tools`, or to the folder that it is in"
        );
    }
    Ok(replicas)
}

/// Looks again and again until Ctrl-C, or until nobody reads any more.
async fn watch(args: &Args, client: &Client, url: &str, pause: Duration) -> anyhow::Result<()> {
    let stop = Shutdown::on_signals().context("signals can't be handled")?;
    let mut screen = Screen {
        redraws: io::stdout().is_terminal() && !args.json,
        begun: false,
    };
    loop {
        let look = async {
            // Asked without a connection, the question would wait for one, and the answers be old.
            let replicas = match client.is_connected() {
                true => Some(survey(client).await?),
                false => None,
            };
            show(args.json, url, replicas.as_deref())
        };
        let block = tokio::select! {
            () = stop.requested() => return Ok(()),
            block = look => block?,
        };
        if screen.show(&block).is_err() {
            return Ok(());
        }
        tokio::select! {
            () = stop.requested() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Writes what one look has found; `None` says that NATS is away.
fn show(json: bool, url: &str, replicas: Option<&[ServiceStats]>) -> anyhow::Result<String> {
    Ok(match replicas {
        // One line a look; while nothing can be seen there is none.
        Some(replicas) if json => serde_json::to_string(replicas)? + "\n",
        None if json => String::new(),
        None => format!("NATS does not answer at {url}; trying on\n"),
        Some([]) => format!("{NOBODY}\n"),
        Some(replicas) => table(replicas, SystemTime::now()),
    })
}

/// A terminal shows the present; a file or a pipe gets block after block.
struct Screen {
    redraws: bool,
    begun: bool,
}

impl Screen {
    fn show(&mut self, block: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.redraws {
            write!(out, "{CLEAR}")?;
        } else if self.begun && block.lines().count() > 1 {
            writeln!(out)?;
        }
        self.begun = true;
        write!(out, "{block}")?;
        out.flush()
    }
}
