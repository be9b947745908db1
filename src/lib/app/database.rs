//! The database service: operations over a store.

mod postgres;
mod sqlite;
mod store;

use std::time::Duration;

use anyhow::Context as _;

use super::{
    api::database::{CreateUser, CreateUserRequest, GetUser, GetUserRequest},
    config::{self, state},
    process::Process,
};
use crate::Replica;
use postgres::Postgres;
use sqlite::Sqlite;
use store::Store;

/// What reading and writing a user took in the application that this one answers.
const SIMULATED_READ: Duration = Duration::from_millis(100);
const SIMULATED_WRITE: Duration = Duration::from_millis(200);

pub(crate) async fn serve(process: Process, settings: &config::Database) -> anyhow::Result<()> {
    match settings.store()? {
        config::Store::Sqlite(url) => {
            let store = open_sqlite(&url, settings);
            serve_from(&process, store).await
        }
        config::Store::Postgres(url) => {
            let health = process.client.health();
            let store = Postgres::open(&url, settings.database_max_connections, health);
            serve_from(&process, store).await
        }
    }
}

async fn open_sqlite(url: &str, settings: &config::Database) -> anyhow::Result<Sqlite> {
    if settings.is_default() {
        // `up` has made it, unless this service runs by itself.
        state::make().with_context(|| format!("{} can't be made", state::FOLDER))?;
    }
    let store = Sqlite::open(url).await?;
    if settings.is_default() && state::RunFile::read()?.is_none() {
        // Nobody would notice until users are there and not there by turns.
        tracing::warn!(
            "users are kept in this folder, in {url}; replicas elsewhere must share the file, by DATABASE_URL"
        );
    }
    Ok(store)
}

/// Serves from a store, once it is open.
async fn serve_from<S: Store>(
    process: &Process,
    opening: impl Future<Output = anyhow::Result<S>>,
) -> anyhow::Result<()> {
    let store = tokio::select! {
        () = process.shutdown.requested() => return Ok(()),
        store = opening => store.context(
            "the database can't be opened; set DATABASE_URL to a SQLite file that you may write to, or to a PostgreSQL database that lets you in",
        )?,
    };
    let probed = store.clone();
    process.client.health().probe("store", move || {
        let store = probed.clone();
        async move { store.probe().await }
    });
    let latency = process.latency;
    let reading = store.clone();
    let writing = store.clone();
    let replica = Replica::new(&process.client)
        .handle::<GetUser>(move |_ctx, request: GetUserRequest| {
            let store = reading.clone();
            async move {
                latency.simulate(SIMULATED_READ).await;
                store.user(&request.user_id).await
            }
        })
        .handle::<CreateUser>(move |_ctx, request: CreateUserRequest| {
            let store = writing.clone();
            async move {
                latency.simulate(SIMULATED_WRITE).await;
                store.create(&request.name, &request.email).await
            }
        });
    process.serve(replica).await?;
    store.close().await;
    Ok(())
}
