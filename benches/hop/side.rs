//! One side of the hop, as a stranger writes it with nats-serve.

use std::{io::Read, path::PathBuf, thread, time::Duration};

use clap::ValueEnum;
use nats_serve::{Client, Instance, Operation, Replica, Service, Shutdown, client, telemetry};
use serde::{Deserialize, Serialize};
use stats_alloc::INSTRUMENTED_SYSTEM;

const CALLER: Service = Service::new("caller");
const ECHO: Service = Service::new("echo");

/// Under callgrind a call may take long, and what is repeated is not the same work.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers what it was asked, so that both bodies have the same length and all else is the runtime's.
struct Echo;

impl Operation for Echo {
    const SERVICE: Service = ECHO;
    const NAME: &'static str = "echo";
    const IDEMPOTENT: bool = true;
    type Request = String;
    type Reply = String;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Caller,
    Replica,
}

impl Side {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Replica => "replica",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    side: Side,
    #[arg(long)]
    nats: String,
    /// How many calls the caller makes, one after the other.
    #[arg(long, default_value_t = 0)]
    calls: u32,
    /// Bytes of a body.
    #[arg(long, default_value_t = 64)]
    body: usize,
    /// Where all spans go; without it tracing is off.
    #[arg(long)]
    spans_dir: Option<PathBuf>,
}

/// Calls so often, or serves until standard input closes, and tells what was allocated from start to end.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let instance = Instance::new(match args.side {
        Side::Caller => CALLER,
        Side::Replica => ECHO,
    });
    let recorded = telemetry::Config {
        enabled: args.spans_dir.is_some(),
        sampling_ratio: Some(1.0),
        spans_dir: args.spans_dir.clone(),
        log_filter: Some("warn".to_owned()),
        ..telemetry::Config::default()
    };
    let telemetry = telemetry::init(&instance, &recorded)?;
    // As the product: a process is a replica, and has one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let options = client::Options {
            url: args.nats.clone(),
            request_timeout: PATIENCE,
            attempt_timeout: PATIENCE,
            ..client::Options::default()
        };
        let client = Client::connect(&instance, options).await?;
        client.ready().await;
        match args.side {
            Side::Caller => call(&client, args).await,
            Side::Replica => serve(&client).await,
        }
    })?;
    drop(runtime);
    telemetry.shutdown();
    let all = INSTRUMENTED_SYSTEM.stats();
    let allocations = all.allocations + all.reallocations;
    println!("allocated {allocations} {}", all.bytes_allocated);
    Ok(())
}

async fn call(client: &Client, args: &Args) -> anyhow::Result<()> {
    // Two of the body are the quotes of JSON.
    let body = "x".repeat(args.body.saturating_sub(2));
    for _ in 0..args.calls {
        client.call::<Echo>(&body).await?;
    }
    Ok(())
}

async fn serve(client: &Client) -> anyhow::Result<()> {
    let replica = Replica::new(client).handle::<Echo>(|_ctx, body| async move { Ok(body) });
    let running = replica.start().await?;
    println!("ready");
    let shutdown = Shutdown::new();
    let stop = shutdown.clone();
    // The driver holds the other end, so nobody outlives it.
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.request();
    });
    running.until(&shutdown).await;
    Ok(())
}
