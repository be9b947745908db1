//! The admin address: how a process fares, for who starts and watches it.

use std::{io, net::SocketAddr};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::serve::{Leaving, Places, serve_at_most};
use crate::{
    Client, Code, Health, Shutdown, Status,
    metrics::{Format, Metrics},
};

/// A few watchers; what the edge needs is not taken away from it.
const PLACES: Places = Places {
    connections: 16,
    refusals: 4,
};

/// Answers `/livez`, `/readyz` and `/metrics` for as long as it lives.
///
/// - `/livez`: 200 as long as the process's runtime turns.
/// - `/readyz`: 200 if the process is ready, else 503. The JSON body holds each check of its [`Health`].
/// - `/metrics`: its [`Metrics`] in OpenMetrics; in Prometheus' older text format to who accepts only that.
///
/// Start it first and drop it last: a process that waits for NATS, or finishes its work before it
/// leaves, says so. Dropping it stops accepting; nobody waits for those who ask.
///
/// ```no_run
/// # use nats_serve::{Client, http};
/// # async fn run(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let health = client.health();
/// health.fail("cache", "is being filled");
/// let _admin = http::Admin::bind(([127, 0, 0, 1], 9000).into(), &client).await?;
/// // ... later:
/// health.pass("cache", "filled");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is answered once it is dropped"]
pub struct Admin {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Admin {
    /// Listens on an address; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// Returns an error when the address can't be listened on.
    pub async fn bind(address: SocketAddr, client: &Client) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz).with_state(client.health().clone()))
            .route(
                "/metrics",
                get(metrics).with_state(client.metrics().clone()),
            );
        let serving = tokio::spawn(async move {
            let never = Shutdown::new();
            serve_at_most(PLACES, listener, router, &never, Leaving::default()).await;
        });
        Ok(Self {
            address,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn livez() -> impl IntoResponse {
    Json(serde_json::json!({"status": "alive"}))
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let report = health.report().await;
    let status = if report.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report))
}

async fn metrics(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).map(HeaderValue::as_bytes);
    let format = format_for(accepted.unwrap_or_default());
    match metrics.text(format).await {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => {
            let words = "the metrics can't be written";
            let status = Status::new(Code::Internal, words);
            status.with_source(error).into_response()
        }
    }
}

/// Who names the older format and not the newer one gets the older one.
fn format_for(accepted: &[u8]) -> Format {
    let accepted = String::from_utf8_lossy(accepted).to_ascii_lowercase();
    let accepts = |kind: &str| accepted.contains(kind);
    match accepts("text/plain") && !accepts("application/openmetrics-text") {
        true => Format::Prometheus,
        false => Format::OpenMetrics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_the_newer_format_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accepted, expected) in [
            ("", Format::OpenMetrics),
            ("*/*", Format::OpenMetrics),
            (prometheus, Format::OpenMetrics),
            ("Text/Plain;version=0.0.4", Format::Prometheus),
        ] {
            assert_eq!(expected, format_for(accepted.as_bytes()), "{accepted}");
        }
    }
}
