//! The gateway: HTTP in, operations out.

mod bodies;
mod key;
mod openapi;
mod routes;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::{config, process::Process};
use crate::http::{self, Edge};

pub(crate) async fn serve(process: Process, settings: &config::Http) -> anyhow::Result<()> {
    let options = settings.edge(process.limits).await?;
    let leaving = settings.leaving(process.limits.shutdown_grace)?;
    let listener = TcpListener::bind(settings.addr).await.with_context(|| {
        format!(
            "can't listen on {}; stop what listens there, or set HTTP_ADDR to another address",
            settings.addr
        )
    })?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let health = process.client.health();
    health.pass("http", format!("listening on {address}"));
    let routes = routes::router(process.client.clone(), options.tokens.is_some());
    let edge = Edge::new(process.client.instance(), options);
    let router = edge.wrap(routes);
    // It answers from the start, 503 until NATS is there; discovery joins when it can.
    let (announced, ()) = tokio::join!(
        async {
            let served = process.serve_at(edge.announce(&process.client), Some(address));
            served.await.inspect_err(|_| process.shutdown.request())
        },
        http::serve(listener, router, &process.shutdown, leaving),
    );
    announced
}
