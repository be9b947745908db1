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
    bodies::{Health, Index, Registered, Success, registration},
    key::{self, Given},
    openapi::{
        self, HealthProblems, IndexProblems, Registration, RegistrationProblems, UserProblems,
    },
};
use crate::{
    Client, Code, Status,
    app::api::{
        answers,
        user::{GetUserProfile, GetUserProfileRequest, Profile, RegisterUser},
    },
    http::{Caller, Json},
};

const REGISTER: &str = "/register";
/// More digits than any id has.
const LONGEST_ID: usize = 32;

pub(super) fn router(client: Client, asks_for_tokens: bool) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/user/{user_id}", get(user))
        .route(REGISTER, post(register))
        .with_state(client)
        .merge(openapi::router(asks_for_tokens))
}

/// What there is
#[utoipa::path(
    get,
    tag = "gateway",
    path = "/",
    responses((status = OK, description = "What there is", body = Index), IndexProblems)
)]
pub(super) async fn index() -> Answer<Index> {
    Answer(Index::new())
}

/// Whether the gateway answers
///
/// It is asked no further; `/readyz` at the admin address tells whether it can serve.
#[utoipa::path(
    get,
    tag = "gateway",
    path = "/health",
    responses((status = OK, description = "It answers", body = Health), HealthProblems)
)]
pub(super) async fn health() -> Answer<Health> {
    Answer(Health::now())
}

/// A user's profile
#[utoipa::path(
    get,
    tag = "users",
    path = "/user/{user_id}",
    params(("user_id" = String, Path, description = "The user's number, as it was given out", example = "1")),
    responses(
        (status = OK, description = "The user", body = Success<Profile>),
        UserProblems
    ),
    security(("token" = []))
)]
pub(super) async fn user(
    State(client): State<Client>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Status> {
    // Bytes that are no UTF-8 are nobody's id, nor is what no number is as long as.
    let id = user_id.ok().map(|Path(id)| id);
    let user_id = id.filter(|id| id.len() <= LONGEST_ID);
    let user_id = user_id.ok_or_else(answers::unknown)?;
    let request = GetUserProfileRequest { user_id };
    let profile = client.call::<GetUserProfile>(&request).await;
    let profile = profile.map_err(told)?;
    Ok(Answer(Success::now(profile)))
}

/// Registers a user, who gets a welcome mail
///
/// The answer is 201 if and only if the user is committed, and the mail goes out if and only if that is so. Repeat the
/// request with the same `Idempotency-Key` for as long as its outcome is not known: it is one user and one mail.
#[utoipa::path(
    post,
    tag = "users",
    path = "/register",
    params((
        "Idempotency-Key" = Option<String>, Header, nullable = false,
        description = "Makes a repeated request the same one, for 24 hours: 1 to 255 visible characters of ASCII. \
            Without it the gateway makes one, known for ten minutes, and tells it beside a 500, 503 or 504.",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$",
        example = "8e03978e-40d5-43dd-bc93-6894a57f9324"
    )),
    request_body(content = Registration, description = "Who registers. Other fields are ignored."),
    responses(
        (
            status = CREATED, description = "The user is committed. `notification.status` tells of the welcome mail: \
                `sent`, `queued` (it goes out later, for days if need be), or `failed` (nobody will ever take it).",
            body = Success<Registered>,
            headers(("Idempotent-Replayed" = String, description =
                "`true` where an earlier request with this key has registered the user"))
        ),
        RegistrationProblems
    ),
    security(("token" = []))
)]
pub(super) async fn register(
    State(client): State<Client>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, Status> {
    let Given { key, made } = key::of(&headers, &caller, REGISTER, &body)?;
    let request = registration(&body, key)?;
    let registered = client.call::<RegisterUser>(&request).await;
    let mut response = match registered.map_err(told) {
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

/// What a client is told of a call that failed. What is wrong between our services is nothing that he could mend.
fn told(status: Status) -> Status {
    match status.code() {
        Code::Invalid
        | Code::NotFound
        | Code::Conflict
        | Code::Overloaded
        | Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Internal => status,
        _ => Status::internal(status),
    }
}

pub(super) fn unknown_outcome() -> Status {
    let words = "the outcome is unknown; repeat with the same Idempotency-Key";
    Status::new(Code::DeadlineExceeded, words)
        .because("outcome_unknown")
        .worth_repeating()
}
