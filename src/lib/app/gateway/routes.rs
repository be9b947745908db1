//! The routes of the API: each turns a request into one call.

use axum::{
    Json as Answer, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::{Map, Value};

use super::bodies::{Health, Index, Success, registration};
use crate::{
    Client, Status,
    app::api::user::{GetUserProfile, GetUserProfileRequest, RegisterUser},
    http::Json,
};

pub(super) fn router(client: Client) -> Router {
    Router::new()
        .route("/", get(async || Answer(Index::new())))
        .route("/health", get(async || Answer(Health::now())))
        .route("/user/{user_id}", get(user))
        .route("/register", post(register))
        .with_state(client)
}

async fn user(
    State(client): State<Client>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Status> {
    // Bytes that are no UTF-8 are nobody's id.
    let Path(user_id) = user_id.map_err(|_| Status::not_found("no user has this id"))?;
    let request = GetUserProfileRequest { user_id };
    let profile = client.call::<GetUserProfile>(&request).await?;
    Ok(Answer(Success::now(profile)))
}

async fn register(
    State(client): State<Client>,
    Json(body): Json<Map<String, Value>>,
) -> Result<impl IntoResponse, Status> {
    let registered = client.call::<RegisterUser>(&registration(&body)?).await?;
    Ok((StatusCode::CREATED, Answer(Success::now(registered))))
}
