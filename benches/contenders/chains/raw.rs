//! Plain request-reply: what one writes with async-nats alone.

use async_nats::{Client, HeaderMap, Message, Subject};
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

/// A client, and whether it sends headers.
#[derive(Debug, Clone)]
struct Asker {
    nats: Client,
    headers: bool,
}

pub(super) async fn serve(args: &Args) -> anyhow::Result<()> {
    let client = Asker {
        nats: async_nats::connect(&args.nats).await?,
        headers: args.headers,
    };
    if args.hop == 0 {
        gateway(client).await
    } else {
        service(client, args.hop, args.hops).await
    }
}

async fn gateway(client: Asker) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/user/{user_id}", get(get_user))
        .with_state(client);
    serve_http(router).await
}

async fn get_user(
    State(client): State<Asker>,
    Path(id): Path<u64>,
    Query(Wanted { bytes }): Query<Wanted>,
) -> Result<Json<User>, StatusCode> {
    let user = client.ask(1, &Get { id, bytes }).await;
    user.map(Json).map_err(|_| StatusCode::BAD_GATEWAY)
}

impl Asker {
    async fn ask(&self, hop: usize, get: &Get) -> anyhow::Result<User> {
        let request = serde_json::to_vec(get)?.into();
        let subject = SUBJECTS[hop];
        let reply = if self.headers {
            // As ours has them.
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", "4k9xq2m7ab");
            headers.insert("timeout-ms", "2000;sent=1700000000000");
            let asked = self.nats.request_with_headers(subject, headers, request);
            asked.await?
        } else {
            self.nats.request(subject, request).await?
        };
        Ok(serde_json::from_slice(&reply.payload)?)
    }

    async fn reply(&self, to: Subject, user: &User) -> anyhow::Result<()> {
        let reply = serde_json::to_vec(user)?.into();
        if self.headers {
            let mut headers = HeaderMap::new();
            headers.insert("replica", "k3v9x2ab7q");
            self.nats.publish_with_headers(to, headers, reply).await?;
        } else {
            self.nats.publish(to, reply).await?;
        }
        Ok(())
    }
}

async fn service(client: Asker, hop: usize, hops: usize) -> anyhow::Result<()> {
    let group = SUBJECTS[hop].to_owned();
    let mut requests = client.nats.queue_subscribe(SUBJECTS[hop], group).await?;
    client.nats.flush().await?;
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

async fn answer(client: &Asker, request: Message, hop: usize, hops: usize) -> anyhow::Result<()> {
    let get: Get = serde_json::from_slice(&request.payload)?;
    let user = if hop == hops {
        look_up(&get)
    } else {
        client.ask(hop + 1, &get).await?
    };
    match request.reply {
        Some(to) => client.reply(to, &user).await,
        None => Ok(()),
    }
}
