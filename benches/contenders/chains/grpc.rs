//! gRPC by tonic, without tracing: what a Rust team would take instead.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::get,
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server, server::TcpIncoming},
};

use super::{Args, listen, ready, serve_http};
use crate::work::{Get, User, Wanted, look_up};

#[allow(clippy::all, missing_docs, unreachable_pub, reason = "it is generated")]
mod generated {
    tonic::include_proto!("contenders.Users");
}

use generated::{
    users_client::UsersClient,
    users_server::{Users, UsersServer},
};

pub(super) async fn serve(args: &Args) -> anyhow::Result<()> {
    let next = match &args.next {
        Some(next) => Some(UsersClient::connect(format!("http://{next}")).await?),
        None => None,
    };
    match next {
        Some(next) if args.hop == 0 => gateway(next).await,
        next => service(next).await,
    }
}

async fn gateway(next: UsersClient<Channel>) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/user/{user_id}", get(get_user))
        .with_state(next);
    serve_http(router).await
}

async fn get_user(
    State(mut next): State<UsersClient<Channel>>,
    Path(id): Path<u64>,
    Query(Wanted { bytes }): Query<Wanted>,
) -> Result<Json<User>, StatusCode> {
    let user = next.get(Get { id, bytes }).await;
    let user = user.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(user.into_inner()))
}

async fn service(next: Option<UsersClient<Channel>>) -> anyhow::Result<()> {
    let listener = listen().await?;
    ready(Some(listener.local_addr()?));
    // The server's own setting has no say in connections that it is given.
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .add_service(UsersServer::new(Service { next }))
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}

struct Service {
    next: Option<UsersClient<Channel>>,
}

#[tonic::async_trait]
impl Users for Service {
    async fn get(&self, request: Request<Get>) -> Result<Response<User>, Status> {
        match &self.next {
            Some(next) => next.clone().get(request.into_inner()).await,
            None => Ok(Response::new(look_up(request.get_ref()))),
        }
    }
}
