//! The admin address: how a process fares, for who starts and watches it.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::serve::{Places, serve_at_most};
use crate::{Health, Shutdown};

/// A few watchers; what the edge needs is not taken away from it.
const PLACES: Places = Places {
    connections: 16,
    refusals: 4,
};

/// Answers `/livez` and `/readyz` for as long as it lives.
///
/// - `/livez`: 200 as long as the process's runtime turns.
/// - `/readyz`: 200 if the process is ready, else 503. The JSON body holds each check of its [`Health`].
///
/// Start it first and drop it last: a process that waits for NATS, or finishes its work before it
/// leaves, says so. Dropping it stops accepting; nobody waits for those who ask.
///
/// ```no_run
/// # use nats_serve::{Client, http};
/// # async fn run(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let health = client.health();
/// health.fail("cache", "is being filled");
/// let _admin = http::Admin::bind(([127, 0, 0, 1], 9000).into(), health).await?;
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
    pub async fn bind(address: SocketAddr, health: &Health) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .with_state(health.clone());
        let serving = tokio::spawn(async move {
            let never = Shutdown::new();
            serve_at_most(PLACES, listener, router, &never, Duration::ZERO).await;
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
