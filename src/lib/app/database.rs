//! The database service: operations over a store.

mod announce;
mod outbox;
mod postgres;
mod relay;
mod sqlite;
mod statement;
mod store;

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::{Context, trace::TraceContextExt};

use super::{
    api::{
        database::{CreateUser, CreateUserRequest, GetUser, GetUserRequest},
        outbox::{
            Kind, ListOutbox, ListOutboxRequest, Retried, RetryOutbox, RetryOutboxRequest,
            SettleMail, SettleMailRequest,
        },
    },
    config::{self, state},
    process::Process,
};
use crate::{Ctx, Replica, telemetry::propagation::traceparent};
use postgres::Postgres;
use relay::Relay;
use sqlite::Sqlite;
use store::{NewUser, Settled, Store, Stored};

/// Entries of the outbox that are listed at a time; a reply has room for them.
const MAX_LISTED: u32 = 200;

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
    outbox::show(process.client.metrics(), &store);
    let relay = Relay::new(process, store.clone());
    let replica = replica(process, &store, &relay);
    // Whoever cannot serve shall not relay either.
    let serving = async {
        let served = process.serve(replica).await;
        process.shutdown.request();
        served
    };
    let (served, ()) = tokio::join!(serving, relay.run(&process.shutdown));
    store.close().await;
    served
}

fn replica<S: Store>(process: &Process, store: &S, relay: &Relay<S>) -> Replica {
    let latency = process.latency;
    let instance = process.client.instance().id().to_owned();
    let (reading, writing, announcing) = (store.clone(), store.clone(), relay.clone());
    let (settling, listing, retrying, due) =
        (store.clone(), store.clone(), store.clone(), relay.clone());
    Replica::new(&process.client)
        .handle::<GetUser>(move |_ctx, request: GetUserRequest| {
            let store = reading.clone();
            async move {
                latency.simulate(SIMULATED_READ).await;
                store.user(&request.user_id).await
            }
        })
        .handle::<CreateUser>(move |ctx: Ctx, mut request: CreateUserRequest| {
            let (store, relay) = (writing.clone(), announcing.clone());
            let publisher = instance.clone();
            async move {
                latency.simulate(SIMULATED_WRITE).await;
                request.is_repeated |= ctx.attempt() > 1;
                let traceparent =
                    Context::map_current(|current| traceparent(current.span().span_context()));
                let new = NewUser {
                    request,
                    publisher,
                    traceparent,
                };
                let Stored { created, is_new } = store.create(new).await?;
                if is_new {
                    ctx.spawn(relay.announce(&created));
                }
                Ok(created)
            }
        })
        .handle::<SettleMail>(move |_ctx, request: SettleMailRequest| {
            let store = settling.clone();
            async move {
                let settled = Settled {
                    registration_id: request.registration_id,
                    kind: Kind::Mail,
                    holder: request.holder,
                    outcome: request.outcome,
                    unless_kept: false,
                };
                store.settle(settled).await
            }
        })
        .handle::<ListOutbox>(move |_ctx, request: ListOutboxRequest| {
            let store = listing.clone();
            async move {
                let at_most = request.limit.min(MAX_LISTED);
                store.outbox(request.only, at_most).await
            }
        })
        .handle::<RetryOutbox>(move |_ctx, request: RetryOutboxRequest| {
            let (store, relay) = (retrying.clone(), due.clone());
            async move {
                let entries = store.retry(request).await?;
                relay.look_now();
                Ok(Retried { entries })
            }
        })
}
