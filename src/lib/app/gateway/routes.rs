//! The routes of the API: each turns a request into one call.

use axum::{
    Json as Answer, Router,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value};

use super::{
    bodies::{Health, Index, Success, registration},
    key::{self, Given},
};
use crate::{
    Client, Code, Status,
    app::api::user::{GetUserProfile, GetUserProfileRequest, RegisterUser},
    http::{Caller, Json},
};

const REGISTER: &str = "/register";

pub(super) fn router(client: Client) -> Router {
    Router::new()
        .route("/", get(async || Answer(Index::new())))
        .route("/health", get(async || Answer(Health::now())))
        .route("/user/{user_id}", get(user))
        .route(REGISTER, post(register))
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
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, Status> {
    let Given { key, made } = key::of(&headers, &caller, REGISTER, &body)?;
    let request = registration(&body, key)?;
    let mut response = match client.call::<RegisterUser>(&request).await {
        Ok(registration) => {
            let is_replayed = registration.is_replayed;
            let body = Answer(Success::registered(registration));
            let mut response = (StatusCode::CREATED, body).into_response();
            if is_replayed {
                let headers = response.headers_mut();
                headers.insert(key::REPLAYED, HeaderValue::from_static("true"));
            }
            return Ok(response);
        }
        Err(status) if status.code() == Code::DeadlineExceeded => unknown_outcome().into_response(),
        Err(status) if status.is_retryable() || status.code() == Code::Internal => {
            status.into_response()
        }
        Err(status) => return Err(status),
    };
    // It may have happened: whoever sent no key may repeat the request with the one that it had.
    if let Some(made) = made {
        response.headers_mut().insert(key::IDEMPOTENCY_KEY, made);
    }
    Ok(response)
}

fn unknown_outcome() -> Status {
    let words = "the outcome is unknown; repeat with the same Idempotency-Key";
    Status::new(Code::DeadlineExceeded, words)
        .because("outcome_unknown")
        .worth_repeating()
}
