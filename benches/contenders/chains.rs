//! The chains: gateway → service 1 → … → the last one, which knows the users.

mod grpc;
mod ours;
mod raw;

use std::{io::Read, net::SocketAddr, path::PathBuf, thread};

use axum::{Router, serve::ListenerExt};
use clap::ValueEnum;
use tokio::{net::TcpListener, sync::oneshot};

/// Services behind the gateway, at most.
pub(crate) const LONGEST: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// async-nats, without a runtime of ours.
    Raw,
    /// tonic, without NATS and tracing.
    Grpc,
    /// nats-serve.
    Ours,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    kind: Kind,
    /// The gateway is 0.
    #[arg(long)]
    hop: usize,
    /// How many services there are.
    #[arg(long, default_value_t = 2)]
    hops: usize,
    #[arg(long, default_value = "")]
    nats: String,
    /// Where the next one is, which only gRPC has to know.
    #[arg(long)]
    next: Option<String>,
    /// Share of requests that are traced; without it tracing is off.
    #[arg(long)]
    ratio: Option<f64>,
    #[arg(long)]
    spans_dir: Option<PathBuf>,
    /// Sends spans to where `OTEL_EXPORTER_OTLP_ENDPOINT` says, which the exporter reads by itself.
    #[arg(long)]
    otlp: bool,
    /// Writes a line for each request.
    #[arg(long)]
    access_log: bool,
    /// Has `raw` send as many headers as ours: profile.py counts what they cost.
    #[arg(long)]
    headers: bool,
}

/// Serves until standard input closes.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // As the product: a process is a replica, and has one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stop = when_stdin_closes();
    match args.kind {
        Kind::Raw => runtime.block_on(until(stop, raw::serve(args))),
        Kind::Grpc => runtime.block_on(until(stop, grpc::serve(args))),
        Kind::Ours => ours::serve(&runtime, args, stop),
    }
}

async fn until(
    stop: oneshot::Receiver<()>,
    serving: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::select! {
        served = serving => served,
        _ = stop => Ok(()),
    }
}

/// The driver holds the other end, so nobody outlives it.
fn when_stdin_closes() -> oneshot::Receiver<()> {
    let (closed, stop) = oneshot::channel();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = closed.send(());
    });
    stop
}

/// Serves a gateway as one does who has nothing but axum.
async fn serve_http(router: Router) -> anyhow::Result<()> {
    let listener = listen().await?;
    ready(Some(listener.local_addr()?));
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn listen() -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0").await?)
}

/// Tells the driver.
fn ready(at: Option<SocketAddr>) {
    println!("ready {}", at.map_or_else(String::new, |at| at.to_string()));
}
