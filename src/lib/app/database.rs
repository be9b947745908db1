//! The database service: operations over a store.

mod sqlite;

use std::time::Duration;

use anyhow::Context as _;

use super::{
    api::database::{CreateUser, CreateUserRequest, GetUser, GetUserRequest},
    config::{self, state},
    process::Process,
};
use crate::Replica;
use sqlite::Sqlite;

/// What reading and writing a user took in the application that this one answers.
const SIMULATED_READ: Duration = Duration::from_millis(100);
const SIMULATED_WRITE: Duration = Duration::from_millis(200);

pub(crate) async fn serve(process: Process, settings: &config::Database) -> anyhow::Result<()> {
    if settings.is_default() {
        // `up` has made it, unless this service runs by itself.
        state::make().with_context(|| format!("{} can't be made", state::FOLDER))?;
    }
    let url = settings.url()?;
    let store = tokio::select! {
        () = process.shutdown.requested() => return Ok(()),
        store = Sqlite::open(&url) => store.context(
            "the database can't be opened; set DATABASE_URL to a SQLite file that you may write to",
        )?,
    };
    if settings.is_default() && state::RunFile::read()?.is_none() {
        // Nobody would notice until users are there and not there by turns.
        tracing::warn!(
            "users are kept in this folder, in {url}; replicas elsewhere must share the file, by DATABASE_URL"
        );
    }
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
