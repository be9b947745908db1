//! The same as a stranger writes it with nats-serve.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    routing::get,
};
use nats_serve::{
    Client, Instance, Operation, Replica, Service, Shutdown, Status, client, http, replica::Limits,
    telemetry,
};
use tokio::{runtime::Runtime, sync::oneshot};

use super::{Args, LONGEST, listen, ready};
use crate::work::{Get, NEVER, User, Wanted, look_up};

/// By hop.
const SERVICES: [Service; LONGEST + 1] = [
    Service::new("gateway"),
    Service::new("first"),
    Service::new("second"),
    Service::new("third"),
    Service::new("fourth"),
];

/// The same operation at each hop.
struct GetUser<const HOP: usize>;

impl<const HOP: usize> Operation for GetUser<HOP> {
    const SERVICE: Service = SERVICES[HOP];
    const NAME: &'static str = "get_user";
    const IDEMPOTENT: bool = true;
    type Request = Get;
    type Reply = User;
}

pub(super) fn serve(
    runtime: &Runtime,
    args: &Args,
    stop: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let instance = Instance::new(SERVICES[args.hop]);
    let recorded = telemetry::Config {
        enabled: args.ratio.is_some(),
        sampling_ratio: args.ratio,
        spans_dir: args.spans_dir.clone(),
        otlp: args.otlp.then_some(telemetry::Protocol::HttpProtobuf),
        // Nobody else writes a line for each request.
        log_filter: (!args.access_log).then(|| "warn".to_owned()),
        ..telemetry::Config::default()
    };
    let telemetry = telemetry::init(&instance, &recorded)?;
    let served = runtime.block_on(async {
        let shutdown = Shutdown::new();
        let options = client::Options {
            url: args.nats.clone(),
            ..client::Options::default()
        };
        let client = Client::connect(&instance, options).await?;
        client.ready().await;
        let stopping = async {
            let _ = stop.await;
            shutdown.request();
        };
        let (served, ()) = tokio::join!(chain(args, &instance, client, &shutdown), stopping);
        served
    });
    telemetry.shutdown();
    served
}

async fn chain(
    args: &Args,
    instance: &Instance,
    client: Client,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let replica = match (args.hop, args.hops) {
        (0, _) => return gateway(instance, client, shutdown).await,
        (1, 2..) => passing::<1, 2>(&client),
        (2, 3..) => passing::<2, 3>(&client),
        (3, 4..) => passing::<3, 4>(&client),
        (1, _) => last::<1>(&client),
        (2, _) => last::<2>(&client),
        (3, _) => last::<3>(&client),
        _ => last::<4>(&client),
    };
    let running = replica.start().await?;
    ready(None);
    running.until(shutdown).await;
    Ok(())
}

/// Those of the application's processes. The library's own, 64 and 128, are fewer than the connections of the largest load.
fn replica(client: &Client) -> Replica {
    Replica::new(client).with_limits(Limits {
        max_ongoing: 256,
        max_queued: 512,
        ..Limits::default()
    })
}

fn last<const HOP: usize>(client: &Client) -> Replica {
    replica(client).handle::<GetUser<HOP>>(|_ctx, get: Get| async move {
        if get.id == NEVER {
            // Stopped at the request's deadline, as whatever hangs.
            std::future::pending::<()>().await;
        }
        Ok(look_up(&get))
    })
}

fn passing<const HOP: usize, const NEXT: usize>(client: &Client) -> Replica {
    let next = client.clone();
    replica(client).handle::<GetUser<HOP>>(move |_ctx, get| {
        let next = next.clone();
        async move { next.call::<GetUser<NEXT>>(&get).await }
    })
}

async fn gateway(instance: &Instance, client: Client, shutdown: &Shutdown) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/user/{user_id}", get(get_user))
        .with_state(client);
    let router = http::Edge::new(instance, http::Options::default()).wrap(router);
    let listener = listen().await?;
    ready(Some(listener.local_addr()?));
    http::serve(listener, router, shutdown, Duration::from_secs(2)).await;
    Ok(())
}

async fn get_user(
    State(client): State<Client>,
    Path(id): Path<u64>,
    Query(Wanted { bytes }): Query<Wanted>,
) -> Result<Json<User>, Status> {
    client
        .call::<GetUser<1>>(&Get { id, bytes })
        .await
        .map(Json)
}
