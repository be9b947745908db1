//! Plain request-reply: what one writes with async-nats alone.

use async_nats::{Client, Message};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::get,
};
use futures_util::StreamExt;

use super::{Args, LONGEST, ready, serve_http};
use crate::work::{Get, User, Wanted, look_up};

/// By hop.
const SUBJECTS: [&str; LONGEST + 1] = ["", "raw.1", "raw.2", "raw.3", "raw.4"];

pub(super) async fn serve(args: &Args) -> anyhow::Result<()> {
    let client = async_nats::connect(&args.nats).await?;
    if args.hop == 0 {
        gateway(client).await
    } else {
        service(client, args.hop, args.hops).await
    }
}

async fn gateway(client: Client) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/user/{user_id}", get(get_user))
        .with_state(client);
    serve_http(router).await
}

async fn get_user(
    State(client): State<Client>,
    Path(id): Path<u64>,
    Query(Wanted { bytes }): Query<Wanted>,
) -> Result<Json<User>, StatusCode> {
    let user = ask(&client, 1, &Get { id, bytes }).await;
    user.map(Json).map_err(|_| StatusCode::BAD_GATEWAY)
}

async fn ask(client: &Client, hop: usize, get: &Get) -> anyhow::Result<User> {
    let request = serde_json::to_vec(get)?;
    let reply = client.request(SUBJECTS[hop], request.into()).await?;
    Ok(serde_json::from_slice(&reply.payload)?)
}

async fn service(client: Client, hop: usize, hops: usize) -> anyhow::Result<()> {
    let group = SUBJECTS[hop].to_owned();
    let mut requests = client.queue_subscribe(SUBJECTS[hop], group).await?;
    client.flush().await?;
    ready(None);
    while let Some(request) = requests.next().await {
        let client = client.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(&client, request, hop, hops).await {
                eprintln!("{error:#}");
            }
        });
    }
    Ok(())
}

async fn answer(client: &Client, request: Message, hop: usize, hops: usize) -> anyhow::Result<()> {
    let get: Get = serde_json::from_slice(&request.payload)?;
    let user = if hop == hops {
        look_up(&get)
    } else {
        ask(client, hop + 1, &get).await?
    };
    if let Some(reply) = request.reply {
        client
            .publish(reply, serde_json::to_vec(&user)?.into())
            .await?;
    }
    Ok(())
}
