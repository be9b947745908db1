//! The steps of every service's main, once: settings, telemetry, connection, serving, leaving.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};

use super::config::Common;
use crate::{
    Client, Instance, Replica, Service, Shutdown, health, http::Admin, replica, telemetry,
};

/// Time for the last messages beyond the grace that requests have.
const LEAVING_TIME: Duration = Duration::from_secs(3);
/// Time for a write to the disk, or another's lock, that is being waited for.
const BLOCKING_TIME: Duration = Duration::from_secs(1);
/// Time beyond the grace for a process that does all this in time, the last spans included.
const ENDING_TIME: Duration = Duration::from_secs(8);

/// What a service is given to serve with.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) client: Client,
    pub(crate) shutdown: Shutdown,
    pub(crate) limits: replica::Limits,
    pub(crate) latency: Latency,
    /// Where it tells how it fares.
    admin: SocketAddr,
    supervised: bool,
}

/// The line by which a supervised service says that it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) instance: String,
    /// Where HTTP is answered, if it is.
    pub(crate) http: Option<SocketAddr>,
    /// Where `/livez`, `/readyz` and `/metrics` are answered.
    pub(crate) admin: SocketAddr,
}

/// The line by which a supervised service says that it works for nobody any more; it may still have spans to send.
pub(crate) const LEFT: &str = "left";

/// Runs a service from start to end.
pub(crate) fn run(
    service: Service,
    common: &Common,
    limits: replica::Limits,
    serve: impl AsyncFnOnce(Process) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let instance = Instance::new(service);
    let telemetry = telemetry::init(&instance, &common.telemetry.config(common.supervised)?)?;
    let telemetry = Arc::new(Mutex::new(Some(telemetry)));
    telemetry::log_panics();
    // One thread: a process is a replica, and more of them use more cores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    let result = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("signals can't be handled")?;
        let spans = Arc::clone(&telemetry);
        let grace = common.limits.shutdown_grace;
        shutdown.exit_when_late(grace, ENDING_TIME, move || {
            tracing::error!("left by force: a request blocks the process's thread");
            flush(&spans);
        })?;
        if common.supervised {
            shutdown.also_when_stdin_closes();
        }
        let client = Client::connect(&instance, common.nats.options(service)?).await?;
        let admin = listen(common.admin.addr, &client).await?;
        let late = too_late(shutdown.clone(), common.limits.shutdown_grace);
        let serving = serve(Process {
            client,
            shutdown,
            limits: common.limits.over(limits),
            latency: Latency(common.simulated_latency),
            admin: admin.address(),
            supervised: common.supervised,
        });
        let result = tokio::select! {
            result = serving => result,
            () = late => Err(anyhow!("left before it was done: something did not end in time")),
        };
        // It has told about the leaving, to the end.
        drop(admin);
        result
    });
    if common.supervised {
        say(LEFT);
    }
    // Nothing may record any more when the last spans are written.
    runtime.shutdown_timeout(BLOCKING_TIME);
    flush(&telemetry);
    result
}

/// Tells the supervisor; one that is gone has closed our standard input as well.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes what is recorded and not written yet. Once: the second of two finds nothing to do.
fn flush(telemetry: &Mutex<Option<telemetry::Guard>>) {
    let mut recorded = telemetry.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(guard) = recorded.take() {
        guard.shutdown();
    }
}

/// Ends when everything should long have ended.
async fn too_late(shutdown: Shutdown, grace: Duration) {
    shutdown.requested().await;
    tokio::select! {
        () = tokio::time::sleep(grace) => {}
        () = shutdown.hurried() => {}
    }
    tokio::time::sleep(LEAVING_TIME).await;
}

/// Tells how the process fares from now on: not ready, until its replica has joined.
async fn listen(addr: SocketAddr, client: &Client) -> anyhow::Result<Admin> {
    let health = client.health();
    health.fail(health::GROUP, "not joined yet");
    let admin = Admin::bind(addr, client).await.with_context(|| {
        format!(
            "can't listen on {addr}; stop what listens there, or set ADMIN_ADDR to another address"
        )
    })?;
    tracing::info!("health and metrics at http://{}", admin.address());
    Ok(admin)
}

impl Process {
    /// Serves a replica until the process is told to leave.
    pub(crate) async fn serve(&self, replica: Replica) -> anyhow::Result<()> {
        self.serve_at(replica, None).await
    }

    /// The same, for a process that answers HTTP too.
    pub(crate) async fn serve_at(
        &self,
        replica: Replica,
        http: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let replica = replica
            .with_limits(self.limits)
            .with_metadata("admin", self.admin.to_string());
        let running = tokio::select! {
            () = self.shutdown.requested() => return Ok(()),
            running = replica.start() => running?,
        };
        self.announce(http);
        running.until(&self.shutdown).await;
        Ok(())
    }

    fn announce(&self, http: Option<SocketAddr>) {
        let instance = self.client.instance();
        let ready = Ready {
            instance: instance.id().to_owned(),
            http,
            admin: self.admin,
        };
        if self.supervised {
            say(&serde_json::to_string(&ready).unwrap_or_default());
        }
        let at = http
            .map(|http| format!(" on http://{http}"))
            .unwrap_or_default();
        tracing::info!(
            replica_id = instance.id(),
            "{} is ready{at}; health and metrics at http://{}; stop it with Ctrl-C",
            instance.service().name(),
            self.admin
        );
    }
}

/// Whether the delays of the original application are put in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency(bool);

impl Latency {
    pub(crate) async fn simulate(self, delay: Duration) {
        if self.0 {
            tokio::time::sleep(delay).await;
        }
    }
}
