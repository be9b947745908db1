//! The JSON of the HTTP API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    FieldError, Status,
    app::api::{
        Key, User,
        notification::Notification,
        user::{RegisterUserRequest, Registration},
    },
    instance::random_token,
};

/// 36^24 ids: no two registrations ever share one.
const REGISTRATION_ID_LENGTH: usize = 24;

/// What every answer of the API is wrapped in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Success<T> {
    /// Always `true`: what fails is answered by a problem document.
    #[schema(example = true)]
    success: bool,
    data: Stamped<T>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Stamped<T> {
    #[serde(flatten)]
    body: T,
    /// Seconds since 1970: now, or, of a registration, its commit.
    #[schema(example = 1693310400.456)]
    timestamp: f64,
}

impl<T> Success<T> {
    pub(super) fn now(body: T) -> Self {
        Self::at(body, timestamp())
    }

    fn at(body: T, timestamp: f64) -> Self {
        Self {
            success: true,
            data: Stamped { body, timestamp },
        }
    }
}

/// What a caller is told of a registration.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registered {
    user: User,
    notification: Notification,
    /// Always `true`: there is no registration without a committed user.
    #[schema(example = true)]
    registration_complete: bool,
}

impl Success<Registered> {
    /// The time is that of the commit, so that a repetition is answered alike.
    pub(super) fn registered(registration: Registration) -> Self {
        let committed_at = registration.created_at_ms;
        let body = Registered {
            user: registration.user,
            notification: registration.notification,
            registration_complete: registration.registration_complete,
        };
        let since = Duration::from_millis(committed_at.unsigned_abs());
        Self::at(body, since.as_secs_f64())
    }
}

/// What the API is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Index {
    #[schema(example = "Multi-Actor Tracing API")]
    message: &'static str,
    #[schema(value_type = Vec<String>, example = json!(["/user/{user_id}", "/register"]))]
    endpoints: [&'static str; 2],
}

impl Index {
    pub(super) const fn new() -> Self {
        Self {
            message: "Multi-Actor Tracing API",
            endpoints: ["/user/{user_id}", "/register"],
        }
    }
}

/// Whether the gateway answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "healthy")]
    status: &'static str,
    /// Seconds since 1970.
    #[schema(example = 1693310400.456)]
    timestamp: f64,
}

impl Health {
    pub(super) fn now() -> Self {
        Self {
            status: "healthy",
            timestamp: timestamp(),
        }
    }
}

/// Seconds since 1970, to the millisecond.
fn timestamp() -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (now.as_secs_f64() * 1e3).round() / 1e3
}

/// Reads a registration and names every field that is missing or no text. What is in them is judged by
/// the user service.
pub(super) fn registration(
    body: &Map<String, Value>,
    key: Key,
) -> Result<RegisterUserRequest, Status> {
    let mut errors = Vec::new();
    let mut text = |field: &str| match body.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(_) => {
            errors.push(FieldError::new(field, "must be a string"));
            String::new()
        }
        None => {
            errors.push(FieldError::new(field, "is missing"));
            String::new()
        }
    };
    let request = RegisterUserRequest {
        name: text("name"),
        email: text("email"),
        key,
        registration_id: random_token(REGISTRATION_ID_LENGTH),
    };
    if errors.is_empty() {
        Ok(request)
    } else {
        Err(Status::invalid("some fields are not valid", errors))
    }
}
